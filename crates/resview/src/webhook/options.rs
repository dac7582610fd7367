//! What `resview webhook` can be told.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use kube::client::Address;
use kube::review::{Files, HostPathType};

use crate::cli::DEFAULT_MOUNTPOINT;

/// Answer Kubernetes' admission reviews: new pods get the view by volumes
///
/// For clusters whose nodes have no NRI; with NRI, `resview daemon --nri` needs no webhook and does
/// more. Adds read-only volumes for files of the view to pods, and changes nothing else. It never refuses a
/// pod. Reviews are posted to /mutate; to /mutate/on and /mutate/off for namespaces whose label
/// resview.dev/view says so.
///
/// The certificate is its own (--tls-secret), made and renewed in a Secret that all replicas share, or a
/// given one (--tls-cert), read again when it changes.
#[derive(Args, Debug)]
pub(crate) struct WebhookOptions {
    /// Where to listen for reviews, over HTTPS
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "[::]:8443")]
    pub(crate) listen: SocketAddr,

    /// Where to serve /healthz, /readyz and /metrics, over plain HTTP [default: nowhere]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) health_listen: Option<SocketAddr>,

    /// A certificate, followed by those that lead to its CA: a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_key", required_unless_present = "tls_secret")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Its key: a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,

    /// The Secret in which to keep a certificate of its own; it must exist, and may be empty
    #[arg(
        long,
        value_name = "NAMESPACE/NAME",
        requires_all = ["service", "configuration"],
        conflicts_with = "tls_cert"
    )]
    pub(crate) tls_secret: Option<NamespacedName>,

    /// The Service, in the Secret's namespace, by which the API server calls
    #[arg(long, value_name = "NAME", requires = "tls_secret")]
    pub(crate) service: Option<String>,

    /// The MutatingWebhookConfiguration that is told whom to trust
    #[arg(long, value_name = "NAME", requires = "tls_secret")]
    pub(crate) configuration: Option<String>,

    /// How long a certificate of its own holds; it is renewed when two thirds of that are over
    #[arg(long, value_name = "TIME", default_value = "90days", requires = "tls_secret")]
    pub(crate) certificate_life: Life,

    /// Which pods get the view: a policy.json, read again when it changes [default: all but those of
    /// kube-system]
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,

    /// Which files pods get, separated by commas [default: cpuinfo, diskstats, loadavg, meminfo, stat,
    /// swaps and uptime of /proc, and sys/devices/system/cpu]
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true, value_parser = parse_files)]
    pub(crate) files: Files,

    /// Where nodes have the view: the daemon's mountpoint, or its slots
    #[arg(long, value_name = "DIR", default_value = DEFAULT_MOUNTPOINT, value_parser = parse_mountpoint)]
    pub(crate) mountpoint: String,

    /// What happens on a node where the view is missing
    #[arg(long, value_name = "WHAT", default_value = "checked")]
    pub(crate) host_path_type: Check,

    /// Pods with hostUsers: false get the view too: for nodes with Linux 6.12 or later, where its mounts
    /// can be id-mapped
    #[arg(long)]
    pub(crate) id_mapped_mounts: bool,

    /// How long to go on serving after SIGTERM, until nobody is sent here any more
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    pub(crate) drain: Duration,

    /// The API server, if this does not run in a pod: https://10.96.0.1:443
    #[arg(long, value_name = "URL", requires_all = ["api_ca", "api_token"])]
    pub(crate) api_server: Option<Address>,

    /// The certificates that the API server's may be signed by: a PEM file
    #[arg(long, value_name = "FILE", requires = "api_server")]
    pub(crate) api_ca: Option<PathBuf>,

    /// A bearer token for the API server: a file
    #[arg(long, value_name = "FILE", requires = "api_server")]
    pub(crate) api_token: Option<PathBuf>,

    /// What to log to standard error: error, warn, info, debug, trace [env: RESVIEW_LOG] [default:
    /// info]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log: Option<String>,
}

