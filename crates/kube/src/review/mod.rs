//! The webhook's mind: from the bytes of an AdmissionReview to those of the answer.
//!
//! Pure, and always an answer: `allowed`, since a view is never worth refusing a pod; with a patch if
//! the pod is to have the view; with a warning if the question was not understood. Nothing is
//! remembered of a question, so a dry run is answered as any other.

mod envelope;
mod files;
mod patch;
mod paths;
mod pod;
mod verdict;

use api::{FileChoice, View};
use serde_json::value::RawValue;

use self::envelope::{Question, Request};
pub use self::files::{Files, FilesError, HostPathType, MOUNTABLE, Mountable, Source, mountable};
pub use self::patch::MARK;
use self::patch::Operations;
use self::pod::Pod;
pub use self::verdict::{Answer, Misunderstanding, Reason, Verdict};
use crate::policy::{self, Policy};

/// etcd takes objects of up to 1.5 MiB. A patch must never be what makes a pod too large.
const LARGEST_PATCHED_BYTES: usize = 1 << 20;

/// What the webhook was told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The files that pods get unless they say otherwise.
    pub files: Files,
    /// Where nodes have them.
    pub source: Source,
    /// Whether the nodes' mounts can be mapped into user namespaces (Linux 6.12 and FUSE_ALLOW_IDMAP):
    /// if not, pods with `hostUsers: false` would not start with them.
    pub id_mapped_mounts: bool,
}

/// What a namespace says of itself, by its label [`api::Policy::VIEW`]. A review does not carry it, but
/// the configuration can have one entry for each value, with a path of its own.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum NamespaceLabel {
    /// No label, or another value.
    #[default]
    Missing,
    /// `on`.
    On,
    /// `off`.
    Off,
}

/// What is said about a question, before it is put into words.
struct Findings {
    verdict: Verdict,
    patch: Operations,
    warnings: Vec<String>,
}

impl Findings {
    fn skipped(reason: Reason, warnings: Vec<String>) -> Self {
        Self { verdict: Verdict::Skipped(reason), patch: Vec::new(), warnings }
    }

    fn misunderstood(why: Misunderstanding, warning: String) -> Self {
        Self {
            verdict: Verdict::Misunderstood(why),
            patch: Vec::new(),
            warnings: vec![format!("{warning}; the pod is left as it is")],
        }
    }
}

/// Answers a review.
#[must_use]
pub fn answer(text: &[u8], label: NamespaceLabel, settings: &Settings, policy: &Policy) -> Answer {
    let (question, result) = Question::read(text);
    let findings = match result {
        Err(error) => {
            let warning = format!("the AdmissionReview is not understood: {error}");
            Findings::misunderstood(Misunderstanding::Malformed, warning)
        }
        Ok(()) => match &question.request {
            Some(request) if question.is_known() => {
                consider(request, text.len(), label, settings, policy)
            }
            _ => {
                let warning = "this is no AdmissionReview of admission.k8s.io/v1 or v1beta1";
                Findings::misunderstood(Misunderstanding::OtherVersion, warning.to_owned())
            }
        },
    };
    finish(&question, &findings)
}

/// Answers a review of which only the beginning was read, since it is too long.
#[must_use]
pub fn answer_to_beginning(text: &[u8]) -> Answer {
    let (question, _) = Question::read(text);
    let warning = "the AdmissionReview is too long".to_owned();
    finish(&question, &Findings::misunderstood(Misunderstanding::TooLong, warning))
}

fn finish(question: &Question<'_>, findings: &Findings) -> Answer {
    Answer { body: question.answer(&findings.patch, &findings.warnings), verdict: findings.verdict }
}

fn consider(
    request: &Request<'_>,
    length_bytes: usize,
    label: NamespaceLabel,
    settings: &Settings,
    policy: &Policy,
) -> Findings {
    let is_new_pod = match (request.operation.as_str(), request.sub_resource.as_str()) {
        _ if !request.is_about_pod() => {
            let warning = "the webhook is asked about something that is no pod; check its rules";
            return Findings::misunderstood(Misunderstanding::NoPod, warning.to_owned());
        }
        ("CREATE", "") => true,
        ("UPDATE", "ephemeralcontainers") => false,
        _ => return Findings::skipped(Reason::OtherOperation, Vec::new()),
    };
    let pods = read_pod(request.object)
        .and_then(|pod| Ok((pod, read_pod(request.old_object.filter(|_| !is_new_pod))?)));
    let (pod, old) = match pods {
        Ok((Some(pod), old)) => (pod, old),
        Ok((None, _)) => {
            let warning = "the AdmissionReview has no object".to_owned();
            return Findings::misunderstood(Misunderstanding::Malformed, warning);
        }
        Err(error) => {
            let warning = format!("the pod is not understood: {error}");
            return Findings::misunderstood(Misunderstanding::Malformed, warning);
        }
    };
    let (files, warnings) = match files_of(request, &pod, label, settings, policy) {
        Ok(wanted) => wanted,
        Err(findings) => return findings,
    };
    let patch = match old {
        _ if is_new_pod => patch::for_new_pod(&pod, &files, &settings.source),
        Some(old) => patch::for_ephemeral_containers(&pod, &old, &files, &settings.source),
        // Which containers are new cannot be known, and patching the others is refused.
        None => Operations::new(),
    };
    conclude(patch, warnings, length_bytes)
}

