//! `[pass_through]` and `[[upstream]]`: the servers that listeners with `backend = "pass-through"` are a live front of.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::PathBuf;

use gatepost_core::delivery::route::DomainPattern;
use gatepost_smtp::wire::limits;
use serde::Deserialize;
use toml::Spanned;

use super::delivery::Pattern;
use super::file;
use super::listener_scan::{ListenerScan, SessionInfected};
use super::problem::Finding;
use super::values::{Hostname, ListenerName, Octets, TimeSpan};
use crate::backend::pass_through::ClientIdentity;

/// What all listeners that pass sessions through share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassThrough {
    /// Whose mail strangers may hand in; at least one.
    pub domains: Vec<DomainPattern>,
    /// For a connection.
    pub connect_time: TimeSpan,
    /// For each reply but that to a whole body.
    pub command_time: TimeSpan,
    /// For the reply to a whole body.
    pub data_time: TimeSpan,
    /// How long a connection is kept for the next mail.
    pub idle_time: TimeSpan,
    /// How often a server is asked whether it is there, and what it offers.
    pub probe_interval: TimeSpan,
    /// The largest blob behind XEXCH50.
    pub blob: Octets,
    /// The servers: at least one, and no two of a name.
    pub upstreams: Vec<Upstream>,
}

/// One server behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its name in logs and metrics.
    pub name: ListenerName,
    /// Where it listens.
    pub address: SocketAddr,
    /// What is asked of TLS with it.
    pub tls: UpstreamTls,
    /// Its share of the mail against the others'; 0: only where no other works.
    pub weight: u16,
    /// Connections at a time.
    pub connections: NonZeroU32,
    /// The files with a certificate of ours and its key, by which we prove who we are where it asks for that.
    pub pair: Option<(PathBuf, PathBuf)>,
    /// How it is told whose mail it gets.
    pub identity: ClientIdentity,
    /// The file with our own name and password there.
    pub credentials: Option<PathBuf>,
}

/// TLS with a server behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamTls {
    /// None is begun: for a network that nobody else is in.
    None,
    /// STARTTLS where it is offered, in the clear where it fails.
    Opportunistic,
    /// STARTTLS or no mail, whosever certificate it is.
    Required,
    /// STARTTLS, and a certificate that proves who it is.
    Verified(UpstreamProof),
    /// The same, but TLS comes before the first word (RFC 8314).
    Implicit(UpstreamProof),
}

/// What a certificate must prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamProof {
    /// That an authority vouches for it.
    Authorities {
        /// For this name; `None`: for the address.
        name: Option<Hostname>,
        /// Who vouches; `None`: whom the machine trusts.
        file: Option<PathBuf>,
    },
    /// That its key is one of these: SHA-256 of the public key (SPKI); at least one.
    Pins {
        /// Who is asked for (SNI); `None`: nobody.
        name: Option<Hostname>,
        /// The digests.
        digests: Vec<[u8; 32]>,
    },
}

/// How one listener passes its sessions through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passing {
    /// To which servers; empty: to all.
    pub upstreams: Vec<ListenerName>,
    /// Whether each mail gets a `Received:` line of ours.
    pub trace_header: bool,
    /// Whether header fields are taken out that the client has no right to.
    pub header_firewall: bool,
    /// Who decides on logins.
    pub auth: PassingAuth,
}

/// Who decides whether somebody is let in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PassingAuth {
    /// We, by our own accounts.
    #[default]
    Local,
    /// The server behind: what is said is between the client and it.
    Upstream,
}

/// `[pass_through]`, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenPassThrough {
    domains: Spanned<Vec<Pattern>>,
    connect_timeout: Option<TimeSpan>,
    command_timeout: Option<TimeSpan>,
    data_timeout: Option<TimeSpan>,
    idle_time: Option<TimeSpan>,
    probe_interval: Option<TimeSpan>,
    blob: Option<Spanned<Octets>>,
}

/// `[[upstream]]`, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenUpstream {
    name: Spanned<ListenerName>,
    address: Spanned<SocketAddr>,
    tls: Option<WrittenTls>,
    tls_name: Option<Spanned<Hostname>>,
    authorities: Option<Spanned<PathBuf>>,
    pins: Option<Spanned<Vec<Pin>>>,
    weight: Option<u16>,
    connections: Option<NonZeroU32>,
    certificate: Option<Spanned<PathBuf>>,
    key: Option<Spanned<PathBuf>>,
    identity: Option<Spanned<ClientIdentity>>,
    credentials: Option<Spanned<PathBuf>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WrittenTls {
    None,
    #[default]
    Opportunistic,
    Required,
    Verified,
    Implicit,
}

