//! CPU time: a busy loop shows in its container and nowhere else.

use std::sync::{Mutex, PoisonError};

use crate::support::{BusyHost, in_every_container, number};

/// These tests want the CPUs for themselves.
static ALONE: Mutex<()> = Mutex::new(());

/// `busy` and `row`: percent of a CPU used, by mpstat, over all CPUs and on the busiest row;
/// `top`: by top. top's first screen is since boot, so its second one counts.
const MEASURE: &str = "
    export LC_ALL=C S_TIME_FORMAT=ISO
    mpstat -P ALL 3 1 | awk '
        /^Average/ && $2 == \"all\" { printf \"busy=%s\\n\", 100 - $NF - $9 }
        /^Average/ && $2 ~ /^[0-9]+$/ && 100 - $NF - $9 > most { most = 100 - $NF - $9 }
        END { printf \"row=%s\\n\", most + 0 }'
    top -b -d 3 -n 2 | sed 's/^%Cpu(s):/& /' | awk '/^%Cpu/ { busy = $2 + $4 + $6 } END { printf \"top=%s\\n\", busy }'";

/// Runs a loop beside the measurement, and says how much of a CPU it really got: a machine that is
/// shared does not always give it all.
fn beside_a_loop() -> String {
    format!(
        "sh -c 'while :; do :; done' & loop=$!
         used() {{ awk '{{ print $14 + $15 }}' /proc/$loop/stat; }}
         sleep 0.2; begin=$(date +%s%N); before=$(used)
         {MEASURE}
         after=$(used); end=$(date +%s%N); kill $loop
         awk \"BEGIN {{ print \\\"truth=\\\" ($after - $before) * 1e9 / ($end - $begin) }}\""
    )
}

#[test]
fn v2_stat_shows_container_cpu_time() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    in_every_container("v2_stat_shows_container_cpu_time", &beside_a_loop(), |way, text| {
        let truth = number(text, "truth");
        for reading in ["busy", "row", "top"] {
            let percent = number(text, reading);
            // The measuring programs come on top of the loop, and the two measure in turn.
            let range = truth - 20.0..=(truth + 20.0).min(101.0);
            assert!(range.contains(&percent), "{way:?}: {reading}\n{text}");
        }
    });
}

#[test]
fn busy_neighbour_invisible_in_idle_container() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let _busy = [BusyHost::start(), BusyHost::start()];
    in_every_container("busy_neighbour_invisible_in_idle_container", MEASURE, |way, text| {
        for reading in ["busy", "row", "top"] {
            // What is left are mpstat, top and awk themselves, which an emulated machine makes dear.
            assert!(number(text, reading) < 40.0, "{way:?}: {reading}\n{text}");
        }
    });
}
