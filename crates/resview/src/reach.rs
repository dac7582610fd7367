//! `resview attach`, `detach` and `list`: the command line's side of the public socket.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use api::{
    Answer, Attach, Client, ContainerAnswer, CpuCount, Detach, FileAnswer, FileChoice, FileOutcome,
    List, Outcome, Policy, Request, Selector, View,
};
use clap::{Args, ValueEnum};

use crate::cli::DaemonPlace;
use crate::exit_codes;
use crate::mountpoint::resolve;
use crate::output;
use crate::runtime_dir;

/// How long the agent may take for everything: it may have a thousand containers to do.
const PATIENCE: Duration = Duration::from_secs(300);

/// Give running containers the view
///
/// Nothing is executed in a container and nothing is needed in its image. All files of a container
/// are mounted or none; a container that has them already is left as it is; mounts of LXCFS, dead
/// ones too, are replaced in place. A policy that is given is kept with the container.
#[derive(Args, Debug)]
pub(crate) struct AttachOptions {
    #[command(flatten)]
    which: Which,

    /// Which files: meminfo, stat, sys/devices/system/cpu … [default: all]
    #[arg(long, value_name = "FILE,…", value_delimiter = ',')]
    files: Option<Vec<String>>,

    /// How many CPUs these containers see [default: as the daemon was told]
    #[arg(long, value_name = "POLICY", value_enum)]
    cpu_count: Option<CpuCountName>,

    /// Whether these containers get the view; off takes it away, and keeps others from giving it
    #[arg(long, value_name = "WHAT", value_enum)]
    view: Option<ViewName>,

    /// What these containers get of a file: host, virtual or absent, as in swaps=host
    #[arg(long = "file", value_name = "FILE=POLICY", value_parser = parse_file)]
    policies: Vec<(String, FileChoice)>,

    #[command(flatten)]
    talk: Talk,
}

/// Take the view away from running containers
#[derive(Args, Debug)]
pub(crate) struct DetachOptions {
    #[command(flatten)]
    which: Which,

    #[command(flatten)]
    talk: Talk,
}

/// List containers, and which files of theirs have the view
#[derive(Args, Debug)]
pub(crate) struct ListOptions {
    /// Names or ids [default: all containers]
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,

    #[command(flatten)]
    talk: Talk,
}

#[derive(Args, Debug)]
struct Which {
    /// Names, ids, the beginnings of ids, process ids, or paths of cgroups (/docker/4f2a)
    #[arg(value_name = "CONTAINER", required_unless_present_any = ["all", "pid", "cgroup"])]
    containers: Vec<String>,

    /// Every container of the machine
    #[arg(long, conflicts_with_all = ["containers", "pid", "cgroup"])]
    all: bool,

    /// The container of this process
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,

    /// The container in this cgroup
    #[arg(long, value_name = "PATH")]
    cgroup: Option<String>,
}

#[derive(Args, Debug)]
struct Talk {
    #[command(flatten)]
    place: DaemonPlace,

