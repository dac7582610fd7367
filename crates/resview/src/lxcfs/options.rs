//! LXCFS's options: all that versions 5, 6 and 7 take, so that every unit file and script goes on
//! working. getopt's habits hold: long names may be abbreviated, options may follow the mountpoint.

use std::path::PathBuf;

use clap::Parser;

use crate::supervise::OnStop;

/// Where LXCFS keeps its pidfile.
const DEFAULT_RUNTIME_DIR: &str = "/run";

/// The file system that shows a container its own resources, in LXCFS's stead.
#[derive(Debug, Parser)]
#[command(
    name = "lxcfs",
    infer_long_args = true,
    disable_version_flag = true,
    override_usage = "lxcfs [OPTIONS] <MOUNTPOINT>"
)]
#[allow(clippy::struct_excessive_bools)] // each is a flag of LXCFS's
pub(crate) struct Options {
    /// Log more
    #[arg(short, long, conflicts_with = "foreground")]
    pub(crate) debug: bool,

    /// Stay in the foreground (it always does)
    #[arg(short, long)]
    pub(crate) foreground: bool,

    /// Show the load average of the container's own tasks
    #[arg(short = 'l', long)]
    pub(crate) enable_loadavg: bool,

    /// FUSE options, separated by commas; and resview.files=all|lxcfs, resview.on-stop=keep|unmount
    #[arg(short = 'o', value_name = "LIST", value_parser = parse_fuse_options)]
    pub(crate) fuse_options: Option<FuseOptions>,

    /// Where to keep the pidfile [default: lxcfs.pid in the runtime directory]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) pidfile: Option<PathBuf>,

    /// Where to keep run-time files [default: /run]
    #[arg(long, value_name = "DIR")]
    pub(crate) runtime_dir: Option<PathBuf>,

    /// Accepted; makes no difference
    #[arg(short = 's')]
    pub(crate) single_threaded: bool,

    /// Show no swap
    #[arg(short = 'u', long)]
    pub(crate) disable_swap: bool,

    /// Show no zswap
    #[arg(long)]
    pub(crate) disable_zswap: bool,

    /// Show as many CPUs as the CPU quota allows
    #[arg(long)]
    pub(crate) enable_cfs: bool,

    /// Accepted; makes no difference
    #[arg(long)]
    pub(crate) enable_pidfd: bool,

    /// Accepted; makes no difference
    #[arg(long)]
    pub(crate) enable_cgroup: bool,

    /// Let containers wait for pressure, by triggers in /proc/pressure
    #[arg(long)]
    pub(crate) enable_psi_poll: bool,

    /// Show the version
    #[arg(short, long)]
    pub(crate) version: bool,

    /// Where to mount
    #[arg(value_name = "MOUNTPOINT", required_unless_present = "version")]
    pub(crate) mountpoint: Option<PathBuf>,
}

impl Options {
    /// The pidfile, named or in the runtime directory.
    pub(crate) fn pidfile(&self) -> PathBuf {
        let named = self.pidfile.clone();
        let dir = self.runtime_dir.clone().unwrap_or_else(|| DEFAULT_RUNTIME_DIR.into());
        named.unwrap_or_else(|| dir.join("lxcfs.pid"))
    }

    /// Whether the tree shall have all our files, and not LXCFS's alone: `-o resview.files=all`.
    pub(crate) fn all_files(&self) -> bool {
        self.fuse_options.as_ref().is_some_and(|options| options.all_files)
    }

    /// What TERM and INT do to the view: LXCFS unmounts it, `-o resview.on-stop=keep` leaves it to the
    /// worker until the next start.
    pub(crate) fn on_stop(&self) -> OnStop {
        self.fuse_options.as_ref().map_or_else(OnStop::default, |options| options.on_stop)
    }

    /// What was asked for that changes nothing here, for the log.
    pub(crate) fn without_effect(&self) -> Vec<String> {
        let flags = [
            (self.foreground, "--foreground"),
            (self.single_threaded, "-s"),
            (self.enable_pidfd, "--enable-pidfd"),
            (self.enable_cgroup, "--enable-cgroup"),
        ];
        let flags = flags.into_iter().filter(|(given, _)| *given).map(|(_, name)| name.to_owned());
        let fuse = self.fuse_options.iter().flat_map(|options| &options.without_effect);
        flags.chain(fuse.map(|option| format!("-o {option}"))).collect()
    }
}

/// What `-o` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FuseOptions {
    without_effect: Vec<String>,
    all_files: bool,
    on_stop: OnStop,
}

/// Options of fusermount(1), mount(8) and libfuse, by name up to `=`. What they ask for is either
/// what we do anyway (`allow_other`) or the business of how we serve (`entry_timeout`).
const KNOWN_TO_FUSE: [&str; 39] = [
    "allow_other",
    "allow_root",
    "async_read",
    "atime",
    "attr_timeout",
    "auto_cache",
    "auto_unmount",
    "blkdev",
    "blksize",
    "clone_fd",
    "default_permissions",
    "dev",
    "direct_io",
    "entry_timeout",
    "exec",
    "fsname",
    "hard_remove",
    "intr",
    "intr_signal",
    "kernel_cache",
    "large_read",
    "max_background",
    "max_idle_threads",
    "max_read",
    "max_readahead",
    "max_write",
    "negative_timeout",
    "noatime",
    "nodev",
    "noexec",
    "nonempty",
    "nosuid",
    "readdir_ino",
    "remember",
    "ro",
    "rw",
    "subtype",
    "sync_read",
    "use_ino",
];

