//! `[pass_through]` and `[[upstream]]`: the servers that listeners with `backend = "pass-through"` are a live front of.

mod upstream;

use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use gatepost_core::delivery::route::DomainPattern;
use gatepost_smtp::wire::limits;
use serde::Deserialize;
use toml::Spanned;

use super::file;
use super::listener_scan::{ListenerScan, SessionInfected};
use super::problem::Finding;
use super::route::Pattern;
use super::values::{InvalidValue, ListenerName, Octets, TimeSpan};

pub(super) use self::upstream::WrittenUpstream;
pub use self::upstream::{Upstream, UpstreamProof, UpstreamTls};

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
    /// How long a connection is kept for the next mail; zero: not at all.
    pub idle_time: IdleTime,
    /// How often a server is asked whether it is there, and what it offers.
    pub probe_interval: TimeSpan,
    /// The largest blob behind XEXCH50.
    pub blob: Octets,
    /// The servers: at least one, and no two of a name.
    pub upstreams: Vec<Upstream>,
}

/// How one listener passes its sessions through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passing {
    /// To which servers; empty: to all.
    pub upstreams: Vec<ListenerName>,
    /// Whether each mail gets a `Received:` line of ours.
    pub trace_header: bool,
    /// Whether MAIL waits for the first RCPT, and goes to the server behind with it.
    pub delays_mail: bool,
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
    idle_time: Option<IdleTime>,
    probe_interval: Option<TimeSpan>,
    blob: Option<Spanned<Octets>>,
}

/// A length of time, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct IdleTime(Duration);

// === impl IdleTime ===

impl IdleTime {
    /// As the standard library's type.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl TryFrom<String> for IdleTime {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        let is_zero = text.parse::<jiff::SignedDuration>().is_ok_and(|time| time.is_zero());
        if is_zero {
            Ok(Self(Duration::ZERO))
        } else {
            TimeSpan::try_from(text).map(|time| Self(time.duration()))
        }
    }
}

/// The servers, and what listeners want of them.
pub(super) fn check(
    listeners: &[Spanned<file::Listener>],
    written: Option<Spanned<WrittenPassThrough>>,
    upstreams: Vec<Spanned<WrittenUpstream>>,
    findings: &mut Vec<Finding>,
) -> Option<PassThrough> {
    let listeners = || listeners.iter().map(Spanned::get_ref);
    for named in listeners().filter_map(|listener| listener.upstreams.as_ref()) {
        check_names(named.get_ref(), &upstreams, findings);
    }
    for listener in listeners() {
        check_auth(listener.auth.as_ref(), listener.upstreams.as_ref(), &upstreams, findings);
    }
    let passing = listeners().find_map(passing_span);
    check_servers(written, upstreams, passing.as_ref(), findings)
}

/// The servers, and who hands sessions on to them: both or neither.
fn check_servers(
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
fn check_names(
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
        delays_mail: is_on(&written.delay_mail),
        header_firewall: is_on(&written.header_firewall),
        auth: written.auth.as_ref().map(|auth| *auth.get_ref()).unwrap_or_default(),
    }
}

/// Those that only such a listener has.
pub(super) fn keys_of_passing(written: &file::Listener) -> [Option<(&'static str, Range<usize>)>; 5] {
    [
        written.upstreams.as_ref().map(|value| ("upstreams", value.span())),
        written.trace_header.as_ref().map(|value| ("trace_header", value.span())),
        written.delay_mail.as_ref().map(|value| ("delay_mail", value.span())),
        written.header_firewall.as_ref().map(|value| ("header_firewall", value.span())),
        written.auth.as_ref().map(|value| ("auth", value.span())),
    ]
}

fn named(name: &Spanned<ListenerName>) -> ListenerName {
    name.get_ref().clone()
}

/// Where a listener says that its backend is the pass-through.
fn passing_span(listener: &file::Listener) -> Option<Range<usize>> {
    let backend = listener.backend.as_ref()?;
    (*backend.get_ref() == file::Backend::PassThrough).then(|| backend.span())
}

/// Where a server behind lets people in, nobody may have been let in there before them.
fn check_auth(
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

/// A server of one's own is near, and a client waits.
const CONNECT_TIME_DEFAULT: TimeSpan = TimeSpan::seconds(5);
/// A server that looks a recipient up answers within.
const COMMAND_TIME_DEFAULT: TimeSpan = TimeSpan::seconds(60);
/// Just below the ten minutes that a client waits itself (RFC 5321 section 4.5.3.2.6): whoever gives up first makes a
/// duplicate.
const DATA_TIME_DEFAULT: TimeSpan = TimeSpan::seconds(9 * 60);
/// Below the time that any server gives an idle client.
const IDLE_TIME_DEFAULT: IdleTime = IdleTime(Duration::from_secs(30));
/// A server that is gone is known to be before many have waited for it.
const PROBE_INTERVAL_DEFAULT: TimeSpan = TimeSpan::seconds(10);
/// Spam level and properties are some kilobytes.
const BLOB_DEFAULT: Octets = Octets::mebi(1);

#[cfg(test)]
mod tests;
