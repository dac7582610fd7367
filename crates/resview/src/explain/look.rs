//! One look at one container.

use std::sync::Arc;

use anyhow::{Context, bail};
use cgroup::{Group, Version};
use container::Container;
use procfmt::cpulist::CpuSet;
use procfmt::meminfo::Totals;
use serde_json::{Value, json};
use view::catalogue::{FilePolicy, PRESSURE};
use view::policy::Policy;
use viewfs::Contents;

use super::answer::Answer;
use super::asked::Asked;
use super::daemon::Daemon;
use super::formula::{self, Formula};
use super::pages::{Rule, plain, rules_of};
use super::sources::{Source, of_pressure, of_rule, version};
use super::surroundings::{directories, unmounted};
use super::target::Target;
use super::{cpu, lines};
use crate::view_options::CpuCount;

/// Of so many processes of a cgroup it is asked whose they are.
const MOST_PROCESSES: usize = 64;

/// A container, and all that its answers are made from.
pub(super) struct Look {
    selector: String,
    contents: Contents,
    daemon: Daemon,
    /// `None`: the host itself.
    container: Option<Arc<Container>>,
}

impl Look {
    /// Opens what is needed of the host, and finds out whose the target's processes are.
    ///
    /// # Errors
    /// Not root; or the processes have ended, or belong to several containers.
    pub(super) fn at(target: &Target, daemon: Daemon) -> anyhow::Result<Self> {
        let contents = Contents::to_look(daemon.policy.clone(), &daemon.upkeep)
            .context("cannot look at the host's files; be root (CAP_SYS_ADMIN)")?;
        let mut found: Vec<Option<Arc<Container>>> = Vec::new();
        for pid in target.pids.iter().take(MOST_PROCESSES) {
            // A process that has ended meanwhile is nobody's.
            let Ok(container) = contents.container_of(*pid) else { continue };
            let key = |one: &Option<Arc<Container>>| one.as_ref().map(|one| one.key());
            if found.iter().all(|known| key(known) != key(&container)) {
                found.push(container);
            }
        }
        let selector = target.selector.clone();
        match found.as_slice() {
            [one] => {
                let container = one.clone().filter(|_| !daemon.is_off);
                Ok(Self { selector, contents, daemon, container })
            }
            [] => bail!("the processes of {selector} have ended, or may not be looked at"),
            all => {
                let inits = all.iter().flatten().map(|one| one.anchor().pid.to_string());
                let inits = inits.collect::<Vec<_>>().join(", ");
                bail!("{selector} holds {} containers; name one of them: {inits}", all.len())
            }
        }
    }

