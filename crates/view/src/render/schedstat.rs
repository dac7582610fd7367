//! `/proc/schedstat`: how long the container ran on each of its CPUs; the rest is not counted per
//! cgroup.

use procfmt::num::push_u64;
use procfmt::schedstat::{Line, parse, write_cpu};
use procfmt::stat::CpuTicks;
use procfmt::units::{Usec, scale};

use crate::ResourceView;
use crate::render::RenderError;

pub(crate) fn render(
    host: &[u8],
    view: &ResourceView,
    out: &mut Vec<u8>,
) -> Result<(), RenderError> {
    let Some(times) = &view.cpu_times else {
        out.extend_from_slice(host);
        return Ok(());
    };
    let uptime = view.clock.map_or(Usec::ZERO, |clock| clock.uptime);
    let mut columns = None;
    for line in parse(host) {
        match line {
            Line::Version(text) => {
                out.extend_from_slice(text);
                out.push(b'\n');
            }
            Line::Timestamp => {
                out.extend_from_slice(b"timestamp ");
                push_u64(out, uptime.ticks(view.user_hz).0);
                out.push(b'\n');
            }
            Line::Cpu(numbers) => {
                columns.get_or_insert(numbers);
            }
            Line::Other => {}
        }
    }
    let Some(columns) = columns else {
        let what = "it has no line `cpu0 …`".to_owned();
        return Err(RenderError::HostText { file: "schedstat", what });
    };
    for (cpu, row) in &times.rows {
        write_cpu(*cpu, columns, busy_nanos(row, view.user_hz), out);
    }
    Ok(())
}

fn busy_nanos(row: &CpuTicks, user_hz: u64) -> u64 {
    scale((row.user + row.nice + row.system).0, 1_000_000_000, user_hz)
}

#[cfg(test)]
mod tests {
    use procfmt::units::Ticks;

    use super::*;
    use crate::{Clock, CpuTimes};

    #[test]
    fn busy_time_of_the_visible_cpus_and_nothing_of_the_hosts() {
        let row = CpuTicks {
            user: Ticks(5),
            nice: Ticks(1),
            system: Ticks(2),
            idle: Ticks(9),
            ..Default::default()
        };
        let view = ResourceView {
            cpu_times: Some(CpuTimes { total: row, rows: vec![(1, row)] }),
            clock: Some(Clock { uptime: Usec(2_500_000), btime: None }),
            user_hz: 100,
            ..Default::default()
        };
        let host = b"version 16\ntimestamp 777\ncpu0 7 7 7 7 7 7 7 7 7\ndomain0 03 7 7\n\
            cpu1 7 7 7 7 7 7 7 7 7\n";
        let mut out = Vec::new();
        render(host, &view, &mut out).unwrap();
        let expected = "version 16\ntimestamp 250\ncpu1 0 0 0 0 0 0 80000000 0 0\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert!(render(b"version 16\n", &view, &mut Vec::new()).is_err());
    }
}
