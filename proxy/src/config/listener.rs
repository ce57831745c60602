//! `[[listener]]`: an address with what is spoken there, what the keys of one mean together, and what listeners need of each
//! other and of other sections.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::ops::Range;

use gatepost_smtp::server::ClassRights;
use toml::Spanned;

use super::defaults::CONNECTIONS_DEFAULT;
use super::file::{self, AuthWithoutTls, Protocol, Tls3};
use super::network::TrustedNetwork;
use super::pass_through;
use super::problem::Finding;
use super::settings::at_least;
use super::values::{ListenerName, TimeSpan};
use super::{ClientCertificates, ListenerScan, Passing, PeerNetworks, SwitchableVerb};

/// One address that Gatepost listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name in logs and metrics.
    pub name: ListenerName,
    /// Address and port.
    pub address: SocketAddr,
    /// What is spoken there.
    pub service: Service,
    /// Connections at a time.
    pub connections: u32,
    /// Balancers: a PROXY header is required of their connections, and believed.
    pub proxy_protocol_from: Vec<TrustedNetwork>,
    /// Relays that may say on whose behalf they speak (XCLIENT); none on POP3 listeners.
    pub xclient_from: Vec<TrustedNetwork>,
    /// What each class of peers may do; required AUTH comes on top.
    pub rights: ClassRights,
    /// Who is more than a stranger before he authenticates.
    pub peers: Vec<PeerNetworks>,
    /// Who may log in by a certificate; `None`: nobody is asked for one.
    pub client_certificates: Option<ClientCertificates>,
    /// Verbs that do not exist here.
    pub switched_off: Vec<SwitchableVerb>,
    /// How its sessions have mail scanned; without effect on POP3 listeners.
    pub scan: ListenerScan,
}

/// A protocol with the settings that make sense for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Service {
    /// Mail comes in.
    Smtp {
        /// How TLS begins.
        tls: SmtpTls,
        /// Whether MAIL needs AUTH. A listener that does not need it takes mail for local recipients only.
        require_auth: bool,
        /// Whether BINARYMIME is offered.
        binarymime: bool,
        /// How long a stranger must be silent before the greeting; `None` where it comes at once, as always inside TLS.
        pregreet_wait: Option<TimeSpan>,
        /// Whether strangers are looked up in the block and allow lists.
        dnsbl: bool,
        /// Who takes the mail.
        backend: Backend,
    },
    /// Mail is read. Passwords travel inside TLS only, so there is no POP3 without it.
    Pop3 {
        /// How TLS begins.
        tls: Pop3Tls,
    },
}

/// What stands behind an SMTP listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Backend {
    /// The mailboxes here.
    #[default]
    Embedded,
    /// Those too, and the mail server of `Relay`.
    Relay,
    /// The servers of `PassThrough`, and nothing here.
    PassThrough(Passing),
}

/// TLS of an SMTP listener. "AUTH required, but impossible" cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// STARTTLS.
    StartTls,
    /// From the first octet.
    Implicit,
    /// None; AUTH, where there is any, is SCRAM, which does not show the password.
    None {
        /// Whether SCRAM-SHA-256 is offered without TLS.
        scram: bool,
    },
}

/// TLS of a POP3 listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pop3Tls {
    /// STLS (RFC 2595).
    Stls,
    /// From the first octet.
    Implicit,
}

pub(super) fn listeners(listeners: &[Spanned<file::Listener>], findings: &mut Vec<Finding>) -> Vec<Listener> {
    if listeners.is_empty() {
        findings.push(
            Finding { span: None, message: "no listener: nothing would be served".to_owned(), hint: None }
                .hint("add a [[listener]] with name, address, protocol and tls"),
        );
    }
    let mut names = HashSet::new();
    let mut addresses = HashSet::new();
    for listener in listeners.iter().map(Spanned::get_ref) {
        if !names.insert(listener.name.get_ref()) {
            findings.push(Finding::at(listener.name.span(), "two listeners have this name"));
        }
        // Port 0 is whichever is free, so it never collides.
        let address = listener.address.get_ref();
        if address.port() != 0 && !addresses.insert(address) {
            findings.push(Finding::at(listener.address.span(), "two listeners have this address"));
        }
    }
    listeners.iter().filter_map(|listener| self::listener(listener.get_ref(), findings)).collect()
}

