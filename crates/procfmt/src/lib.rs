//! `procfmt` parses and prints the kernel's text formats, byte-exact, one module per file.
//!
//! The crate is pure: it opens no file, reads no clock and no environment. What depends on the
//! machine (page size, `USER_HZ`, the time) comes in as data, so everything here is tested with
//! text captured from real kernels and needs neither root nor Linux.
#![forbid(unsafe_code)]

pub mod cpuinfo;
pub mod cpulist;
pub mod diskstats;
pub mod keyed;
pub mod limit;
pub mod limit_value;
pub mod loadavg;
pub mod meminfo;
pub mod mountinfo;
pub mod node_meminfo;
pub mod num;
pub mod numa_stat;
pub mod partitions;
pub mod per_cpu;
pub mod pid_cgroup;
pub mod pid_stat;
pub mod pid_status;
pub mod schedstat;
pub mod stat;
pub mod swaps;
pub mod units;
pub mod uptime;
pub mod vmstat;
pub mod zoneinfo;
