//! Starting qemu, and watching it.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Machine;
use super::kernel::Kernel;

/// How a start of the machine ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The job has run; its exit status.
    Done(i32),
    /// The guest did not come up, or lost its timer (about one start in a hundred under
    /// emulation): it is worth another try.
    Stalled,
    /// The job was still running after the time limit.
    TimeLimit,
    /// qemu or the guest ended without the job's exit status.
    Died,
}

/// The longest that a guest may take to start its job: seven seconds are usual, and 25 with systemd.
fn start_limit(machine: &Machine) -> Duration {
    Duration::from_secs(if machine.systemd.is_some() { 240 } else { 90 })
}

/// Starts the machine once, copies what its job prints to `output`, and waits for its end.
pub(crate) fn start(
    machine: &Machine,
    kernel: &Kernel,
    initrd: &Path,
    dir: &Path,
    output: &mut dyn Write,
) -> Result<End> {
    let out = dir.join("out");
    let console = dir.join("console");
    std::fs::write(&console, "")?;
    let mut qemu = Guard(command(machine, kernel, initrd, dir).spawn().context(
        "cannot start qemu-system-x86_64 by way of setpriv: `cargo xtask packages` installs it",
    )?);
    let begin = Instant::now();
    let mut seen = 0;
    loop {
        let ended = qemu.0.try_wait()?.is_some();
        seen = copy_output(&out.join("output"), seen, output)?;
        if let Ok(status) = std::fs::read_to_string(out.join("status")) {
            // The guest has written everything before this file.
            copy_output(&out.join("output"), seen, output)?;
            let status = status.trim().parse().context("the job's exit status is no number")?;
            return Ok(End::Done(status));
        }
        let started = out.join("started").exists();
        if ended {
            return Ok(if started { End::Died } else { End::Stalled });
        }
        if stalled(&console)? || (!started && begin.elapsed() > start_limit(machine)) {
            return Ok(End::Stalled);
        }
        if begin.elapsed() > machine.limit() {
            return Ok(End::TimeLimit);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Ends qemu when the watch over it ends, however that happens.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // The guest switches itself off a moment after the job; there is nothing left to lose.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Emulation on purpose: where /dev/kvm is itself emulated, stock kernels do not boot with it.
fn command(machine: &Machine, kernel: &Kernel, initrd: &Path, dir: &Path) -> Command {
    let share = |id: &str, path: &Path, options: &str| {
        // A comma in a path is doubled in qemu's options.
        let path = path.display().to_string().replace(',', ",,");
        [
            "-fsdev".to_owned(),
            format!("local,id={id},path={path},security_model=none{options}"),
            "-device".to_owned(),
            format!("virtio-9p-pci,fsdev={id},mount_tag={id}"),
        ]
    };
    let swap = dir.join("swap").display().to_string().replace(',', ",,");
    let append = format!("console=ttyS0 quiet panic=-1 {}", machine.append);
    // Should this program be killed, the guest goes with it.
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
        .args(["-accel", "tcg,thread=multi", "-cpu", "max"])
        .args(["-smp", &machine.cpus.to_string(), "-m", &machine.memory.to_string()])
        .args(numa(machine))
        .args(["-nodefaults", "-no-reboot", "-display", "none", "-serial"])
        .arg(format!("file:{}", dir.join("console").display()))
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initrd)
        .args(["-append", append.trim_end()])
        .args(share("host", &machine.root, ",readonly=on,multidevs=remap"))
        .args(share("out", &dir.join("out"), ""))
        .arg("-drive")
        .arg(format!("file={swap},if=virtio,format=raw,cache=unsafe"))
        .args(&machine.qemu)
        .stdin(Stdio::null());
    command
}

/// The options for more than one NUMA node. The last one gets what is left over.
fn numa(machine: &Machine) -> Vec<String> {
    let Machine { cpus, memory, nodes, .. } = *machine;
    if nodes < 2 {
        return Vec::new();
    }
    let split = |whole: u32, node: u32| (whole / nodes * node, whole / nodes * (node + 1));
    let mut options = Vec::new();
    for node in 0..nodes {
        let is_last = node + 1 == nodes;
        let (first_cpu, end_cpu) = split(cpus, node);
        let (first_mib, end_mib) = split(memory, node);
        let (end_cpu, end_mib) = if is_last { (cpus, memory) } else { (end_cpu, end_mib) };
        // More nodes than CPUs: some have memory alone.
        let cpus = match end_cpu.checked_sub(first_cpu) {
            Some(1..) => format!(",cpus={first_cpu}-{}", end_cpu - 1),
            _ => String::new(),
        };
        options.extend([
            "-object".to_owned(),
            format!("memory-backend-ram,id=node{node},size={}M", end_mib - first_mib),
            "-numa".to_owned(),
            format!("node,nodeid={node}{cpus},memdev=node{node}"),
        ]);
    }
    options
}

/// Copies what was added to the job's output since `seen` bytes; returns how many there are now.
fn copy_output(path: &Path, seen: u64, output: &mut dyn Write) -> Result<u64> {
    let Ok(mut file) = std::fs::File::open(path) else { return Ok(seen) };
    file.seek(SeekFrom::Start(seen))?;
    let mut new = Vec::new();
    file.read_to_end(&mut new)?;
    output.write_all(&new)?;
    output.flush()?;
    Ok(seen.saturating_add(new.len() as u64))
}

fn stalled(console: &Path) -> Result<bool> {
    let text = std::fs::read(console)?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.contains("rcu_preempt kthread starved") || text.contains("Kernel panic"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_have_everything_between_them() {
        let options = |cpus, memory, nodes| {
            let options = numa(&Machine { cpus, memory, nodes, ..Machine::for_tests() });
            options.into_iter().filter(|option| !option.starts_with('-')).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        assert_eq!(options(4, 2048, 1), none);
        assert_eq!(
            options(3, 2049, 2),
            [
                "memory-backend-ram,id=node0,size=1024M",
                "node,nodeid=0,cpus=0-0,memdev=node0",
                "memory-backend-ram,id=node1,size=1025M",
                "node,nodeid=1,cpus=1-2,memdev=node1",
            ]
        );
        assert_eq!(options(1, 2048, 2)[1], "node,nodeid=0,memdev=node0");
    }

    #[test]
    fn a_guest_that_lost_its_timer_has_stalled() {
        let dir = tempfile::tempdir().unwrap();
        let console = dir.path().join("console");
        std::fs::write(&console, "[    2.1] systemd[1]: Starting\n").unwrap();
        assert!(!stalled(&console).unwrap());
        let starved = "[   23.0] rcu: rcu_preempt kthread starved for 5250 jiffies! g77 f0x2\n";
        std::fs::write(&console, starved).unwrap();
        assert!(stalled(&console).unwrap());
    }
}