/// `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Pin([u8; 32]);

/// Why a value was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a pin (write sha256: and the 64 hexadecimal digits of a public key's SHA-256): {0:?}")]
struct InvalidPin(String);

/// The servers, and who hands sessions on to them: both or neither.
pub(super) fn check(
    written: Option<Spanned<WrittenPassThrough>>,
    upstreams: Vec<Spanned<WrittenUpstream>>,
    listener: Option<&Range<usize>>,
    findings: &mut Vec<Finding>,
) -> Option<PassThrough> {
    let span = written.as_ref().map(Spanned::span).or_else(|| upstreams.first().map(Spanned::span));
    match (&written, listener) {
        (Some(_), Some(_)) if !upstreams.is_empty() => {}
        (None, None) if upstreams.is_empty() => return None,
        (_, None) => findings.push(
            Finding::at(span.unwrap_or_default(), "no listener passes its sessions through")
                .hint("backend = \"pass-through\" in a [[listener]]"),
        ),
        (None, Some(span)) => findings.push(
            Finding::at(span.clone(), "nobody has said whose mail may be passed through here").hint(
                "domains = [\"example.org\"] in [pass_through]; [\"*\"] leaves it to the server behind",
            ),
        ),
        (Some(_), Some(span)) => findings.push(
            Finding::at(span.clone(), "there is no server to pass sessions through to")
                .hint("name its address in an [[upstream]]"),
        ),
    }
    let mut names = HashSet::new();
    for upstream in upstreams.iter().map(Spanned::get_ref) {
        if !names.insert(upstream.name.get_ref().clone()) {
            findings.push(Finding::at(upstream.name.span(), "two upstreams have this name"));
        }
        if upstream.address.get_ref().port() == 0 {
            findings.push(Finding::at(upstream.address.span(), "no server listens at port 0"));
        }
    }
    let upstreams = upstreams.into_iter().map(|upstream| upstream.into_inner().check(findings)).collect();
    let written = written?.into_inner();
    if written.domains.get_ref().is_empty() {
        findings.push(
            Finding::at(written.domains.span(), "nobody's mail would be passed through")
                .hint("[\"*\"] leaves it to the server behind"),
        );
    }
    Some(PassThrough {
        domains: written.domains.into_inner().into_iter().map(|pattern| pattern.0).collect(),
        connect_time: written.connect_timeout.unwrap_or(CONNECT_TIME_DEFAULT),
        command_time: written.command_timeout.unwrap_or(COMMAND_TIME_DEFAULT),
        data_time: written.data_timeout.unwrap_or(DATA_TIME_DEFAULT),
        idle_time: written.idle_time.unwrap_or(IDLE_TIME_DEFAULT),
        probe_interval: written.probe_interval.unwrap_or(PROBE_INTERVAL_DEFAULT),
        blob: blob(written.blob.as_ref(), findings),
        upstreams,
    })
}

/// Whether every upstream that a listener names is there.
pub(super) fn check_names(
    named: &[Spanned<ListenerName>],
    upstreams: &[Spanned<WrittenUpstream>],
    findings: &mut Vec<Finding>,
) {
    let is_there = |name: &ListenerName| upstreams.iter().any(|it| it.get_ref().name.get_ref() == name);
    for name in named.iter().filter(|name| !is_there(name.get_ref())) {
        findings.push(Finding::at(name.span(), "there is no [[upstream]] of this name"));
    }
}

/// What an SMTP listener says of it.
pub(super) fn passing(written: &file::Listener, findings: &mut Vec<Finding>) -> Passing {
    let is_on = |key: &Option<Spanned<bool>>| key.as_ref().is_some_and(|on| *on.get_ref());
    let scan = written.scan.as_ref().map(|scan| (scan.span(), scan.get_ref().resolve()));
    let scans = scan.as_ref().is_some_and(|(_, scan)| scan.in_session == Some(true));
    if let Some((
        span,
        ListenerScan { infected: Some(SessionInfected::Quarantine | SessionInfected::Queue), .. },
    )) = scan
    {
        findings.push(
            Finding::at(span, "nothing is kept of what is passed through").hint("infected = \"refuse\""),
        );
    }
    if let (Some(binarymime), true) = (written.binarymime.as_ref().filter(|on| *on.get_ref()), scans) {
        findings.push(
            Finding::at(binarymime.span(), "BINARYMIME cannot be scanned on its way through")
                .hint("remove it, or in_session = true from scan"),
        );
    }
    Passing {
        upstreams: written.upstreams.iter().flat_map(|names| names.get_ref()).map(named).collect(),
        trace_header: is_on(&written.trace_header),
        header_firewall: is_on(&written.header_firewall),
        auth: written.auth.as_ref().map(|auth| *auth.get_ref()).unwrap_or_default(),
    }
}