fn parse_fuse_options(list: &str) -> Result<FuseOptions, String> {
    let mut options = FuseOptions::default();
    for option in list.split(',').filter(|option| !option.is_empty()) {
        let name = option.split('=').next().unwrap_or(option);
        match option {
            // Ours, in a place where no unit file or script of LXCFS's users trips over it.
            "resview.files=all" => options.all_files = true,
            "resview.files=lxcfs" => options.all_files = false,
            "resview.on-stop=keep" => options.on_stop = OnStop::Keep,
            "resview.on-stop=unmount" => options.on_stop = OnStop::Unmount,
            _ if KNOWN_TO_FUSE.contains(&name) => options.without_effect.push(option.to_owned()),
            _ if name == "resview.files" => {
                return Err(format!("{option:?}: resview.files is all or lxcfs"));
            }
            _ if name == "resview.on-stop" => {
                return Err(format!("{option:?}: resview.on-stop is keep or unmount"));
            }
            _ => return Err(format!("FUSE has no option {option:?}")),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Options, clap::Error> {
        Options::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_is_sound() {
        Options::command().debug_assert();
    }

    #[test]
    fn the_command_lines_of_the_field_are_understood() {
        let packaged = parse("lxcfs /var/lib/lxcfs").unwrap();
        assert!(!packaged.enable_cfs && !packaged.enable_loadavg && !packaged.disable_swap);
        assert_eq!(packaged.pidfile(), PathBuf::from("/run/lxcfs.pid"));

        let incus = "lxcfs -f -p /r/lxcfs.pid --runtime-dir /r/lxcfs --enable-cfs -l /d/lxcfs";
        let incus = parse(incus).unwrap();
        assert_eq!(incus.pidfile(), PathBuf::from("/r/lxcfs.pid"));
        assert!(incus.enable_cfs && incus.enable_loadavg);
        assert_eq!(incus.mountpoint, Some("/d/lxcfs".into()));

        let daemonset = "lxcfs -l -u --enable-pidfd --enable-cgroup -o nonempty,allow_other /m";
        let daemonset = parse(daemonset).unwrap();
        let ignored = ["--enable-pidfd", "--enable-cgroup", "-o nonempty", "-o allow_other"];
        assert_eq!(daemonset.without_effect(), ignored);
    }

    #[test]
    fn getopts_habits_hold() {
        let options = parse("lxcfs /m -lus --runtime=/x --enable-psi --disable-z").unwrap();
        assert!(options.enable_loadavg && options.disable_swap && options.disable_zswap);
        assert!(options.enable_psi_poll && options.single_threaded);
        assert_eq!(options.pidfile(), PathBuf::from("/x/lxcfs.pid"));
        assert!(parse("lxcfs --enable-c /m").is_err(), "cfs or cgroup?");
        assert_eq!(parse("lxcfs -p/x/y /m").unwrap().pidfile(), PathBuf::from("/x/y"));
    }

    #[test]
    fn what_lxcfs_refuses_is_refused() {
        for line in [
            "lxcfs",
            "lxcfs /a /b",
            "lxcfs -d -f /m",
            "lxcfs --frobnicate /m",
            "lxcfs -o no_such_thing /m",
            "lxcfs -o ro -o rw /m",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn fuse_options_are_known_by_name() {
        let options = parse("lxcfs -o entry_timeout=0.5,fsname=x /m").unwrap();
        assert_eq!(options.without_effect(), ["-o entry_timeout=0.5", "-o fsname=x"]);
        assert!(KNOWN_TO_FUSE.is_sorted());
    }

    #[test]
    fn all_files_are_listed_when_asked_for() {
        let all_files = |line: &str| parse(line).unwrap().all_files();
        assert!(!all_files("lxcfs /m") && !all_files("lxcfs -o allow_other /m"));
        assert!(all_files("lxcfs -o allow_other,resview.files=all /m"));
        assert!(!all_files("lxcfs -o resview.files=lxcfs /m"));
        for line in ["lxcfs -o resview.files /m", "lxcfs -o resview.files=some /m"] {
            assert!(parse(line).unwrap_err().to_string().contains("all or lxcfs"), "{line}");
        }
    }

    #[test]
    fn the_view_stays_at_a_stop_if_the_unit_says_so() {
        let on_stop = |line: &str| parse(line).unwrap().on_stop();
        assert_eq!(on_stop("lxcfs /m"), OnStop::Unmount);
        // A list of which a unit file leaves the end empty.
        assert_eq!(on_stop("lxcfs -o resview.on-stop=keep, /m"), OnStop::Keep);
        let error = parse("lxcfs -o resview.on-stop=no /m").unwrap_err().to_string();
        assert!(error.contains("keep or unmount"), "{error}");
    }
}
