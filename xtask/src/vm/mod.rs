//! A virtual machine whose root is this machine's own, read-only with a writable layer on top,
//! under a stock Debian kernel and pure cgroup v2: what was just built and what is installed here
//! is simply there, at the same paths. It boots in seconds and forgets everything. On request the
//! root is that of a Debian suite instead, with systemd as pid 1.

mod initramfs;
mod kernel;
mod qemu;
pub(crate) mod suite;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use qemu::End;

use crate::{repo, sh};

/// How often a guest that lost its timer is started anew.
const TRIES: u32 = 3;

/// Options of `cargo xtask vm`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    machine: Machine,
    /// The command and its arguments, run in the current folder; with --systemd in /root
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// What the machine is like.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Machine {
    /// Virtual CPUs
    #[arg(long, default_value_t = 4)]
    pub(crate) cpus: u32,
    /// Memory in MiB
    #[arg(long, default_value_t = 2048)]
    pub(crate) memory: u32,
    /// NUMA nodes, over which CPUs and memory are split evenly
    #[arg(long, default_value_t = 1)]
    pub(crate) nodes: u32,
    /// Swap in MiB
    #[arg(long, default_value_t = 1024)]
    pub(crate) swap: u32,
    /// A series of this Debian (6.12, 6.1) or a suite (trixie, bookworm-backports)
    #[arg(long, default_value = "6.12")]
    pub(crate) kernel: String,
    /// The cgroup layout: v2, or v1 with a kernel that has it (6.1)
    #[arg(long, default_value = "v2")]
    pub(crate) cgroup: String,
    /// More arguments for the kernel
    #[arg(long, default_value = "")]
    pub(crate) append: String,
    /// An argument for qemu, such as -numa; may be repeated
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) qemu: Vec<String>,
    /// Seconds after which the machine is switched off
    #[arg(long, default_value_t = 900)]
    pub(crate) limit: u64,
    /// With systemd as pid 1, and the root of this suite (trixie, bookworm) instead of this machine's
    #[arg(long, value_name = "SUITE")]
    pub(crate) systemd: Option<String>,
    /// A file of which the machine gets a copy in /vm; may be repeated
    #[arg(long = "file", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// What is the machine's root, read-only.
    #[arg(skip = PathBuf::from("/"))]
    pub(crate) root: PathBuf,
}

impl Machine {
    /// The machine that the tests run in.
    pub(crate) fn for_tests() -> Self {
        Self {
            cpus: 4,
            memory: 3072,
            // With one, nothing that depends on where memory lies could be wrong.
            nodes: 2,
            swap: 1024,
            kernel: "6.12".to_owned(),
            cgroup: "v2".to_owned(),
            append: String::new(),
            qemu: Vec::new(),
            limit: 2400,
            systemd: None,
            files: Vec::new(),
            root: PathBuf::from("/"),
        }
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(self.limit)
    }

    /// Runs a shell script in a new machine, and copies what it prints to `output` meanwhile.
    ///
    /// Returns the script's exit status. The script may write to this machine's disk in `/vm`
    /// only, and that is deleted with the machine.
    ///
    /// # Errors
    /// When the machine cannot be made, or ended without finishing the script.
    pub(crate) fn run(&self, script: &str, output: &mut dyn std::io::Write) -> Result<i32> {
        let cache = repo::cache()?;
        let mut machine = self.clone();
        let kernel = {
            let _lock = repo::lock(&cache)?;
            if let Some(suite) = &self.systemd {
                machine.root = suite::fetch(&cache, suite)?;
            }
            kernel::fetch(&cache, &self.kernel)?
        };
        let _ = write!(machine.append, " xtask.cgroup={}", self.cgroup);
        for _ in 0..TRIES {
            let dir = tempfile::Builder::new().prefix("run-").tempdir_in(&cache)?;
            let initrd = machine.furnish(dir.path(), &kernel, script)?;
            match qemu::start(&machine, &kernel, &initrd, dir.path(), output)? {
                End::Done(status) => return Ok(status),
                End::Stalled => eprintln!("the guest did not start, or stalled: once more"),
                End::TimeLimit => bail!("the job did not end within {} s", self.limit),
                End::Died => {
                    let console = std::fs::read(dir.path().join("console")).unwrap_or_default();
                    bail!("the guest died; its console:\n{}", String::from_utf8_lossy(&console))
                }
            }
        }
        bail!("the guest stalled {TRIES} times in a row")
    }

    /// Puts everything that one start needs into `dir`; returns the initial file system.
    fn furnish(
        &self,
        dir: &Path,
        kernel: &kernel::Kernel,
        script: &str,
    ) -> Result<std::path::PathBuf> {
        let out = dir.join("out");
        std::fs::create_dir(&out)?;
        let guest = match self.systemd {
            Some(_) => include_str!("systemd.sh"),
            None => include_str!("guest.sh"),
        };
        std::fs::write(out.join("guest.sh"), guest)?;
        for file in &self.files {
            let name = file.file_name().with_context(|| format!("no file: {}", file.display()))?;
            std::fs::copy(file, out.join(name))
                .with_context(|| format!("cannot copy {}", file.display()))?;
        }
        std::fs::write(out.join("job.sh"), script)?;
        std::fs::write(out.join("environment"), environment(kernel))?;
        let swap = std::fs::File::create(dir.join("swap"))?;
        swap.set_len(u64::from(self.swap) << 20).context("cannot make the swap disk")?;
        initramfs::build(dir, kernel)
    }
}

/// The variables of the caller that matter to tests, in the shell's form.
fn environment(kernel: &kernel::Kernel) -> String {
    let mut text = format!("export MODULES_DIR={}\n", sh::quote(&kernel.modules.to_string_lossy()));
    let wanted = |name: &str| {
        ["PATH", "HOME", "CI", "RUST_BACKTRACE", "RUST_LOG"].contains(&name)
            || name.starts_with("RESVIEW_")
    };
    for (name, value) in std::env::vars().filter(|(name, _)| wanted(name)) {
        let _ = writeln!(text, "export {name}={}", sh::quote(&value));
    }
    text
}

/// `cargo xtask vm -- COMMAND…`: its exit status is the command's.
pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    let here = std::env::current_dir().context("the current folder is gone")?;
    let mut script = match args.machine.systemd {
        // Another root, which has not this folder.
        Some(_) => "exec".to_owned(),
        None => format!("cd {}\nexec", sh::quote(&here.to_string_lossy())),
    };
    for word in &args.command {
        let _ = write!(script, " {}", sh::quote(word));
    }
    script.push('\n');
    let status = args.machine.run(&script, &mut std::io::stdout())?;
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(1)))
}