/// Those that only such a listener has.
pub(super) fn keys_of_passing(written: &file::Listener) -> [Option<(&'static str, Range<usize>)>; 4] {
    [
        written.upstreams.as_ref().map(|value| ("upstreams", value.span())),
        written.trace_header.as_ref().map(|value| ("trace_header", value.span())),
        written.header_firewall.as_ref().map(|value| ("header_firewall", value.span())),
        written.auth.as_ref().map(|value| ("auth", value.span())),
    ]
}

fn named(name: &Spanned<ListenerName>) -> ListenerName {
    name.get_ref().clone()
}

/// Where a listener says that its backend is the pass-through.
pub(super) fn passing_span(listener: &file::Listener) -> Option<Range<usize>> {
    let backend = listener.backend.as_ref()?;
    (*backend.get_ref() == file::Backend::PassThrough).then(|| backend.span())
}

/// Where a server behind lets people in, nobody may have been let in there before them.
pub(super) fn check_auth(
    auth: Option<&Spanned<PassingAuth>>,
    named: Option<&Spanned<Vec<Spanned<ListenerName>>>>,
    upstreams: &[Spanned<WrittenUpstream>],
    findings: &mut Vec<Finding>,
) {
    let Some(auth) = auth.filter(|auth| *auth.get_ref() == PassingAuth::Upstream) else { return };
    let is_used = |upstream: &&Spanned<WrittenUpstream>| {
        let name = upstream.get_ref().name.get_ref();
        named.is_none_or(|named| named.get_ref().iter().any(|it| it.get_ref() == name))
    };
    if let Some(upstream) =
        upstreams.iter().filter(is_used).find(|upstream| upstream.get_ref().credentials.is_some())
    {
        let name = upstream.get_ref().name.get_ref();
        findings.push(
            Finding::at(
                auth.span(),
                format!("we log in to the upstream {name}, where clients are to log in"),
            )
            .hint("remove its credentials, or name other upstreams for this listener"),
        );
    }
}

fn blob(written: Option<&Spanned<Octets>>, findings: &mut Vec<Finding>) -> Octets {
    let Some(written) = written else { return BLOB_DEFAULT };
    if written.get_ref().count() > limits::BLOB_OCTETS_MAX {
        findings.push(Finding::at(written.span(), "no server takes a blob of more than 1 GiB"));
    }
    *written.get_ref()
}

// === impl WrittenUpstream ===

impl WrittenUpstream {
    fn check(self, findings: &mut Vec<Finding>) -> Upstream {
        let written = self.tls.unwrap_or_default();
        let is_verified = matches!(written, WrittenTls::Verified | WrittenTls::Implicit);
        let of_proof = [
            self.tls_name.as_ref().map(Spanned::span),
            self.authorities.as_ref().map(Spanned::span),
            self.pins.as_ref().map(Spanned::span),
        ];
        findings.extend(of_proof.into_iter().flatten().filter(|_| !is_verified).map(|span| {
            Finding::at(span, "no certificate is verified here")
                .hint("tls = \"verified\" or tls = \"implicit\"")
        }));
        if let Some(credentials) = self.credentials.as_ref().filter(|_| !is_verified) {
            findings.push(
                Finding::at(
                    credentials.span(),
                    "a password goes to a server alone whose certificate is verified",
                )
                .hint("tls = \"verified\" or tls = \"implicit\""),
            );
        }
        if let (Some(credentials), Some(ClientIdentity::Xclient)) =
            (&self.credentials, self.identity.as_ref().map(Spanned::get_ref))
        {
            findings.push(
                Finding::at(credentials.span(), "XCLIENT says that a client speaks, a login that we do")
                    .hint("remove credentials, or identity"),
            );
        }
        if let (Some(authorities), Some(_)) = (&self.authorities, &self.pins) {
            findings
                .push(Finding::at(authorities.span(), "a key that is pinned needs nobody to vouch for it"));
        }
        if let Some(pins) = self.pins.as_ref().filter(|pins| pins.get_ref().is_empty()) {
            findings.push(Finding::at(pins.span(), "no key at all would be taken"));
        }
        let pair = pair(self.certificate, self.key, written, findings);
        let name = self.tls_name.map(Spanned::into_inner);
        let proof = match self.pins {
            None => UpstreamProof::Authorities { name, file: self.authorities.map(Spanned::into_inner) },
            Some(pins) => {
                let digests = pins.into_inner().into_iter().map(|pin| pin.0).collect();
                UpstreamProof::Pins { name, digests }
            }
        };
        Upstream {
            name: self.name.into_inner(),
            address: self.address.into_inner(),
            tls: match written {
                WrittenTls::None => UpstreamTls::None,
                WrittenTls::Opportunistic => UpstreamTls::Opportunistic,
                WrittenTls::Required => UpstreamTls::Required,
                WrittenTls::Verified => UpstreamTls::Verified(proof),
                WrittenTls::Implicit => UpstreamTls::Implicit(proof),
            },
            weight: self.weight.unwrap_or(1),
            connections: self.connections.unwrap_or(CONNECTIONS_DEFAULT),
            pair,
            identity: self.identity.map(Spanned::into_inner).unwrap_or_default(),
            credentials: self.credentials.map(Spanned::into_inner),
        }
    }
}

/// Both or neither, and only where TLS is sure: a server that wants them has no use for mail without.
fn pair(
    certificate: Option<Spanned<PathBuf>>,
    key: Option<Spanned<PathBuf>>,
    tls: WrittenTls,
    findings: &mut Vec<Finding>,
) -> Option<(PathBuf, PathBuf)> {
    let span = certificate.as_ref().or(key.as_ref()).map(Spanned::span)?;
    if matches!(tls, WrittenTls::None | WrittenTls::Opportunistic) {
        findings.push(
            Finding::at(span.clone(), "a certificate of ours is shown inside TLS alone")
                .hint("tls = \"required\", tls = \"verified\" or tls = \"implicit\""),
        );
    }
    let is_whole = certificate.is_some() && key.is_some();
    if !is_whole {
        findings.push(Finding::at(span, "a certificate and its key go together").hint("certificate and key"));
    }
    Some((certificate?.into_inner(), key?.into_inner()))
}

// === impl Pin ===

impl TryFrom<String> for Pin {
    type Error = InvalidPin;

    fn try_from(text: String) -> Result<Self, InvalidPin> {
        let digits = text.strip_prefix("sha256:").filter(|digits| digits.len() == 64 && digits.is_ascii());
        let mut pin = [0; 32];
        let read = digits.is_some_and(|digits| {
            pin.iter_mut().zip(digits.as_bytes().chunks(2)).all(|(octet, pair)| {
                let pair = std::str::from_utf8(pair).unwrap_or_default();
                let is_hex = pair.bytes().all(|digit| digit.is_ascii_hexdigit());
                u8::from_str_radix(pair, 16).map(|value| *octet = value).is_ok() && is_hex
            })
        });
        if read { Ok(Self(pin)) } else { Err(InvalidPin(text)) }
    }
}

/// A server of one's own is near, and a client waits.
const CONNECT_TIME_DEFAULT: TimeSpan = TimeSpan::seconds(5);
/// A server that looks a recipient up answers within.
const COMMAND_TIME_DEFAULT: TimeSpan = TimeSpan::seconds(60);
/// Just below the ten minutes that a client waits itself (RFC 5321 section 4.5.3.2.6): whoever gives up first makes a
/// duplicate.
const DATA_TIME_DEFAULT: TimeSpan = TimeSpan::seconds(9 * 60);
/// Below the time that any server gives an idle client.
const IDLE_TIME_DEFAULT: TimeSpan = TimeSpan::seconds(30);
/// A server that is gone is known to be before many have waited for it.
const PROBE_INTERVAL_DEFAULT: TimeSpan = TimeSpan::seconds(10);
/// What servers take of one client: Postfix 50 by default, Exchange 20, neither of a network that they trust.
const CONNECTIONS_DEFAULT: NonZeroU32 = NonZeroU32::new(100).expect("a hundred is not zero");

/// Spam level and properties are some kilobytes.
const BLOB_DEFAULT: Octets = Octets::mebi(1);

#[cfg(test)]
mod tests;
