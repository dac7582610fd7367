//! The API server's address.

use std::fmt::{self, Display};
use std::str::FromStr;

use super::ClientError;

/// An API server's host and port, from `https://HOST[:PORT]`; port 443 unless said otherwise.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Address {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    host: String,
    port: u16,
}

impl Address {
    /// The address of separate parts, as a pod's environment has them.
    ///
    /// # Errors
    /// The port is no number, or the host is empty.
    pub fn of(host: &str, port: &str) -> Result<Self, ClientError> {
        let wrong = || ClientError::Address(format!("{host}:{port}"));
        if host.is_empty() || host.contains(['/', '@', ' ']) {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), port: port.parse().map_err(|_| wrong())? })
    }

    /// The host, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as they stand in a URL.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Address {
    type Err = ClientError;

    fn from_str(url: &str) -> Result<Self, ClientError> {
        let wrong = || ClientError::Address(url.to_owned());
        let rest = url.strip_prefix("https://").ok_or_else(wrong)?.trim_end_matches('/');
        if let Some(bracketed) = rest.strip_prefix('[') {
            let (host, port) = bracketed.split_once(']').ok_or_else(wrong)?;
            return Self::of(host, port.strip_prefix(':').unwrap_or("443"));
        }
        let (host, port) = rest.split_once(':').unwrap_or((rest, "443"));
        Self::of(host, port)
    }
}

impl Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "https://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_put_together() {
        for (url, host, authority) in [
            ("https://10.96.0.1:443", "10.96.0.1", "10.96.0.1:443"),
            ("https://[fd00::1]:6443/", "fd00::1", "[fd00::1]:6443"),
            ("https://[fd00::1]", "fd00::1", "[fd00::1]:443"),
            (
                "https://kubernetes.default.svc",
                "kubernetes.default.svc",
                "kubernetes.default.svc:443",
            ),
        ] {
            let address: Address = url.parse().unwrap();
            assert_eq!((address.host(), address.authority().as_str()), (host, authority));
        }
        assert_eq!(Address::of("fd00::1", "443").unwrap().to_string(), "https://[fd00::1]:443");
    }

    #[test]
    fn what_is_no_address_is_refused_by_name() {
        for url in
            ["http://10.0.0.1", "https://", "https://a:b:c", "https://a/path", "https://[fd00::1"]
        {
            let message = url.parse::<Address>().unwrap_err().to_string();
            assert!(message.contains("no address of an API server"), "{message}");
        }
    }
}