/// A backend that is the relay needs its section, and the section is for such a backend.
pub(super) fn check_backends(
    listeners: &[Spanned<file::Listener>],
    relay: Option<Range<usize>>,
    findings: &mut Vec<Finding>,
) {
    let backends = listeners.iter().filter_map(|listener| listener.get_ref().backend.as_ref());
    let relays: Vec<_> = backends.filter(|backend| *backend.get_ref() == file::Backend::Relay).collect();
    match (relay, relays.first()) {
        (None, Some(backend)) => findings.push(
            Finding::at(backend.span(), "there is no mail server behind this listener")
                .hint("name its domains and hops in [relay]"),
        ),
        (Some(relay), None) => findings.push(
            Finding::at(relay, "no listener takes mail for these domains")
                .hint("backend = \"relay\" in a [[listener]]"),
        ),
        (None, None) | (Some(_), Some(_)) => {}
    }
}

/// Where SCRAM is all that a listener may offer, it must not be switched off elsewhere.
pub(super) fn check_scram(listeners: &[Spanned<file::Listener>], scram: bool, findings: &mut Vec<Finding>) {
    for auth in listeners.iter().filter_map(|listener| listener.get_ref().auth_without_tls.as_ref()) {
        if !scram && *auth.get_ref() == AuthWithoutTls::Scram {
            findings.push(
                Finding::at(auth.span(), "SCRAM is switched off by scram = false")
                    .hint("remove scram = false from [auth], or require TLS here"),
            );
        }
    }
}

fn listener(written: &file::Listener, findings: &mut Vec<Finding>) -> Option<Listener> {
    let service = match written.protocol {
        Protocol::Smtp => smtp(written, findings),
        Protocol::Pop3 => pop3(written, findings),
    };
    let connections = at_least(written.connections.as_ref(), 1, "connections", findings);
    Some(Listener {
        name: written.name.get_ref().clone(),
        address: *written.address.get_ref(),
        service: service?,
        connections: connections.unwrap_or(CONNECTIONS_DEFAULT),
        proxy_protocol_from: written.proxy_protocol_from.clone(),
        xclient_from: written.xclient_from.as_ref().map(|it| it.get_ref().clone()).unwrap_or_default(),
        rights: written.rights.as_ref().map(|rights| rights.get_ref().resolve()).unwrap_or_default(),
        peers: written.peers.as_ref().map(|peers| peers.get_ref().clone()).unwrap_or_default(),
        client_certificates: written.client_certificates.as_ref().map(|clients| clients.get_ref().clone()),
        switched_off: written.switched_off.as_ref().map(|verbs| verbs.get_ref().clone()).unwrap_or_default(),
        scan: written.scan.as_ref().map(|scan| scan.get_ref().resolve()).unwrap_or_default(),
    })
}

