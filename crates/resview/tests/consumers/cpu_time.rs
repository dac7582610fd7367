//! CPU time: a busy loop shows in its container and nowhere else.

use std::sync::{Mutex, PoisonError};

use crate::support::{BusyHost, in_every_container, number};

/// These tests want the CPUs for themselves.
static ALONE: Mutex<()> = Mutex::new(());

/// `busy` and `row`: percent of a CPU used, by mpstat, over all CPUs and on the busiest row.
const MPSTAT: &str = "
    LC_ALL=C S_TIME_FORMAT=ISO mpstat -P ALL 3 1 | awk '
        /^Average/ && $2 == \"all\" { printf \"busy=%s\\n\", 100 - $NF - $9 }
        /^Average/ && $2 ~ /^[0-9]+$/ && 100 - $NF - $9 > most { most = 100 - $NF - $9 }
        END { printf \"row=%s\\n\", most + 0 }'";

/// `top`: the same by top. Its first screen is since boot, so its second one counts.
const TOP: &str = "
    LC_ALL=C top -b -d 3 -n 2 | sed 's/^%Cpu(s):/& /' |
        awk '/^%Cpu/ { busy = $2 + $4 + $6 } END { printf \"top=%s\\n\", busy }'";

/// Runs a loop beside each measurement. `NAME_truth` says how much of a CPU it really got meanwhile
/// (a machine that is shared does not always give it all), and `NAME_stat` what /proc/stat counted
/// between the same two moments.
fn beside_a_loop() -> String {
    let measured = |name: &str, measure: &str| {
        format!(
            "begin=$(date +%s%N); before=$(used); stat=$(counted)
             {measure}
             stat=$(($(counted) - stat)); after=$(used); end=$(date +%s%N)
             awk \"BEGIN {{
                 seconds = ($end - $begin) / 1e9
                 print \\\"{name}_truth=\\\" ($after - $before) / seconds
                 print \\\"{name}_stat=\\\" $stat / seconds }}\"\n"
        )
    };
    format!(
        "sh -c 'while :; do :; done' & loop=$!
         used() {{ awk '{{ print $14 + $15 }}' /proc/$loop/stat; }}
         counted() {{ awk '/^cpu / {{ print $2 + $3 + $4 }}' /proc/stat; }}
         sleep 0.2
         {}{}kill $loop",
        measured("mpstat", MPSTAT),
        measured("top", TOP)
    )
}

#[test]
fn v2_stat_shows_container_cpu_time() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    in_every_container("v2_stat_shows_container_cpu_time", &beside_a_loop(), |way, text| {
        let near = |reading: &str, truth: &str, below: f64, above: f64| {
            let (percent, truth) = (number(text, reading), number(text, truth));
            let range = truth - below..=truth + above;
            assert!(range.contains(&percent) && percent <= 102.0, "{way:?}: {reading}\n{text}");
        };
        // The measuring programs come on top of the loop.
        near("mpstat_stat", "mpstat_truth", 5.0, 30.0);
        near("top_stat", "top_truth", 5.0, 30.0);
        // These measure a part of the time only; the rest is their start, long on an emulated CPU.
        near("busy", "mpstat_truth", 35.0, 35.0);
        near("row", "mpstat_truth", 35.0, 35.0);
        near("top", "top_truth", 35.0, 35.0);
    });
}

#[test]
fn busy_neighbour_invisible_in_idle_container() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let _busy = [BusyHost::start(), BusyHost::start()];
    let script = [MPSTAT, TOP].concat();
    in_every_container("busy_neighbour_invisible_in_idle_container", &script, |way, text| {
        for reading in ["busy", "row", "top"] {
            // What is left are mpstat, top and awk themselves, which an emulated machine makes dear.
            assert!(number(text, reading) < 40.0, "{way:?}: {reading}\n{text}");
        }
    });
}
