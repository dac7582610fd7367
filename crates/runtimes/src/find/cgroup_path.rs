//! What the path of a cgroup tells: engines put their containers' ids into it.

use super::Engine;

/// What a path tells.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Told {
    /// Whose container it is.
    pub engine: Engine,
    /// Its id, for LXC and systemd-nspawn its name.
    pub id: String,
}

/// The container that a cgroup belongs to. Of nested ones the innermost.
///
/// Known are the names that cgroupfs and systemd drivers give: `docker/ID`, `docker-ID.scope`,
/// `cri-containerd-ID.scope`, `crio-ID.scope`, `libpod-ID.scope`, `libpod-ID`, `kubepods/…/ID`,
/// `lxc.payload.NAME`, `lxc/NAME`, `machine.slice/machine-NAME.scope`, `systemd-nspawn@NAME.service`.
#[must_use]
pub fn told_by(path: &str) -> Option<Told> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    (0..parts.len()).rev().find_map(|at| {
        let above = parts.get(..at).unwrap_or_default();
        told_by_part(above, parts.get(at)?)
    })
}

/// Scopes and folders named after an engine, with what stands before the id.
const PREFIXES: &[(&str, Engine)] = &[
    ("docker-", Engine::Docker),
    ("cri-containerd-", Engine::Containerd),
    ("crio-", Engine::CriO),
    ("libpod-", Engine::Podman),
];

fn told_by_part(above: &[&str], part: &str) -> Option<Told> {
    let told = |engine, id: &str| Some(Told { engine, id: id.to_owned() });
    let unit = part.strip_suffix(".scope").unwrap_or(part);
    for &(prefix, engine) in PREFIXES {
        if let Some(id) = unit.strip_prefix(prefix).filter(|id| is_engine_id(id)) {
            return told(engine, id);
        }
    }
    if let Some(name) = part.strip_prefix("lxc.payload.").filter(|name| !name.is_empty()) {
        return told(Engine::Lxc, name);
    }
    if let Some(name) = part.strip_prefix("systemd-nspawn@") {
        return told(Engine::Nspawn, &unescape(name.strip_suffix(".service")?));
    }
    let parent = above.last().copied().unwrap_or_default();
    if let Some(name) = part.strip_prefix("machine-").and_then(|name| name.strip_suffix(".scope")) {
        // libvirt and Podman's pods put other things into machine.slice.
        let virtual_machine = name.starts_with("qemu\\x2d") || name.starts_with("lxc\\x2d");
        return if virtual_machine { None } else { told(Engine::Nspawn, &unescape(name)) };
    }
    let kubernetes = above.iter().any(|part| part.starts_with("kubepods"));
    match parent {
        "docker" if is_engine_id(part) => told(Engine::Docker, part),
        "lxc" if above.len() == 1 => told(Engine::Lxc, part),
        _ if kubernetes && is_engine_id(part) => told(Engine::Containerd, part),
        _ => None,
    }
}

/// Docker, containerd's CRI, CRI-O and Podman: 64 hexadecimal digits. `crio-conmon-ID` is none.
pub(super) fn is_engine_id(text: &str) -> bool {
    text.len() == 64
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Undoes what systemd does to names of units: `\x2d` for a dash inside a name (systemd.unit(5)).
fn unescape(name: &str) -> String {
    let mut parts = name.split("\\x");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (code, part.get(2..)) {
            (Some(code), Some(rest)) if code.is_ascii() => {
                out.push(char::from(code));
                out.push_str(rest);
            }
            _ => {
                out.push_str("\\x");
                out.push_str(part);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "bc8ee63b5fd43ffe22c66c325eb892face46ed06fae640fb9409fefb010f714d";
    const OTHER: &str = "6a397a0da9f458618b0c55f91ed3131b73db588706d8d8d2c0250c4c6b216316";

    #[test]
    fn paths_of_engines_are_known() {
        let pod = "kubepods/burstable/pod0d4f";
        let slice = "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0d4f.slice";
        for (path, engine, id) in [
            (format!("/docker/{ID}"), Engine::Docker, ID),
            (format!("/system.slice/docker-{ID}.scope"), Engine::Docker, ID),
            (format!("/{pod}/{ID}"), Engine::Containerd, ID),
            (format!("/{slice}/cri-containerd-{ID}.scope"), Engine::Containerd, ID),
            (format!("/{slice}/crio-{ID}.scope"), Engine::CriO, ID),
            (format!("/{slice}/crio-{ID}.scope/container"), Engine::CriO, ID),
            (format!("/machine.slice/libpod-{ID}.scope/container"), Engine::Podman, ID),
            (format!("/libpod_parent/libpod-{ID}"), Engine::Podman, ID),
            (format!("/user.slice/user-1000.slice/libpod-{ID}.scope"), Engine::Podman, ID),
            ("/lxc.payload.c1".to_owned(), Engine::Lxc, "c1"),
            ("/lxc.payload.c1/init.scope".to_owned(), Engine::Lxc, "c1"),
            ("/lxc/c1".to_owned(), Engine::Lxc, "c1"),
            ("/machine.slice/machine-deb\\x2d12.scope".to_owned(), Engine::Nspawn, "deb-12"),
            ("/machine.slice/systemd-nspawn@deb.service/payload".to_owned(), Engine::Nspawn, "deb"),
        ] {
            assert_eq!(told_by(&path), Some(Told { engine, id: id.to_owned() }), "{path}");
        }
    }

    #[test]
    fn of_nested_containers_the_innermost_is_told() {
        let path = format!("/docker/{ID}/docker/{OTHER}");
        assert_eq!(told_by(&path).unwrap().id, OTHER);
        let path = format!("/lxc.payload.c1/system.slice/docker-{ID}.scope");
        assert_eq!(told_by(&path).unwrap().engine, Engine::Docker);
    }

    #[test]
    fn other_cgroups_tell_nothing() {
        for path in [
            "/",
            "",
            "/init.scope",
            "/system.slice/ssh.service",
            "/docker/short",
            "/lxc.monitor.c1",
            "/lxc.payload.",
            "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope",
            &format!("/kubepods.slice/crio-conmon-{ID}.scope"),
            &format!("/libpod_parent/libpod-conmon-{ID}"),
            &format!("/user.slice/{ID}"),
        ] {
            assert_eq!(told_by(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_path_makes_it_panic(path in "[/a-z.@\\\\x0-9é-]{0,60}") {
            let _ = told_by(&path);
        }
    }
}