fn smtp(written: &file::Listener, findings: &mut Vec<Finding>) -> Option<Service> {
    let backend = match written.backend.as_ref().map(Spanned::get_ref) {
        None | Some(file::Backend::Embedded) => Backend::Embedded,
        Some(file::Backend::Relay) => Backend::Relay,
        Some(file::Backend::PassThrough) => Backend::PassThrough(pass_through::passing(written, findings)),
    };
    if !matches!(backend, Backend::PassThrough(_)) {
        let of_passing = pass_through::keys_of_passing(written).into_iter().flatten();
        findings.extend(
            of_passing.map(|(_, span)| Finding::at(span, "this goes with backend = \"pass-through\"")),
        );
    }
    let require_auth = written.require_auth.as_ref().is_none_or(|required| *required.get_ref());
    let scram =
        written.auth_without_tls.as_ref().is_some_and(|auth| *auth.get_ref() == AuthWithoutTls::Scram);
    let tls = match written.tls.get_ref() {
        Tls3::Starttls => SmtpTls::StartTls,
        Tls3::Implicit => SmtpTls::Implicit,
        Tls3::None if require_auth && !scram => {
            findings.push(
                Finding::at(
                    written.tls.span(),
                    "AUTH is required here, but without TLS there is none to offer",
                )
                .hint("tls = \"starttls\", or auth_without_tls = \"scram\", or require_auth = false"),
            );
            return None;
        }
        Tls3::None => SmtpTls::None { scram },
    };
    if let (Some(auth), true) = (&written.auth_without_tls, tls != SmtpTls::None { scram: true } && scram) {
        findings.push(
            Finding::at(auth.span(), "this listener has TLS, so AUTH is only offered inside of it")
                .hint("auth_without_tls = \"scram\" goes with tls = \"none\""),
        );
    }
    if let (Some(rights), true) = (&written.rights, require_auth)
        && rights.get_ref().lets_anonymous_submit()
    {
        findings.push(
            Finding::at(rights.span(), "AUTH is required here, so an anonymous peer cannot submit")
                .hint("remove \"submit\" from its rights, or set require_auth = false"),
        );
    }
    if let Some(clients) = &written.client_certificates {
        check_client_certificates(clients, tls, findings);
    }
    let binarymime = written.binarymime.as_ref().is_some_and(|on| *on.get_ref());
    let pregreet_wait = written.pregreet_wait.as_ref().map(|wait| *wait.get_ref());
    if let (Some(wait), SmtpTls::Implicit) = (&written.pregreet_wait, tls) {
        findings.push(Finding::at(wait.span(), "inside TLS nobody can talk before the greeting"));
    }
    // Those who must log in are often at home, and the lists are full of such addresses.
    let dnsbl = written.dnsbl.as_ref().map_or(!require_auth, |on| *on.get_ref());
    Some(Service::Smtp { tls, require_auth, binarymime, pregreet_wait, dnsbl, backend })
}

fn check_client_certificates(
    written: &Spanned<ClientCertificates>,
    tls: SmtpTls,
    findings: &mut Vec<Finding>,
) {
    if let SmtpTls::None { .. } = tls {
        findings.push(
            Finding::at(
                written.span(),
                "certificates are shown inside TLS, which this listener does not have",
            )
            .hint("tls = \"starttls\" or tls = \"implicit\""),
        );
    }
    if let Some(name) = written.get_ref().repeated_name() {
        findings.push(Finding::at(written.span(), format!("{name} is named twice")));
    }
}

fn pop3(written: &file::Listener, findings: &mut Vec<Finding>) -> Option<Service> {
    let smtp_only = [
        written.require_auth.as_ref().map(|value| ("require_auth", value.span())),
        written.auth_without_tls.as_ref().map(|value| ("auth_without_tls", value.span())),
        written.binarymime.as_ref().map(|value| ("binarymime", value.span())),
        written.pregreet_wait.as_ref().map(|value| ("pregreet_wait", value.span())),
        written.dnsbl.as_ref().map(|value| ("dnsbl", value.span())),
        written.xclient_from.as_ref().map(|value| ("xclient_from", value.span())),
        written.backend.as_ref().map(|value| ("backend", value.span())),
        written.rights.as_ref().map(|value| ("rights", value.span())),
        written.peers.as_ref().map(|value| ("peers", value.span())),
        written.client_certificates.as_ref().map(|value| ("client_certificates", value.span())),
        written.switched_off.as_ref().map(|value| ("switched_off", value.span())),
        written.scan.as_ref().map(|value| ("scan", value.span())),
    ];
    for (key, span) in smtp_only.into_iter().chain(pass_through::keys_of_passing(written)).flatten() {
        findings.push(Finding::at(span, format!("`{key}` is a setting of SMTP listeners")));
    }
    let tls = match written.tls.get_ref() {
        Tls3::Starttls => Pop3Tls::Stls,
        Tls3::Implicit => Pop3Tls::Implicit,
        Tls3::None => {
            findings.push(
                Finding::at(written.tls.span(), "POP3 takes passwords inside TLS only")
                    .hint("tls = \"implicit\" or tls = \"starttls\""),
            );
            return None;
        }
    };
    Some(Service::Pop3 { tls })
}