/// What happens on a node where the view is missing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Check {
    /// The pod waits in ContainerCreating until it is there (hostPath type File or Directory)
    Checked,
    /// Nobody looks: directories are made where files should be (hostPath without a type)
    Unchecked,
}

impl From<Check> for HostPathType {
    fn from(check: Check) -> Self {
        match check {
            Check::Checked => Self::Checked,
            Check::Unchecked => Self::Unchecked,
        }
    }
}

/// An object of a namespace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct NamespacedName {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl FromStr for NamespacedName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_name = |part: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
            !part.is_empty() && part.bytes().all(allowed)
        };
        match text.split_once('/') {
            Some((namespace, name)) if is_name(namespace) && is_name(name) => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err("use NAMESPACE/NAME".to_owned()),
        }
    }
}

/// How long a certificate holds: long enough that renewing it is not all that happens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Life(Duration);

impl Life {
    const SHORTEST: Duration = Duration::from_secs(30);
    /// Ten years: what lives longer is not renewed.
    const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
}

impl std::ops::Deref for Life {
    type Target = Duration;

    fn deref(&self) -> &Duration {
        &self.0
    }
}

impl FromStr for Life {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let life = humantime::parse_duration(text).map_err(|error| error.to_string())?;
        if (Self::SHORTEST..=Self::LONGEST).contains(&life) {
            Ok(Self(life))
        } else {
            Err("from 30s to 10years".to_owned())
        }
    }
}

fn parse_files(text: &str) -> Result<Files, String> {
    if text.is_empty() {
        return Ok(Files::default());
    }
    text.parse().map_err(|error: kube::review::FilesError| error.to_string())
}

/// The kubelet refuses a path with `..`, and the pod would wait for ever.
fn parse_mountpoint(text: &str) -> Result<String, String> {
    if !text.starts_with('/') || text.split('/').any(|part| part == "..") {
        return Err("an absolute path without .., please".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: WebhookOptions,
    }

    fn parse(words: &str) -> Result<WebhookOptions, String> {
        let words = std::iter::once("webhook").chain(words.split_whitespace());
        Line::try_parse_from(words).map(|line| line.options).map_err(|error| error.to_string())
    }

    const OWN: &str = "--tls-secret resview/resview-webhook-tls --service s --configuration c";

    #[test]
    fn one_kind_of_certificate_is_needed_with_all_that_belongs_to_it() {
        for words in [
            "",
            "--tls-cert a",
            "--tls-key a",
            "--tls-secret a/b",
            "--tls-secret a/b --service s",
            "--tls-cert a --tls-key b --service s",
            &format!("{OWN} --tls-cert a --tls-key b"),
            &format!("{OWN} --api-server https://a"),
        ] {
            assert!(parse(words).is_err(), "{words}");
        }
        assert!(parse("--tls-cert a --tls-key b").is_ok());
        let options = parse(OWN).unwrap();
        assert_eq!(options.tls_secret.unwrap().namespace, "resview");
        assert_eq!(options.files, Files::default());
        assert_eq!(*options.certificate_life, Duration::from_secs(90 * 24 * 3600));
    }

    #[test]
    fn values_that_mean_nothing_are_refused() {
        for (words, told) in [
            ("--files proc/pressure", "runc"),
            ("--mountpoint var/lib", "absolute"),
            ("--mountpoint /a/../b", "absolute"),
            ("--certificate-life 1s", "30s"),
            ("--tls-secret b", "NAMESPACE/NAME"),
            ("--host-path-type maybe", "checked"),
            ("--api-server http://a", "no address"),
        ] {
            let message = parse(&format!("{words} --tls-cert a --tls-key b")).unwrap_err();
            assert!(message.contains(told), "{message}");
        }
        let options = parse(&format!("{OWN} --mountpoint /run/resview/slots/")).unwrap();
        assert_eq!(options.mountpoint, "/run/resview/slots");
    }
}
