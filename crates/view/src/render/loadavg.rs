//! `/proc/loadavg`: the container's own averages, task counts and newest pid.

use procfmt::loadavg::Loadavg;

use crate::ResourceView;
use crate::render::RenderError;

pub(crate) fn render(
    host: &[u8],
    view: &ResourceView,
    out: &mut Vec<u8>,
) -> Result<(), RenderError> {
    let Some(tasks) = &view.tasks else {
        out.extend_from_slice(host);
        return Ok(());
    };
    let sample = tasks.sample;
    let averages = tasks.averages;
    // Whoever reads this is running, though not at the moment of the sample.
    Loadavg {
        averages,
        running: sample.running.max(1),
        total: sample.total,
        last_pid: sample.last_pid,
    }
    .write(out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Sample, Tasks};

    #[test]
    fn loadavg_without_host_pids() {
        let sample = Sample { running: 1, blocked: 0, total: 3, last_pid: 12 };
        let tasks = Tasks { averages: [100, 50, 5], sample };
        let view = ResourceView { tasks: Some(tasks), ..Default::default() };
        let mut out = Vec::new();
        render(b"9.00 9.00 9.00 9/999 4194304\n", &view, &mut out).unwrap();
        assert_eq!(out, b"1.00 0.50 0.05 1/3 12\n");
    }
}
