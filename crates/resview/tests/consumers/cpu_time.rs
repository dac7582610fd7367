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
/// between the same two moments, both in percent.
fn beside_a_loop() -> String {
    let measured = |name: &str, measure: &str| {
        format!(
            "now >before; {measure}\n now >after
             paste -d ' ' before after | awk '{{ n[NR] = $2 - $1 }} END {{
                 print \"{name}_truth=\" n[1] / n[3]; print \"{name}_stat=\" n[2] / n[3] }}'\n"
        )
    };
    format!(
        "dir=$(mktemp -d); trap 'rm -r $dir' EXIT; cd $dir
         sh -c 'while :; do :; done' & loop=$!
         # One process reads all three: on an emulated CPU the start of another takes long.
         now() {{ awk '
             FILENAME ~ /[0-9]/ {{ print $14 + $15 }}
             /^cpu / {{ print $2 + $3 + $4 }}
             FILENAME ~ /uptime/ {{ print $1 }}' /proc/$loop/stat /proc/stat /proc/uptime; }}
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
        let at_least = |reading: &str, truth: &str, tolerance: f64| {
            let (percent, truth) = (number(text, reading), number(text, truth));
            // Over 100 by as much as the three files are read apart.
            let range = truth - tolerance..=110.0;
            assert!(range.contains(&percent), "{way:?}: {reading}\n{text}");
        };
        // The measuring programs come on top of the loop, on the one CPU.
        at_least("mpstat_stat", "mpstat_truth", 5.0);
        at_least("top_stat", "top_truth", 5.0);
        // These look at a part of the time only, in which the machine gave more or less.
        at_least("busy", "mpstat_truth", 40.0);
        at_least("row", "mpstat_truth", 40.0);
        at_least("top", "top_truth", 40.0);
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
