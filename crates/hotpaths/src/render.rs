//! The files of `/proc`, from captured host text, and the parts of the view that cost most.

use std::hint::black_box;

use anyhow::{Result, ensure};
use procfmt::cpulist::CpuSet;
use procfmt::meminfo::Totals;
use procfmt::units::Usec;
use testkit::fixture;
use view::input::CpuTimeInput;
use view::policy::Policy;
use view::{CpuAccount, Hint, Memory, ResourceView, Step};

use crate::HotPath;
use crate::captured::{self, USER_HZ, host_memory, memory_input, online};

/// Captured hosts of 2 and of 64 CPUs; the containers see them all.
const HOSTS: [(&str, &str); 2] = [("x86_64-2-6.18", "2-cpus"), ("x86_64-64-6.12", "64-cpus")];

pub(crate) fn paths() -> Result<Vec<HotPath>> {
    let mut paths = Vec::new();
    for (host, size) in HOSTS {
        paths.extend(files(host, size)?);
        paths.push(totals(host, size));
        paths.push(memory(host, size));
        paths.push(account(host, size));
    }
    Ok(paths)
}

/// Each file of the catalogue that was captured of the host.
fn files(host: &str, size: &str) -> Result<Vec<HotPath>> {
    let mut paths = Vec::new();
    for file in captured::files(host) {
        let (text, view) = (fixture(host, &format!("proc/{}", file.name)), container(host));
        let mut out = Vec::new();
        paths.push(HotPath::new(format!("view/{}/{size}", file.name), move || {
            out.clear();
            (file.render)(black_box(&text), &view, &mut out)?;
            Ok(())
        }));
    }
    ensure!(paths.len() >= 12, "files were not captured of {host}: see fixtures/README.md");
    Ok(paths)
}

/// The host's totals, read before a container's memory is told.
fn totals(host: &str, size: &str) -> HotPath {
    let text = fixture(host, "proc/meminfo");
    HotPath::new(format!("procfmt/meminfo-totals/{size}"), move || {
        ensure!(Totals::parse(black_box(&text)).mem_total.0 > 0, "no MemTotal");
        Ok(())
    })
}

/// The memory part of a container three cgroups deep.
fn memory(host: &str, size: &str) -> HotPath {
    let (mut input, host) = (memory_input(), host_memory(host));
    input.levels = vec![input.levels[0].clone(); 3];
    HotPath::new(format!("view/memory/{size}"), move || {
        black_box(Memory::new(black_box(&input), Some(&[]), &host, &Policy::default()));
        Ok(())
    })
}

/// A step of the CPU account, as each read of stat makes one.
fn account(host: &str, size: &str) -> HotPath {
    let visible = online(host);
    let mut input = cpu_time();
    let mut now = Usec(1_000_000_000);
    let mut account = CpuAccount::open(&step(now, &input, &visible), Usec(900_000_000));
    HotPath::new(format!("view/cpu-account/{size}"), move || {
        now.0 += 1_000_000;
        input.user.0 += 700_000;
        input.system.0 += 100_000;
        account.step(&step(now, &input, &visible));
        let rows = account.times(&visible, USER_HZ).rows.len();
        ensure!(rows == usize::try_from(visible.len())?, "{rows} rows");
        Ok(())
    })
}

fn step<'a>(now: Usec, input: &'a CpuTimeInput, visible: &'a CpuSet) -> Step<'a> {
    Step { now, input, visible, hint: Hint::None }
}

fn cpu_time() -> CpuTimeInput {
    let (user, system) = (Usec(400_000_000), Usec(90_000_000));
    CpuTimeInput { user, system, ..Default::default() }
}

/// A container with a limit of memory and all CPUs of that host.
fn container(host: &str) -> ResourceView {
    captured::container(host, None, |visible| {
        let time = cpu_time();
        let account = CpuAccount::open(&step(Usec(1_000_000), &time, visible), Usec(900_000_000));
        account.times(visible, USER_HZ)
    })
}
