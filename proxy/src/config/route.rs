//! `[[route]]`: a way to other servers that was laid by hand, and the limits of one.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;

use gatepost_core::delivery::route::{DomainPattern, HopHost, Limits, RouteHop, RouteTls};
use gatepost_core::directory::DomainName;
use gatepost_smtp::client::Protocol;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::problem::Finding;
use super::values::Hostname;

/// One of the ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// For whom; at least one.
    pub domains: Vec<DomainPattern>,
    /// Those with a weight share the mail, and come first; then the others, in this order. None: mail goes to the domains' mail
    /// exchangers, within the limits.
    pub hops: Vec<RouteHop>,
    /// What they speak.
    pub protocol: Protocol,
    /// What is asked of TLS with them.
    pub tls: RouteTls,
    /// A file with name and password, mode 0600; only where certificates are verified.
    pub credentials: Option<PathBuf>,
    /// How much of us it gets.
    pub limits: Limits,
}

/// `[[route]]`, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenRoute {
    pub(super) domains: Spanned<Vec<Pattern>>,
    pub(super) hops: Option<Spanned<Vec<Hop>>>,
    pub(super) protocol: Option<Spanned<WrittenProtocol>>,
    pub(super) tls: Option<Spanned<WrittenTls>>,
    pub(super) credentials: Option<Spanned<PathBuf>>,
    pub(super) rate: Option<NonZeroU32>,
    pub(super) domain_rate: Option<Spanned<NonZeroU32>>,
    pub(super) connections: Option<Spanned<NonZeroU32>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum WrittenProtocol {
    Smtp,
    Lmtp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum WrittenTls {
    Never,
    Opportunistic,
    Encrypted,
    Verified,
    Implicit,
}

/// `*`, `*.example.org` or `example.org`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Pattern(pub(super) DomainPattern);

/// A host name or an address, with a port or without; or a table with such a host and its weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hop {
    host: HopHost,
    port: Option<u16>,
    weight: Option<NonZeroU16>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WeightedHop {
    host: String,
    weight: NonZeroU16,
}

/// Why a value was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidRoute {
    /// Not a domain.
    #[error("not a domain (write example.org, *.example.org for those below it, or * for all): {0:?}")]
    Domain(String),
    /// Not a host.
    #[error("not a host (write such as mail.example.org, 192.0.2.25:2525 or [2001:db8::25]:25): {0:?}")]
    Hop(String),
}

// === impl WrittenRoute ===

impl WrittenRoute {
    pub(super) fn check(self, findings: &mut Vec<Finding>) -> Route {
        if self.domains.get_ref().is_empty() {
            findings.push(Finding::at(self.domains.span(), "a route needs a domain").hint("[\"*\"] is all"));
        }
        if let Some(hops) = self.hops.as_ref().filter(|hops| hops.get_ref().is_empty()) {
            findings.push(Finding::at(hops.span(), "a route needs a hop"));
        }
        if self.hops.is_none() {
            self.check_without_hops(findings);
        }
        let limits = Limits {
            rate: self.rate,
            domain_rate: self.domain_rate.map(Spanned::into_inner),
            connections: checked_connections(self.connections, findings),
        };
        let protocol = match self.protocol.map(Spanned::into_inner) {
            None | Some(WrittenProtocol::Smtp) => Protocol::Smtp,
            Some(WrittenProtocol::Lmtp) => Protocol::Lmtp,
        };
        let tls = match self.tls.map(Spanned::into_inner) {
            // A password goes to whom it is meant for.
            None if self.credentials.is_some() => RouteTls::Verified,
            None | Some(WrittenTls::Opportunistic) => RouteTls::Opportunistic,
            Some(WrittenTls::Never) => RouteTls::Never,
            Some(WrittenTls::Encrypted) => RouteTls::Encrypted,
            Some(WrittenTls::Verified) => RouteTls::Verified,
            Some(WrittenTls::Implicit) => RouteTls::Implicit,
        };
        if let (Some(credentials), RouteTls::Never | RouteTls::Opportunistic | RouteTls::Encrypted) =
            (&self.credentials, tls)
        {
            findings.push(
                Finding::at(
                    credentials.span(),
                    "a password goes only to a server whose certificate is verified",
                )
                .hint("tls = \"verified\" (the default here), or tls = \"implicit\""),
            );
        }
        let default_port = match (protocol, tls) {
            (Protocol::Lmtp, _) => LMTP_PORT,
            (Protocol::Smtp, RouteTls::Implicit) => SUBMISSIONS_PORT,
            (Protocol::Smtp, _) => SMTP_PORT,
        };
        let hops = self.hops.map(Spanned::into_inner).unwrap_or_default().into_iter();
        Route {
            domains: self.domains.into_inner().into_iter().map(|pattern| pattern.0).collect(),
            hops: hops
                .map(|Hop { host, port, weight }| RouteHop {
                    host,
                    port: port.unwrap_or(default_port),
                    weight,
                })
                .collect(),
            protocol,
            tls,
            credentials: self.credentials.map(Spanned::into_inner),
            limits,
        }
    }

