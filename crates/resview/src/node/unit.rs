//! The unit file, made from the one of the packages.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::bail;

/// The packages'.
const PACKAGED: &str = include_str!("../../../../packaging/systemd/resview.service");

/// How ours begins. Whoever wants other settings makes a drop-in; a file that begins otherwise is
/// not ours.
pub(crate) const MARK: &str = "# Written by `resview node`, which replaces it when it differs.";

/// Lines of the packages' unit with what they become; `None`: the line goes.
struct Edit<'a> {
    line: &'static str,
    by: Option<&'a str>,
}

/// NRI: the plugin registers with a runtime that runs, before the kubelet starts the first pod. The
/// others start containers themselves.
const ORDER: &str = "\
Before=docker.service podman.service kubelet.service
Before=k3s.service k3s-agent.service rke2-server.service rke2-agent.service
Before=k0scontroller.service k0sworker.service
After=containerd.service crio.service";

/// The first version of systemd with `Type=notify-reload`.
const NOTIFY_RELOAD: u32 = 253;

/// The unit that starts `program` with these options of `resview daemon`, for this version of
/// systemd.
///
/// # Errors
/// A path or an option that a unit file cannot have, or the packages' unit is not what it was.
pub(crate) fn unit(program: &Path, options: &[String], systemd: u32) -> anyhow::Result<String> {
    let Some(path) = program.to_str().filter(|path| path.starts_with('/')) else {
        bail!("{} is no absolute path in UTF-8, as a unit needs one", program.display());
    };
    let (path, dir) = (quoted(path)?, program.parent().and_then(Path::to_str).unwrap_or("/"));
    let mut start = format!("ExecStart={path} daemon --on-stop keep --slots");
    for option in options {
        let _ = write!(start, " {}", quoted(option)?);
    }
    start.push_str(" $RESVIEW_OPTIONS");
    if options.iter().any(|option| option == "--nri") {
        // Only with that is the unit active, and only then does the kubelet start.
        let _ = write!(start, "\nExecStartPost=-{path} __wait-for-plugin");
    }
    let reloads = systemd >= NOTIFY_RELOAD;
    if !reloads {
        let _ = write!(start, "\nExecReload={path} upgrade");
    }
    let documentation = format!("RequiresMountsFor={}", quoted(dir)?);
    let edits = [
        Edit {
            line: "Documentation=man:resview-daemon(1) file:///usr/share/doc/resview/README.md",
            by: Some(&documentation),
        },
        Edit {
            line: "Before=docker.service containerd.service crio.service podman.service kubelet.service",
            by: Some(ORDER),
        },
        Edit { line: "Type=notify-reload", by: reloads.then_some("Type=notify-reload") },
        Edit {
            line: "ExecStart=/usr/bin/resview daemon --on-stop keep --slots $RESVIEW_OPTIONS",
            by: Some(&start),
        },
    ];
    edited(&edits)
}

fn edited(edits: &[Edit<'_>]) -> anyhow::Result<String> {
    let mut text = format!("{MARK}\n\n");
    let mut made = 0;
    for line in PACKAGED.lines().filter(|line| !line.starts_with('#')) {
        let edit = edits.iter().find(|edit| edit.line == line);
        made += usize::from(edit.is_some());
        if let Some(line) = edit.map_or(Some(line), |edit| edit.by) {
            text.push_str(line);
            text.push('\n');
        }
    }
    if made != edits.len() {
        bail!("the packages' unit has not each of the lines that differ here");
    }
    while text.contains("\n\n\n") {
        text = text.replace("\n\n\n", "\n\n");
    }
    Ok(text)
}

/// One word of a command line, as systemd.service(5) has it.
fn quoted(word: &str) -> anyhow::Result<String> {
    if word.chars().any(char::is_control) {
        bail!("{word:?} has a control character, which a unit file cannot have");
    }
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-=,:+@".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return Ok(word.to_owned());
    }
    let mut quoted = String::from('"');
    for letter in word.chars() {
        match letter {
            '"' | '\\' => quoted.push('\\'),
            '%' | '$' => quoted.push(letter),
            _ => {}
        }
        quoted.push(letter);
    }
    quoted.push('"');
    Ok(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(systemd: u32) -> String {
        let options = ["--nri".to_owned(), "--cpu-count=quota floor".to_owned()];
        unit(Path::new("/opt/resview/resview"), &options, systemd).unwrap()
    }

    #[test]
    fn the_unit_is_the_packages_but_for_what_differs_on_a_node() {
        let text = made(257);
        assert!(text.starts_with(MARK));
        for line in [
            "ExecStart=/opt/resview/resview daemon --on-stop keep --slots --nri \"--cpu-count=quota floor\" $RESVIEW_OPTIONS",
            "ExecStartPost=-/opt/resview/resview __wait-for-plugin",
            "Type=notify-reload",
            "After=containerd.service crio.service",
            "Before=docker.service podman.service kubelet.service",
            "RequiresMountsFor=/opt/resview",
            "KillMode=process",
            "FileDescriptorStorePreserve=yes",
            "WantedBy=multi-user.target",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}:\n{text}");
        }
        assert!(!text.contains("/usr/bin") && !text.contains("ExecReload"), "{text}");
        let kept = |text: &str| text.lines().filter(|line| line.contains('=')).count();
        assert_eq!(kept(&text), kept(&PACKAGED.replace('#', "")) - comments_with_settings() + 4);
    }

    fn comments_with_settings() -> usize {
        PACKAGED.lines().filter(|line| line.starts_with('#') && line.contains('=')).count()
    }

    #[test]
    fn an_older_systemd_asks_over_the_control_socket() {
        let text = made(252);
        assert!(text.contains("\nType=notify\n") && !text.contains("notify-reload"));
        assert!(text.contains("\nExecReload=/opt/resview/resview upgrade\n"));
    }

    #[test]
    fn nothing_in_a_word_has_a_meaning() {
        assert_eq!(quoted("a b").unwrap(), r#""a b""#);
        assert_eq!(quoted(r#"%h$X"\"#).unwrap(), r#""%%h$$X\"\\""#);
        assert_eq!(quoted("").unwrap(), r#""""#);
        assert!(quoted("a\nExecStartPre=x").is_err());
        assert!(unit(Path::new("opt"), &[], 257).is_err());
    }
}
