//! What a review comes to.

/// An answer, and what it was.
#[derive(Debug)]
pub struct Answer {
    /// The AdmissionReview to send.
    pub body: Vec<u8>,
    /// What became of the question.
    pub verdict: Verdict,
}

/// What became of a question.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The pod gets something.
    Patched,
    /// There is nothing to do, for this reason.
    Skipped(Reason),
    /// The question was not understood, for this reason.
    Misunderstood(Misunderstanding),
}

/// Why a pod is left as it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// By the policy, an annotation or a label.
    Policy,
    /// Windows has no such files.
    Windows,
    /// `hostUsers: false`, and the mounts cannot be id-mapped.
    UserNamespace,
    /// The pod has everything, or mounts other things at all these paths.
    NothingToAdd,
    /// With what would be added, it would be too large.
    TooLarge,
    /// It is no question about a new pod or new ephemeral containers.
    OtherOperation,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Policy,
        Self::Windows,
        Self::UserNamespace,
        Self::NothingToAdd,
        Self::TooLarge,
        Self::OtherOperation,
    ];

    /// As a label of a metric.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Windows => "windows",
            Self::UserNamespace => "user_namespace",
            Self::NothingToAdd => "nothing_to_add",
            Self::TooLarge => "too_large",
            Self::OtherOperation => "other_operation",
        }
    }
}

/// Why a question was not understood.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Misunderstanding {
    /// It is longer than what is read.
    TooLong,
    /// It is no JSON, or none of the form of an AdmissionReview of a pod.
    Malformed,
    /// It is an AdmissionReview of a version that is not known, or none at all.
    OtherVersion,
    /// It is about something that is no pod.
    NoPod,
}

impl Misunderstanding {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::TooLong, Self::Malformed, Self::OtherVersion, Self::NoPod];

    /// As a label of a metric.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::OtherVersion => "other_version",
            Self::NoPod => "no_pod",
        }
    }
}
