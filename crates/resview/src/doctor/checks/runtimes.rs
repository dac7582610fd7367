//! Which container engines and runtimes are there, and what their versions can do.

use crate::doctor::finding::Finding;
use crate::doctor::machine::{Machine, version_in};

/// A program that is asked for its version.
struct Runtime {
    program: &'static str,
    arguments: &'static [&'static str],
    /// What its version cannot do.
    limits: fn([u32; 3]) -> Vec<(String, &'static str)>,
}

const VERSION: &[&str] = &["--version"];
const RUNTIMES: [Runtime; 11] = [
    Runtime { program: "docker", arguments: VERSION, limits: docker },
    Runtime { program: "podman", arguments: VERSION, limits: podman },
    Runtime { program: "containerd", arguments: VERSION, limits: containerd },
    Runtime { program: "crio", arguments: VERSION, limits: nothing },
    Runtime { program: "runc", arguments: VERSION, limits: runc },
    Runtime { program: "crun", arguments: VERSION, limits: nothing },
    Runtime { program: "youki", arguments: VERSION, limits: nothing },
    Runtime { program: "lxc-start", arguments: VERSION, limits: nothing },
    Runtime { program: "lxc", arguments: VERSION, limits: nothing },
    Runtime { program: "incus", arguments: VERSION, limits: nothing },
    Runtime { program: "systemd-nspawn", arguments: VERSION, limits: nothing },
];

pub(super) fn look(machine: &Machine) -> Vec<Finding> {
    let present = RUNTIMES.iter().filter_map(|one| Some((one, machine.program(one.program)?)));
    let findings = std::thread::scope(|scope| {
        // At once: each may take as long as a program is waited for.
        let asked: Vec<_> = present
            .map(|(runtime, program)| scope.spawn(move || of(machine, runtime, &program)))
            .collect();
        asked.into_iter().flat_map(|one| one.join().unwrap_or_default()).collect::<Vec<_>>()
    });
    if findings.is_empty() {
        return vec![Finding::note(
            "no container engine or runtime was found",
            "install one, or try the view with `resview run`",
        )];
    }
    findings
}

fn of(machine: &Machine, runtime: &Runtime, program: &std::path::Path) -> Vec<Finding> {
    let name = runtime.program;
    let Some(text) = machine.output(program, runtime.arguments) else {
        return vec![Finding::problem(
            format!("{} does not say its version", program.display()),
            format!("see what `{name} --version` says; it fails or hangs"),
        )];
    };
    let Some(version) = version_in(&text) else {
        let first = text.lines().next().unwrap_or_default();
        return vec![Finding::note(
            format!("the version of {name} is not understood: {first}"),
            "please report it",
        )];
    };
    let [major, minor, patch] = version;
    let limits = (runtime.limits)(version).into_iter();
    let limits = limits.map(|(found, advice)| Finding::note(found, advice));
    std::iter::once(Finding::ok(format!("{name} {major}.{minor}.{patch}"))).chain(limits).collect()
}

fn nothing(_: [u32; 3]) -> Vec<(String, &'static str)> {
    Vec::new()
}

fn docker([major, minor, _]: [u32; 3]) -> Vec<(String, &'static str)> {
    match (major, minor) {
        (..25, _) => vec![(
            format!("docker {major}.{minor} has no CDI devices, which came with 25"),
            "use the runtime wrapper or mounts, or a newer Docker",
        )],
        (25..28, _) | (28, ..2) => vec![(
            format!("docker {major}.{minor} has CDI devices only where they are switched on"),
            "put {\"features\": {\"cdi\": true}} into /etc/docker/daemon.json",
        )],
        _ => Vec::new(),
    }
}

fn podman([major, minor, _]: [u32; 3]) -> Vec<(String, &'static str)> {
    if (major, minor) >= (4, 1) {
        return Vec::new();
    }
    let found = format!("podman {major}.{minor} has no CDI devices, which came with 4.1");
    vec![(found, "use hooks.d or mounts, or a newer Podman")]
}

fn containerd([major, minor, _]: [u32; 3]) -> Vec<(String, &'static str)> {
    match (major, minor) {
        (1, ..7) | (0, _) => vec![(
            format!("containerd {major}.{minor} has no NRI, which came with 1.7"),
            "use a runtime wrapper or a base spec, or a newer containerd",
        )],
        (1, _) => vec![(
            format!("containerd {major}.{minor} has NRI and CDI only where they are switched on"),
            "switch them on in /etc/containerd/config.toml (disable = false; enable_cdi = true)",
        )],
        _ => Vec::new(),
    }
}

/// What runc lets a container's configuration mount over /proc.
fn runc([major, minor, patch]: [u32; 3]) -> Vec<(String, &'static str)> {
    vec![(
        format!(
            "runc {major}.{minor}.{patch} refuses volumes over other files of /proc than cpuinfo, \
             diskstats, loadavg, meminfo, slabinfo, stat, swaps and uptime"
        ),
        "for vmstat, pressure and so on use the hook, attach, or crun",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::said;
    use crate::doctor::machine::fake::Fake;

    fn on(program: &str, script: &str) -> Vec<String> {
        let fake = Fake::new(&[]);
        fake.script(program, script);
        said(&look(&fake.machine))
    }

    #[test]
    fn versions_tell_what_is_missing() {
        for (program, says, words) in [
            ("docker", "Docker version 20.10.24, build 1", "no CDI devices"),
            ("docker", "Docker version 27.5.1, build 1", "only where they are switched on"),
            ("podman", "podman version 3.0.1", "no CDI devices"),
            ("containerd", "containerd github.com/x 1.6.20~ds1 1", "no NRI"),
            ("containerd", "containerd github.com/x v1.7.24", "only where"),
            ("runc", "runc version 1.1.5+ds1", "refuses volumes"),
        ] {
            let said = on(program, &format!("echo '{says}'"));
            assert!(said.len() == 1 && said[0].contains(words), "{says}: {said:?}");
        }
        for (program, says) in [
            ("docker", "Docker version 28.2.2, build 1"),
            ("podman", "podman version 5.4.2"),
            ("containerd", "containerd x v2.1.4"),
            ("crun", "crun version 1.21"),
        ] {
            assert_eq!(on(program, &format!("echo '{says}'")), [""; 0], "{says}");
        }
    }

    #[test]
    fn a_broken_runtime_is_a_problem_and_none_a_note() {
        assert!(on("runc", "exit 127")[0].starts_with("Problem"));
        assert!(on("crun", "echo what")[0].contains("not understood"));
        let none = said(&look(&Fake::new(&[]).machine));
        assert!(none[0].contains("no container engine"), "{none:?}");
    }
}
