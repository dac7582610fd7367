//! `/proc/stat`: the container's CPU time and tasks; nothing of the host's interrupts and switches.

use procfmt::num::push_u64;
use procfmt::stat::{Line, parse};

use crate::render::RenderError;
use crate::{CpuTimes, ResourceView};

pub(crate) fn render(
    host: &[u8],
    view: &ResourceView,
    out: &mut Vec<u8>,
) -> Result<(), RenderError> {
    let Some(times) = &view.cpu_times else {
        out.extend_from_slice(host);
        return Ok(());
    };
    let sample = view.tasks.map(|tasks| tasks.sample).unwrap_or_default();
    let mut has_total = false;
    for (line, text) in parse(host) {
        match line {
            Line::Total(columns) => {
                write_rows(times, columns, out);
                has_total = true;
            }
            Line::Cpu(_) => {}
            Line::Intr => counter("intr", 0, out),
            Line::Ctxt => counter("ctxt", 0, out),
            Line::Btime => match view.clock.and_then(|clock| clock.btime) {
                Some(btime) => counter("btime", btime, out),
                None => host_line(text, out),
            },
            Line::Processes => counter("processes", sample.last_pid, out),
            // Whoever reads this is running.
            Line::ProcsRunning => counter("procs_running", sample.running.max(1), out),
            Line::ProcsBlocked => counter("procs_blocked", sample.blocked, out),
            Line::Softirq(columns) => {
                out.extend_from_slice(b"softirq");
                out.extend_from_slice(" 0".repeat(columns).as_bytes());
                out.push(b'\n');
            }
            // A line that this version does not know is not shown: it would be the host's.
            Line::Unknown(_) => {}
        }
    }
    if !has_total {
        let what = "it has no line `cpu  …`".to_owned();
        return Err(RenderError::HostText { file: "stat", what });
    }
    Ok(())
}

fn write_rows(times: &CpuTimes, columns: usize, out: &mut Vec<u8>) {
    times.total.write(None, columns, out);
    for (cpu, row) in &times.rows {
        row.write(Some(*cpu), columns, out);
    }
}

fn counter(name: &str, value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    push_u64(out, value);
    out.push(b'\n');
}

fn host_line(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(text);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use procfmt::stat::CpuTicks;
    use procfmt::units::Ticks;

    use super::*;
    use crate::{Clock, Sample, Tasks};

    const HOST: &[u8] = b"cpu  777 7 777 777 7 0 7 7 0 0\ncpu0 777 7 777 777 7 0 7 7 0 0\n\
        cpu1 777 7 777 777 7 0 7 7 0 0\nintr 777 7 7\nctxt 777\nbtime 1000\nprocesses 777\n\
        procs_running 7\nprocs_blocked 7\nsoftirq 777 7 7\nfuture 777\n";

    #[test]
    fn intr_ctxt_softirq_not_host() {
        let row = CpuTicks { user: Ticks(5), idle: Ticks(4), ..Default::default() };
        let sample = Sample { running: 0, blocked: 1, total: 3, last_pid: 12 };
        let view = ResourceView {
            cpu_times: Some(CpuTimes { total: row, rows: vec![(1, row)] }),
            tasks: Some(Tasks { averages: [0; 3], sample }),
            clock: Some(Clock { btime: Some(1234), ..Default::default() }),
            ..Default::default()
        };
        let mut out = Vec::new();
        render(HOST, &view, &mut out).unwrap();
        let expected = "cpu  5 0 0 4 0 0 0 0 0 0\ncpu1 5 0 0 4 0 0 0 0 0 0\nintr 0\nctxt 0\n\
            btime 1234\nprocesses 12\nprocs_running 1\nprocs_blocked 1\nsoftirq 0 0 0\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn btime_keeps_process_starts_true() {
        let view = ResourceView { cpu_times: Some(CpuTimes::default()), ..Default::default() };
        let mut out = Vec::new();
        render(HOST, &view, &mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("\nbtime 1000\n"));
        assert!(render(b"nonsense\n", &view, &mut Vec::new()).is_err());
    }
}
