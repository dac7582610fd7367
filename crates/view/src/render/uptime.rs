//! `/proc/uptime`: the container's age, and the idle time that its `/proc/stat` shows.

use procfmt::units::scale;
use procfmt::uptime::Uptime;

use crate::ResourceView;
use crate::render::RenderError;

/// Ticks per second in which idle time reaches this file: it prints hundredths.
const HUNDREDTHS: u64 = 100;

pub(crate) fn render(
    host: &[u8],
    view: &ResourceView,
    out: &mut Vec<u8>,
) -> Result<(), RenderError> {
    let Some(clock) = &view.clock else {
        out.extend_from_slice(host);
        return Ok(());
    };
    let up = clock.uptime.ticks(HUNDREDTHS).0;
    let idle = match &view.cpu_times {
        Some(times) => scale(times.total.idle.0, HUNDREDTHS, view.user_hz.max(1)),
        None => up,
    };
    Uptime { up, idle }.write(out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use procfmt::stat::CpuTicks;
    use procfmt::units::{Ticks, Usec};

    use super::*;
    use crate::{Clock, CpuTimes};

    #[test]
    fn uptime_idle_is_not_uptime() {
        let total = CpuTicks { idle: Ticks(150), ..Default::default() };
        let view = ResourceView {
            clock: Some(Clock { uptime: Usec(950_000), btime: None }),
            cpu_times: Some(CpuTimes { total, rows: Vec::new() }),
            user_hz: 100,
            ..Default::default()
        };
        let mut out = Vec::new();
        render(b"", &view, &mut out).unwrap();
        assert_eq!(out, b"0.95 1.50\n");
    }
}
