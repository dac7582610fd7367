//! The checks, each named after the property, or after the symptom where it is missing.

mod clocks;
mod consumers;
mod cpu_time;
mod cpus;
mod disks;
mod exporter;
mod identity;
mod io;
mod leaks;
mod load;
mod memory;
mod node;
mod pressure;
mod swap;
mod system_calls;

use anyhow::Result;
pub use system_calls::by_system_call;

use crate::tree::Tree;

/// A named property of a tree.
#[derive(Clone, Debug)]
pub struct Check {
    name: String,
    run: Run,
}

#[derive(Clone, Debug)]
enum Run {
    /// Looks at whatever it needs.
    Plain(fn(&Tree) -> Result<()>),
    /// The same property of each file of a family; this one's path, such as `proc/vmstat`.
    File(fn(&Tree, &str) -> Result<()>, String),
}

impl Check {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn run(&self, tree: &Tree) -> Result<()> {
        match &self.run {
            Run::Plain(run) => run(tree),
            Run::File(run, path) => {
                tree.needs(&[path])?;
                run(tree, path)
            }
        }
    }
}

/// A list of plain checks, each called like its function.
macro_rules! plain {
    ($($module:ident: $($name:ident),+;)+) => {
        &[$($((stringify!($name), $module::$name as fn(&Tree) -> Result<()>)),+),+]
    };
}

type Plain = (&'static str, fn(&Tree) -> Result<()>);

const PLAIN: &[Plain] = plain! {
    memory: memory_total_is_the_limit, memory_total_is_the_tightest_of_the_ancestry,
        free_le_available_le_total, memfree_counts_siblings_of_limited_parent,
        anonpages_never_wraps_with_locked_shmem, anon_mapped_shmem_follow_the_cgroup,
        dirty_is_the_cgroups, limit_change_shows_at_next_open, no_host_line_left_in_meminfo;
    swap: swap_header_always_there, swaps_and_meminfo_agree, swapfree_never_wraps,
        no_swap_where_the_limit_is_zero, swap_total_is_the_limit;
    cpus: all_cpu_files_agree, all_cpu_files_agree_under_a_quota, quota_of_ancestor_counts,
        effective_cpuset_not_the_requested, cpuset_change_shows_at_next_open,
        packed_numbers_have_no_gaps, possible_bounds_getcpu, siblings_and_cores_match_rows, cpu_dirs_once_with_d_type;
    cpu_time: stat_shows_container_cpu_time, busy_neighbour_invisible_in_idle_container,
        rows_add_up, no_row_outruns_elapsed, throttled_time_is_steal,
        no_counter_goes_backwards_when_quota_or_cpuset_changes;
    clocks: uptime_is_the_containers, comm_with_bracket_in_uptime, uptime_idle_is_bounded,
        btime_keeps_process_starts_true;
    load: loadavg_without_host_tasks, late_first_read_is_plausible;
    disks: diskstats_without_host_io, own_io_is_counted, sys_block_agrees_with_diskstats;
    pressure: pressure_is_own, pressure_trigger_wakes_poll, bad_pressure_trigger_is_refused;
    io: read_past_end_is_eof, first_pread_at_offset, seek_to_zero_refreshes, tail_wc_dd,
        threads_on_one_descriptor_never_torn, size_is_zero_or_exact, writes_are_refused;
    leaks: intr_ctxt_softirq_not_host, crash_notes_not_served, mode_0400_enforced;
    identity: nested_own_limit, shared_pidns_one_view_each, nsenter_sees_container,
        unreadable_proc_1_is_fine;
    node: node_cpus_are_the_visible_ones, node_memory_adds_up_to_memtotal;
};

/// Programs that are too big to be installed for the tests.
const CONSUMERS: &[Plain] = plain! {
    consumers: node_os_agrees, python_os_counts_the_cpus, busybox_top_shows_the_limit,
        jvm_cpu_load_is_the_containers, htop_draws_the_limit_and_the_cpus;
    exporter: node_exporter_reports_the_container;
};

/// Checks of programs that read the files. They may be missing on a machine, so they are not among
/// [`all`].
#[must_use]
pub fn consumers() -> Vec<Check> {
    CONSUMERS.iter().map(plain).collect()
}

fn plain((name, run): &Plain) -> Check {
    Check { name: (*name).to_owned(), run: Run::Plain(*run) }
}

/// Files in which large numbers of the host are right, such as sizes of caches and disks, or which
/// have none. What must not be the host's in them has checks of its own.
const CHECKED_OTHERWISE: [&str; 7] =
    ["cpuinfo", "meminfo", "diskstats", "partitions", "uptime", "swaps", "loadavg"];

/// All checks, in the order of the table.
#[must_use]
pub fn all() -> Vec<Check> {
    let plain = PLAIN.iter().map(plain);
    // Whatever file the catalogue gets is asked for the host's numbers.
    let virtual_files = view::catalogue::PROC_FILES.iter().map(|file| file.name);
    let counters = virtual_files.filter(|name| !CHECKED_OTHERWISE.contains(name));
    let leaks = counters.map(|name| Check {
        name: format!("no_host_number_in_{}", name.replace('/', "_")),
        run: Run::File(leaks::no_host_number, format!("proc/{name}")),
    });
    plain.chain(leaks).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<String> = all().into_iter().map(|check| check.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
