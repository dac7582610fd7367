//! What the plugin asks of the agent.

use std::path::Path;
use std::time::Duration;

use api::{Answer, Attach, Client, ClientError, Created, Detach, FailureKind, Nothing, Outcome};
use api::{Request, Selector, Stopped};

/// How long the agent may take. The runtime is answered long before that, whatever the agent does.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long it may take to say how it is.
const SHORT_PATIENCE: Duration = Duration::from_secs(5);

/// What became of a container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Attached {
    /// It has the view.
    Yes,
    /// It was left alone for good.
    No,
    /// It has ended.
    Gone,
    /// There is no agent, or it has no time.
    NoAgent(String),
    /// It did not work.
    Failed(String),
}

/// Has a container attached.
pub(super) fn attach(agent: &Path, created: Created) -> Attached {
    let container = Selector::Created(created);
    let request = Request::Attach(Attach { container, files: None, policy: None });
    judge(Client::ask(agent, &request, PATIENCE))
}

fn judge(answers: Result<Vec<Answer>, ClientError>) -> Attached {
    let answers = match answers {
        Ok(answers) => answers,
        Err(error) => return Attached::NoAgent(error.to_string()),
    };
    for answer in answers {
        match answer {
            Answer::Failure(failure) => {
                return match failure.kind {
                    FailureKind::NotFound => Attached::Gone,
                    FailureKind::Busy => Attached::NoAgent(failure.error),
                    _ => Attached::Failed(failure.error),
                };
            }
            Answer::Container(one) => {
                return match one.outcome {
                    Outcome::Attached | Outcome::Already => Attached::Yes,
                    Outcome::Failed => Attached::Failed(one.reason.unwrap_or_default()),
                    Outcome::Skipped | Outcome::Detached | Outcome::Listed => Attached::No,
                };
            }
            _ => {}
        }
    }
    Attached::Failed("the agent said nothing about it".to_owned())
}

/// Takes the view from a container that runs; why it did not work.
pub(super) fn detach(agent: &Path, created: Created) -> Result<(), String> {
    let request = Request::Detach(Detach { container: Selector::Created(created) });
    match judge(Client::ask(agent, &request, PATIENCE)) {
        Attached::Failed(why) | Attached::NoAgent(why) => Err(why),
        Attached::Yes | Attached::No | Attached::Gone => Ok(()),
    }
}

/// A container is gone; why the agent does not know.
pub(super) fn forget(agent: &Path, id: &str) -> Result<(), String> {
    let container = Selector::Stopped(Stopped { id: id.to_owned(), bundle: None });
    let request = Request::Detach(Detach { container });
    Client::ask(agent, &request, PATIENCE).map(drop).map_err(|error| error.to_string())
}

/// Whether there is an agent that can attach; why not.
pub(super) fn is_ready(agent: &Path) -> Result<(), String> {
    let answers = Client::ask(agent, &Request::Status(Nothing {}), SHORT_PATIENCE)
        .map_err(|error| error.to_string())?;
    let problems = answers.into_iter().find_map(|answer| match answer {
        Answer::Status { status } => Some(status.problems),
        _ => None,
    });
    match problems {
        Some(problems) if problems.is_empty() => Ok(()),
        Some(problems) => Err(problems.join("; ")),
        None => Err("the agent does not say how it is".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use api::{Container, ContainerAnswer, Done, Failure};

    use super::*;

    fn about(outcome: Outcome) -> Attached {
        let answer = ContainerAnswer {
            container: Container::default(),
            outcome,
            reason: Some("why".to_owned()),
            files: Vec::new(),
            policy: None,
        };
        judge(Ok(vec![Answer::Container(answer), Answer::Done(Done::new(1, 0))]))
    }

    #[test]
    fn answers_of_the_agent_are_told_apart_by_what_is_to_be_done_about_them() {
        assert_eq!(about(Outcome::Attached), Attached::Yes);
        assert_eq!(about(Outcome::Already), Attached::Yes);
        assert_eq!(about(Outcome::Skipped), Attached::No);
        assert_eq!(about(Outcome::Failed), Attached::Failed("why".to_owned()));
        let failure = |kind| judge(Ok(vec![Answer::Failure(Failure::new(kind, "so"))]));
        assert_eq!(failure(FailureKind::NotFound), Attached::Gone);
        assert_eq!(failure(FailureKind::Busy), Attached::NoAgent("so".to_owned()));
        assert_eq!(failure(FailureKind::Other), Attached::Failed("so".to_owned()));
        assert!(matches!(judge(Ok(Vec::new())), Attached::Failed(_)));
        let path = PathBuf::from("/none");
        let nobody = judge(Err(ClientError::Incomplete { path }));
        assert!(matches!(nobody, Attached::NoAgent(_)));
    }
}