    /// Everything that there is to say of a file, or of one line.
    pub(super) fn answers(&self, asked: &Asked) -> anyhow::Result<Vec<Answer>> {
        let text = |container| self.read(&asked.path, container).map(utf8);
        let (own, host) = (text(true), text(false));
        if let (Err(error), Err(_)) = (&own, &host) {
            bail!("{} cannot be read here: {error}", asked.path);
        }
        let texts = [own.ok(), host.ok()];
        let mut names: Vec<String> = Vec::new();
        for name in texts.iter().flatten().flat_map(|text| lines::names(asked.file, text)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let answers: Vec<Answer> = match &asked.field {
            Some(field) => vec![self.answer(asked, field, &texts)?],
            None => names
                .iter()
                .map(|name| self.answer(asked, name, &texts))
                .collect::<anyhow::Result<_>>()?,
        };
        match (&asked.field, answers.as_slice()) {
            (Some(field), [Answer { container: None, host: None, .. }])
                if !names.contains(field) =>
            {
                bail!("{} has no line `{field}`, but {}", asked.path, names.join(", "))
            }
            _ => Ok(answers),
        }
    }

    /// `texts` are what the container reads and what the host does.
    fn answer(
        &self,
        asked: &Asked,
        field: &str,
        texts: &[Option<String>; 2],
    ) -> anyhow::Result<Answer> {
        let values = texts.each_ref().map(|text| lines::value(asked.file, text.as_ref()?, field));
        let [container, host] = values;
        let rules = rules_of(asked.file, field);
        let of_file = |container: &Arc<Container>| {
            let decided = self.contents.policy_of_file(asked.file, container);
            // Of a file that is served, each line may be virtual, the host's or absent.
            let of_line = rules.first().map(|rule| rule.policy);
            if decided == FilePolicy::Virtual { of_line.unwrap_or(decided) } else { decided }
        };
        let policy = self.container.as_ref().map_or(FilePolicy::Host, of_file);
        let is_virtual = policy == FilePolicy::Virtual;
        let mut answer = Answer {
            file: asked.path.clone(),
            field: (asked.path != format!("{}/{field}", asked.file)).then(|| field.to_owned()),
            container,
            host,
            policy: policy.to_string(),
            unit: rules.first().map(|rule| rule.unit.to_owned()),
            if_missing: rules.first().map(|rule| rule.missing.to_owned()),
            notes: self.notes(Some(asked)),
            ..Answer::default()
        };
        let Some(group) = self.group().filter(|_| is_virtual) else { return Ok(answer) };
        let version = version(group, asked.file);
        let made_from = |rule: &Rule| {
            let cell = plain(if version == Version::V1 { rule.v1 } else { rule.v2 });
            let names = rule.names.join(", ");
            if rules.len() > 1 { format!("{names}: {cell}") } else { cell }
        };
        answer.made_from = rules.iter().map(made_from).collect();
        if let Some(Formula { text, decided_by, ancestry }) = self.formula(asked, field)? {
            answer.formula = Some(text);
            answer.decided_by = decided_by;
            answer.files = ancestry;
        }
        let sources: Vec<Source> = if asked.file == PRESSURE {
            of_pressure(group, &asked.path).into_iter().collect()
        } else {
            rules.iter().flat_map(|rule| of_rule(group, version, rule, field)).collect()
        };
        for source in sources {
            let known = |one: &Source| one.file == source.file && one.key == source.key;
            if !answer.files.iter().any(known) {
                answer.files.push(source);
            }
        }
        Ok(answer)
    }

    fn formula(&self, asked: &Asked, field: &str) -> anyhow::Result<Option<Formula>> {
        let Some(container) = &self.container else { return Ok(None) };
        let group = container.group();
        let user_hz = rustix::param::clock_ticks_per_second();
        let file = if asked.path.ends_with("cpu/online") { "cpuinfo" } else { asked.file };
        Ok(match (file, field) {
            ("meminfo", line) => {
                let host = Totals::parse(&self.read("meminfo", false)?);
                formula::meminfo(group, &host, line)?
            }
            ("swaps", "Size") => {
                let host = Totals::parse(&self.read("meminfo", false)?);
                formula::meminfo(group, &host, "SwapTotal")?
            }
            ("cpuinfo", "processor" | "# processors" | "online" | "present")
            | ("interrupts" | "softirqs", "header") => {
                let online = self.read("sys/devices/system/cpu/online", false)?;
                let online = CpuSet::parse_list(online.trim_ascii())?;
                Some(cpu::cpus(group, &online, &self.policy())?)
            }
            ("stat" | "schedstat", line) if line.starts_with("cpu") => {
                cpu::cpu_time(group, user_hz)?
            }
            ("uptime", "2nd number") => cpu::cpu_time(group, user_hz)?,
            ("uptime", _) => Some(cpu::age(container, user_hz)),
            ("loadavg", _) => Some(cpu::load(group)),
            _ => None,
        })
    }

    /// What the container reads at a path, or the host.
    pub(super) fn read(&self, path: &str, container: bool) -> fuse::Result<Vec<u8>> {
        self.contents.text(path, self.container.as_ref().filter(|_| container))
    }

    /// The container's cgroups; `None`: it is the host.
    pub(super) fn group(&self) -> Option<&Arc<Group>> {
        self.container.as_ref().map(|container| container.group())
    }

    /// How CPUs are counted.
    pub(super) fn cpu_count(&self) -> CpuCount {
        self.policy().cpu_count.into()
    }

    /// What the operator decided, and the container's registration.
    fn policy(&self) -> Policy {
        let of_container = |container: &Arc<Container>| self.contents.policy_of(container);
        self.container.as_ref().map_or_else(|| self.daemon.policy.clone(), of_container)
    }

    /// Whom this is about, for programs.
    pub(super) fn whom(&self) -> Value {
        let container = self.container.as_ref();
        json!({
            "selector": self.selector,
            "pid": container.map(|one| one.anchor().pid),
            "key": container.map(|one| one.key().to_string()),
            "cgroups": container.map(|one| directories(one)),
        })
    }

    /// What else is to be known.
    pub(super) fn notes(&self, asked: Option<&Asked>) -> Vec<String> {
        let mut notes: Vec<String> = self.daemon.note.iter().cloned().collect();
        let Some(container) = &self.container else {
            notes.push(format!("{} is the host itself: it reads the host's values", self.selector));
            return notes;
        };
        let Some(asked) = asked else { return notes };
        if let Some(note) = unmounted(container, &asked.path) {
            notes.push(note);
        }
        notes
    }
}

fn utf8(text: Vec<u8>) -> String {
    String::from_utf8_lossy(&text).into_owned()
}