    /// Print the agent's answers, one JSON object a line (docs/control.md)
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CpuCountName {
    Cpuset,
    Quota,
    QuotaFloor,
    Shares,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ViewName {
    On,
    Off,
}

fn parse_file(text: &str) -> Result<(String, FileChoice), String> {
    let (file, choice) = text.split_once('=').ok_or("say FILE=POLICY, as in swaps=host")?;
    let choice = match choice {
        "host" => FileChoice::Host,
        "virtual" => FileChoice::Virtual,
        "absent" => FileChoice::Absent,
        other => return Err(format!("{other:?} is no policy; there are host, virtual, absent")),
    };
    let in_proc = !file.contains('/');
    Ok((if in_proc { format!("proc/{file}") } else { file.to_owned() }, choice))
}

/// `resview attach`, `resview remount`: exit code 1 if a container could not be attached.
pub(crate) fn attach(options: &AttachOptions) -> ExitCode {
    let policy = Policy {
        view: options.view.map(|view| match view {
            ViewName::On => View::On,
            ViewName::Off => View::Off,
        }),
        cpu_count: options.cpu_count.map(|count| match count {
            CpuCountName::Cpuset => CpuCount::Cpuset,
            CpuCountName::Quota => CpuCount::Quota,
            CpuCountName::QuotaFloor => CpuCount::QuotaFloor,
            CpuCountName::Shares => CpuCount::Shares,
        }),
        files: options.policies.iter().cloned().collect(),
    };
    let policy = (policy != Policy::default()).then_some(policy);
    let request = |container| {
        let (files, policy) = (options.files.clone(), policy.clone());
        Request::Attach(Attach { container, files, policy })
    };
    ask_all(options.which.selectors().into_iter().map(request), &options.talk)
}

/// `resview detach`
pub(crate) fn detach(options: &DetachOptions) -> ExitCode {
    let request = |container| Request::Detach(Detach { container });
    ask_all(options.which.selectors().into_iter().map(request), &options.talk)
}

/// `resview list`
pub(crate) fn list(options: &ListOptions) -> ExitCode {
    let named = |name: &String| Request::List(List { container: Some(selector(name)) });
    let mut requests: Vec<_> = options.containers.iter().map(named).collect();
    if requests.is_empty() {
        requests.push(Request::List(List { container: None }));
    }
    if !options.talk.json {
        output::line(format_args!(
            "{:<14} {:<20} {:<11} {:>8} {:>6}  POLICY",
            "ID", "NAME", "ENGINE", "PID", "FILES"
        ));
    }
    ask_all(requests.into_iter(), &options.talk)
}

impl Which {
    fn selectors(&self) -> Vec<Selector> {
        let mut selectors: Vec<_> = self.containers.iter().map(|name| selector(name)).collect();
        selectors.extend(self.all.then_some(Selector::All));
        selectors.extend(self.pid.map(Selector::Pid));
        selectors.extend(self.cgroup.clone().map(Selector::Cgroup));
        selectors
    }
}

fn selector(text: &str) -> Selector {
    if text.starts_with('/') {
        Selector::Cgroup(text.to_owned())
    } else {
        Selector::Name(text.to_owned())
    }
}

/// Asks one after the other. One that fails does not keep the others from their answer.
fn ask_all(requests: impl Iterator<Item = Request>, talk: &Talk) -> ExitCode {
    let mut code = exit_codes::OK;
    for request in requests {
        match ask(&request, talk) {
            Ok(0) => {}
            Ok(_) => code = exit_codes::FAILED,
            Err(error) => {
                eprintln!("resview: {error:#}");
                code = exit_codes::FAILED;
            }
        }
    }
    code.into()
}

/// Prints each line of the answer as it comes; how many containers failed.
fn ask(request: &Request, talk: &Talk) -> anyhow::Result<u64> {
    let mountpoint = resolve(&talk.place.mountpoint)?;
    let socket = runtime_dir::socket(&talk.place.runtime_dir, &mountpoint);
    let mut client = Client::connect(socket, PATIENCE)?;
    client.send(request)?;
    while let Some(answer) = client.next_answer()? {
        if talk.json {
            output::print(String::from_utf8_lossy(&answer.to_line()?));
        }
        match answer {
            Answer::Container(answer) if !talk.json => print_container(&answer),
            Answer::Failure(failure) => bail!("{}", failure.error),
            Answer::Done(done) => return Ok(done.failed),
            _ => {}
        }
    }
    bail!("the agent's answer has no end")
}

fn print_container(answer: &ContainerAnswer) {
    if answer.outcome == Outcome::Listed {
        output::line(row(answer));
    } else {
        output::line(sentence(answer));
    }
}

fn row(answer: &ContainerAnswer) -> String {
    let container = &answer.container;
    let id: String = on_one_line(&container.id).chars().take(14).collect();
    let name = on_one_line(container.names.first().map_or("", String::as_str));
    let pid = container.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
    let policy = answer.policy.as_ref().map(policy_in_words).unwrap_or_default();
    let (engine, files) = (&container.engine, answer.files.len());
    let row = format!("{id:<14} {name:<20} {engine:<11} {pid:>8} {files:>6}  {policy}");
    row.trim_end().to_owned()
}

fn policy_in_words(policy: &Policy) -> String {
    let mut words = Vec::new();
    if policy.view == Some(View::Off) {
        words.push("view=off".to_owned());
    }
    if let Some(count) = policy.cpu_count {
        words.push(format!("cpu-count={}", quoted(&count)));
    }
    words.extend(policy.files.iter().map(|(file, choice)| format!("{file}={}", quoted(choice))));
    words.join(" ")
}

/// What a terminal is not to obey: engines let a container have any name.
fn on_one_line(text: &str) -> String {
    let shown = |letter: char| match letter.is_control() {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    };
    text.chars().map(shown).collect()
}

/// The protocol's own word for a value.
fn quoted(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

fn sentence(answer: &ContainerAnswer) -> String {
    let container = &answer.container;
    let name = container.names.first().unwrap_or(&container.id);
    let has = |wanted: FileOutcome| answer.files.iter().filter(move |file| file.outcome == wanted);
    let mut text = format!("{}: {}", on_one_line(name), quoted(&answer.outcome));
    let counted = [
        (FileOutcome::Attached, "files"),
        (FileOutcome::Replaced, "replaced"),
        (FileOutcome::Already, "there already"),
        (FileOutcome::Detached, "files"),
    ];
    let counts = counted.map(|(outcome, word)| (has(outcome).count(), word));
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let in_words = |(count, word): &(usize, &str)| match (count, *word) {
        (1, "files") => "1 file".to_owned(),
        (count, word) => format!("{count} {word}"),
    };
    let counts: Vec<_> = counts.map(in_words).collect();
    if !counts.is_empty() {
        text.push_str(&format!(", {}", counts.join(", ")));
    }
    for outcome in [FileOutcome::Masked, FileOutcome::Occupied, FileOutcome::Failed] {
        for FileAnswer { file, reason, .. } in has(outcome) {
            let why = reason.as_ref().map_or_else(|| quoted(&outcome), Clone::clone);
            text.push_str(&format!("\n  {file}: {}", on_one_line(&why)));
        }
    }
    if let Some(reason) = &answer.reason {
        text.push_str(&format!(": {}", on_one_line(reason)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(outcome: Outcome, files: &[(&str, FileOutcome)]) -> ContainerAnswer {
        let file = |(file, outcome): &(&str, FileOutcome)| FileAnswer {
            file: (*file).to_owned(),
            outcome: *outcome,
            reason: None,
        };
        ContainerAnswer {
            container: api::Container {
                id: "4f2a".to_owned(),
                names: vec!["web".to_owned()],
                engine: "docker".to_owned(),
                pid: Some(4711),
                ..api::Container::default()
            },
            outcome,
            reason: None,
            files: files.iter().map(file).collect(),
            policy: None,
        }
    }

    #[test]
    fn an_answer_is_a_sentence() {
        let files = [("proc/stat", FileOutcome::Attached), ("proc/kcore", FileOutcome::Masked)];
        let text = sentence(&answer(Outcome::Attached, &files));
        assert_eq!(text, "web: attached, 1 file\n  proc/kcore: masked");
        let failed = ContainerAnswer {
            reason: Some("it has ended".to_owned()),
            ..answer(Outcome::Failed, &[])
        };
        assert_eq!(sentence(&failed), "web: failed: it has ended");
    }

    #[test]
    fn names_and_reasons_tell_a_terminal_nothing() {
        let mut hostile = answer(Outcome::Failed, &[]);
        hostile.container.names = vec!["a\nb\u{1b}[2J\u{9b}é".to_owned()];
        hostile.reason = Some("x\ry".to_owned());
        assert_eq!(sentence(&hostile), r"a\nb\u{1b}[2J\u{9b}é: failed: x\ry");
        assert!(row(&hostile).contains(r" a\nb\u{1b}[2J\u{9b}é "));
    }

    #[test]
    fn a_listed_container_is_a_row() {
        let mut listed = answer(Outcome::Listed, &[("proc/stat", FileOutcome::Already)]);
        assert_eq!(row(&listed), "4f2a           web                  docker          4711      1");
        listed.policy = Some(Policy {
            view: Some(View::Off),
            cpu_count: Some(CpuCount::QuotaFloor),
            files: [("proc/swaps".to_owned(), FileChoice::Host)].into(),
        });
        assert!(row(&listed).ends_with("  view=off cpu-count=quota-floor proc/swaps=host"));
    }

    #[test]
    fn a_path_is_a_cgroup_and_anything_else_a_name() {
        assert_eq!(selector("/docker/4f2a"), Selector::Cgroup("/docker/4f2a".to_owned()));
        assert_eq!(selector("4711"), Selector::Name("4711".to_owned()));
        assert_eq!(parse_file("swaps=host"), Ok(("proc/swaps".to_owned(), FileChoice::Host)));
        assert_eq!(parse_file("sys/block=absent").unwrap().0, "sys/block");
        assert!(parse_file("swaps").is_err() && parse_file("swaps=no").is_err());
    }
}