fn conclude(patch: Operations, mut warnings: Vec<String>, length_bytes: usize) -> Findings {
    if patch.is_empty() {
        return Findings::skipped(Reason::NothingToAdd, warnings);
    }
    let added_bytes: usize = patch.iter().map(|operation| operation.to_string().len()).sum();
    if length_bytes.saturating_add(added_bytes) > LARGEST_PATCHED_BYTES {
        warnings.push("the pod is too large to add the view to it".to_owned());
        return Findings::skipped(Reason::TooLarge, warnings);
    }
    Findings { verdict: Verdict::Patched, patch, warnings }
}

fn read_pod(object: Option<&RawValue>) -> Result<Option<Pod>, serde_json::Error> {
    object.map_or(Ok(None), |text| serde_json::from_str(text.get()))
}

/// The files that the pod is to have, with warnings; or why it gets none.
fn files_of(
    request: &Request<'_>,
    pod: &Pod,
    label: NamespaceLabel,
    settings: &Settings,
    policy: &Policy,
) -> Result<(Files, Vec<String>), Findings> {
    if pod.is_windows() {
        return Err(Findings::skipped(Reason::Windows, Vec::new()));
    }
    let decision = decide(request, pod, label, policy);
    let mut warnings = decision.warnings;
    if decision.view == View::Off {
        return Err(Findings::skipped(Reason::Policy, warnings));
    }
    if pod.is_absurd() {
        warnings.push("the pod has too many containers, volumes or mounts".to_owned());
        return Err(Findings::skipped(Reason::TooLarge, warnings));
    }
    let in_user_namespace = pod.spec.as_ref().and_then(|spec| spec.host_users) == Some(false);
    if in_user_namespace && !settings.id_mapped_mounts {
        return Err(Findings::skipped(Reason::UserNamespace, warnings));
    }
    let files = chosen(&decision.policy, settings, &mut warnings);
    Ok((files, warnings))
}

fn decide(
    request: &Request<'_>,
    pod: &Pod,
    label: NamespaceLabel,
    policy: &Policy,
) -> policy::Decision {
    let mut seen = policy::Pod {
        namespace: &request.namespace,
        namespace_label: match label {
            NamespaceLabel::Missing => None,
            NamespaceLabel::On => Some("on"),
            NamespaceLabel::Off => Some("off"),
        },
        ..Default::default()
    };
    if let Some(metadata) = &pod.metadata {
        seen.labels = metadata.labels.as_ref().unwrap_or(seen.labels);
        seen.annotations = metadata.annotations.as_ref().unwrap_or(seen.annotations);
    }
    if let Some(spec) = &pod.spec {
        seen.host_pid = spec.host_pid == Some(true);
        seen.runtime_handler = spec.runtime_class_name.as_deref().unwrap_or_default();
    }
    policy.decide(&seen)
}

/// The files by the pod's own annotations. What a volume cannot bring about is said.
fn chosen(wishes: &api::Policy, settings: &Settings, warnings: &mut Vec<String>) -> Files {
    for (file, choice) in &wishes.files {
        match choice {
            FileChoice::Virtual if mountable(file).is_none() => warnings.push(format!(
                "annotation {}: {file:?} cannot be mounted by a pod's specification",
                api::Policy::FILES
            )),
            FileChoice::Absent => warnings.push(format!(
                "annotation {}: {file:?} stays the host's, as a volume cannot hide a file",
                api::Policy::FILES
            )),
            _ => {}
        }
    }
    if wishes.cpu_count.is_some() {
        let key = api::Policy::CPU_COUNT;
        warnings.push(format!("annotation {key} has no effect on a view that comes by volumes"));
    }
    settings.files.choose(|file| Some(*wishes.files.get(file.path)? == FileChoice::Virtual))
}

#[cfg(test)]
mod tests;