    /// It has limits, and nothing that only hops could have.
    fn check_without_hops(&self, findings: &mut Vec<Finding>) {
        let of_hops = [
            self.protocol.as_ref().map(Spanned::span),
            self.tls.as_ref().map(Spanned::span),
            self.credentials.as_ref().map(Spanned::span),
        ];
        for span in of_hops.into_iter().flatten() {
            findings.push(
                Finding::at(span, "without hops, mail goes to mail exchangers, which this is not for")
                    .hint("hops = [\"mail.example.net\"]"),
            );
        }
        if let Some(domain_rate) = &self.domain_rate {
            findings.push(
                Finding::at(domain_rate.span(), "without hops, each domain is a destination of its own")
                    .hint("rate = ..., which counts each of them by itself"),
            );
        }
        if self.rate.is_none() && self.connections.is_none() {
            findings.push(
                Finding::at(self.domains.span(), "a route needs a hop or a limit")
                    .hint("hops = [\"mail.example.net\"], rate = 60 or connections = 5"),
            );
        }
    }
}

/// As many as make sense: mails that wait for one are held in memory.
pub(super) fn checked_connections(
    connections: Option<Spanned<NonZeroU32>>,
    findings: &mut Vec<Finding>,
) -> Option<NonZeroU32> {
    let connections = connections?;
    if connections.get_ref().get() > CONNECTIONS_MAX {
        findings.push(Finding::at(
            connections.span(),
            "no destination gets more than 100 connections at the same time",
        ));
    }
    Some(connections.into_inner())
}

// === impl Pattern ===

impl TryFrom<String> for Pattern {
    type Error = InvalidRoute;

    fn try_from(text: String) -> Result<Self, InvalidRoute> {
        let domain = |name: &str| name.parse::<DomainName>().map(|name| name.to_string());
        let pattern = match text.strip_prefix("*.") {
            _ if text == "*" => Ok(DomainPattern::Any),
            Some(parent) => domain(parent).map(DomainPattern::Below),
            None => domain(&text).map(DomainPattern::Exactly),
        };
        pattern.map(Self).map_err(|_| InvalidRoute::Domain(text))
    }
}

// === impl Hop ===

/// By hand, since an untagged enum would hide what is wrong with either form.
impl<'de> Deserialize<'de> for Hop {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;

        impl<'de> Visitor<'de> for Forms {
            type Value = Hop;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a host or { host, weight }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Hop, E> {
                Hop::try_from(text.to_owned()).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Hop, A::Error> {
                let WeightedHop { host, weight } = WeightedHop::deserialize(MapAccessDeserializer::new(map))?;
                let hop = Hop::try_from(host).map_err(de::Error::custom)?;
                Ok(Hop { weight: Some(weight), ..hop })
            }
        }

        deserializer.deserialize_any(Forms)
    }
}

impl TryFrom<String> for Hop {
    type Error = InvalidRoute;

    fn try_from(text: String) -> Result<Self, InvalidRoute> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self { host: HopHost::Address(address), port: None, weight: None });
        }
        if let Some(socket) = text.parse::<SocketAddr>().ok().filter(|socket| socket.port() != 0) {
            return Ok(Self { host: HopHost::Address(socket.ip()), port: Some(socket.port()), weight: None });
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, port.parse().ok().filter(|port| *port != 0).map(Some)),
            None => (text.as_str(), Some(None)),
        };
        match (Hostname::try_from(name.to_owned()), port) {
            (Ok(name), Some(port)) => {
                Ok(Self { host: HopHost::Name(name.as_str().to_ascii_lowercase()), port, weight: None })
            }
            _ => Err(InvalidRoute::Hop(text)),
        }
    }
}

/// What no server takes from one address.
const CONNECTIONS_MAX: u32 = 100;
pub(super) const SMTP_PORT: u16 = 25;
/// RFC 8314 section 7.3.
const SUBMISSIONS_PORT: u16 = 465;
/// RFC 2033 forbids 25; 24 (private mail) is what LMTP servers use.
const LMTP_PORT: u16 = 24;

#[cfg(test)]
mod tests;
