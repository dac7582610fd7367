//! From a policy and a pod to a decision.

use api::View;

use super::Policy;
use super::pattern::Pattern;
use super::pod::Pod;
use super::words;

/// The label, and its value, of the pods that this project itself runs.
const OWN: (&str, &str) = ("app.kubernetes.io/name", "resview");
/// What the view's own words can be.
const ON_OR_OFF: &str = "use on or off";

/// What is decided about a pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decision {
    /// Whether its containers get the view.
    pub view: View,
    /// What decided, in words: `annotation resview.dev/view=off`.
    pub because: String,
    /// What its containers see; [`api::Policy::view`] is missing.
    pub policy: api::Policy,
    /// What was not understood, in sentences; it counts as not said.
    pub warnings: Vec<String>,
}

impl Policy {
    /// Decides. The first of these that says anything counts:
    ///
    /// 1. what is never done: the host's process ids (unless the policy allows them), runtime
    ///    handlers of the list, pods of this project, pods for Windows;
    /// 2. the pod's annotation [`api::Policy::VIEW`];
    /// 3. annotations of PouchContainer and of webhooks that mount LXCFS;
    /// 4. the namespace's label;
    /// 5. the namespace's name, `off` before `on`;
    /// 6. the policy's default.
    #[must_use]
    pub fn decide(&self, pod: &Pod<'_>) -> Decision {
        let (mut policy, errors) = api::Policy::understood(pod.annotations);
        let mut warnings: Vec<_> = errors.iter().map(ToString::to_string).collect();
        let own = policy.view.take();
        let (view, because) = self
            .never(pod)
            .or_else(|| own.map(|view| (view, annotation(api::Policy::VIEW, view))))
            .or_else(|| {
                let (key, view) = words::of_others(pod.annotations, &mut warnings)?;
                Some((view, format!("annotation {key}")))
            })
            .or_else(|| by_label(pod, &mut warnings))
            .or_else(|| self.by_name(pod.namespace))
            .unwrap_or_else(|| (self.default, "the policy's default".to_owned()));
        Decision { view, because, policy, warnings }
    }

    fn never(&self, pod: &Pod<'_>) -> Option<(View, String)> {
        let off = |because: String| Some((View::Off, because));
        let handler = pod.runtime_handler;
        let listed = || first_of(&self.runtime_handlers_off, handler);
        if pod.host_pid && self.host_pid == View::Off {
            off("it has the host's process ids".to_owned())
        } else if let Some(pattern) = (!handler.is_empty()).then(listed).flatten() {
            off(format!("runtime handler {handler} is in runtimeHandlersOff ({pattern})"))
        } else if pod.labels.get(OWN.0).is_some_and(|value| value == OWN.1) {
            off(format!("label {}={}", OWN.0, OWN.1))
        } else if pod.is_windows {
            off("it is for Windows".to_owned())
        } else {
            None
        }
    }

    fn by_name(&self, namespace: &str) -> Option<(View, String)> {
        let of = |list: &[Pattern], view: View, name: &str| {
            let pattern = first_of(list, namespace)?;
            Some((view, format!("namespace {namespace} is in namespaces.{name} ({pattern})")))
        };
        let Self { namespaces, .. } = self;
        of(&namespaces.off, View::Off, "off").or_else(|| of(&namespaces.on, View::On, "on"))
    }
}

fn first_of<'a>(patterns: &'a [Pattern], name: &str) -> Option<&'a Pattern> {
    patterns.iter().find(|pattern| pattern.matches(name))
}

fn annotation(key: &str, view: View) -> String {
    format!("annotation {key}={}", word(view))
}

fn word(view: View) -> &'static str {
    match view {
        View::On => "on",
        View::Off => "off",
    }
}

fn by_label(pod: &Pod<'_>, warnings: &mut Vec<String>) -> Option<(View, String)> {
    let (key, value) = (api::Policy::VIEW, pod.namespace_label?);
    let view = match value {
        "on" => View::On,
        "off" => View::Off,
        _ => {
            warnings.push(format!(
                "label {key}={value:?} of namespace {} is not understood; {ON_OR_OFF}",
                pod.namespace
            ));
            return None;
        }
    };
    Some((view, format!("label {key}={value} of namespace {}", pod.namespace)))
}

#[cfg(test)]
mod tests;
