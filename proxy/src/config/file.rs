//! The configuration file as it is written: every key, with its default. What the keys mean together is checked in
//! `settings`, which turns this into values that cannot be invalid.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::admission::Admission;
use super::background::{Age, WrittenBackground};
use super::classes::{ClientCertificates, PeerNetworks, SwitchableVerb, WrittenRights};
use super::database::{WrittenDatabase, WrittenScan};
use super::delivery::WrittenDelivery;
use super::dkim::DkimKey;
use super::dnsbl::{Dns, Dnsbl};
use super::engines::{WrittenEngine, WrittenPolicy};
use super::infected::{WrittenActions, WrittenInMailbox, WrittenInfected, WrittenRewrite};
use super::listener_scan::WrittenListenerScan;
use super::network::TrustedNetwork;
use super::pass_through::{PassingAuth, WrittenPassThrough, WrittenUpstream};
use super::quarantine::WrittenQuarantine;
use super::quirk::QuirkNetworks;
use super::relay::WrittenRelay;
use super::route::WrittenRoute;
use super::srs::WrittenSrs;
use super::unscannable::Unscannable;
use super::values::{Hostname, ListenerName, Octets, TimeSpan, UserName};
use super::warnings::WrittenWarnings;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) server: Server,
    pub(super) listener: Vec<Spanned<Listener>>,
    pub(super) quirk: Vec<QuirkNetworks>,
    pub(super) tls: Option<Spanned<Tls>>,
    pub(super) auth: Auth,
    pub(super) limits: Limits,
    pub(super) dns: Dns,
    pub(super) dnsbl: Dnsbl,
    pub(super) admission: Admission,
    pub(super) queue: Queue,
    pub(super) delivery: WrittenDelivery,
    pub(super) route: Vec<Spanned<WrittenRoute>>,
    pub(super) relay: Option<Spanned<WrittenRelay>>,
    pub(super) pass_through: Option<Spanned<WrittenPassThrough>>,
    pub(super) upstream: Vec<Spanned<WrittenUpstream>>,
    pub(super) srs: Option<WrittenSrs>,
    pub(super) scan: Scan,
    pub(super) database: Vec<Spanned<WrittenDatabase>>,
    pub(super) dkim: Vec<Spanned<DkimKey>>,
    pub(super) pickup: Option<Pickup>,
    pub(super) badmail: Badmail,
    pub(super) quarantine: WrittenQuarantine,
    pub(super) admin: Option<Spanned<Admin>>,
    pub(super) log: Log,
}

/// `[server]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Server {
    pub(super) hostname: Option<Hostname>,
    pub(super) data: Option<PathBuf>,
    pub(super) user: Option<UserName>,
    pub(super) sandbox: Option<SandboxMode>,
}

/// How much of the sandbox must hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum SandboxMode {
    /// All of it, or the server does not run.
    #[default]
    Enforce,
    /// As much as the system can do; what it cannot do is logged.
    BestEffort,
    /// Nothing.
    Off,
}

/// `[[listener]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listener {
    pub(super) name: Spanned<ListenerName>,
    pub(super) address: Spanned<SocketAddr>,
    pub(super) protocol: Protocol,
    pub(super) tls: Spanned<Tls3>,
    pub(super) require_auth: Option<Spanned<bool>>,
    pub(super) auth_without_tls: Option<Spanned<AuthWithoutTls>>,
    pub(super) binarymime: Option<Spanned<bool>>,
    pub(super) pregreet_wait: Option<Spanned<TimeSpan>>,
    pub(super) dnsbl: Option<Spanned<bool>>,
    pub(super) backend: Option<Spanned<Backend>>,
    pub(super) upstreams: Option<Spanned<Vec<Spanned<ListenerName>>>>,
    pub(super) trace_header: Option<Spanned<bool>>,
    pub(super) delay_mail: Option<Spanned<bool>>,
    pub(super) header_firewall: Option<Spanned<bool>>,
    pub(super) auth: Option<Spanned<PassingAuth>>,
    pub(super) connections: Option<Spanned<u32>>,
    #[serde(default)]
    pub(super) proxy_protocol_from: Vec<TrustedNetwork>,
    pub(super) xclient_from: Option<Spanned<Vec<TrustedNetwork>>>,
    pub(super) rights: Option<Spanned<WrittenRights>>,
    pub(super) peers: Option<Spanned<Vec<PeerNetworks>>>,
    pub(super) client_certificates: Option<Spanned<ClientCertificates>>,
    pub(super) switched_off: Option<Spanned<Vec<SwitchableVerb>>>,
    pub(super) scan: Option<Spanned<WrittenListenerScan>>,
}

/// Which protocol a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Protocol {
    Smtp,
    Pop3,
}

/// How a listener does TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Tls3 {
    Starttls,
    Implicit,
    None,
}

/// What AUTH may do on a connection without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum AuthWithoutTls {
    Never,
    Scram,
}

/// What stands behind a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Backend {
    Embedded,
    Relay,
    PassThrough,
}

/// `[tls]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tls {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// `[auth]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Auth {
    pub(super) scram: Option<bool>,
}

/// `[limits]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) message: Option<Spanned<Octets>>,
    pub(super) message_bypass: Option<Spanned<Octets>>,
    pub(super) recipients: Option<Spanned<u32>>,
    pub(super) transactions: Option<Spanned<u32>>,
    pub(super) commands: Option<Spanned<u32>>,
    pub(super) errors: Option<Spanned<u32>>,
    pub(super) command_timeout: Option<TimeSpan>,
    pub(super) data_idle_timeout: Option<TimeSpan>,
    pub(super) data_total_timeout: Option<TimeSpan>,
    pub(super) session_timeout: Option<TimeSpan>,
    pub(super) session_octets: Option<Spanned<Octets>>,
    pub(super) data_rate: Option<u32>,
    pub(super) memory: Option<Spanned<Octets>>,
    pub(super) body_memory: Option<Spanned<Octets>>,
    pub(super) drain_timeout: Option<TimeSpan>,
}

/// `[queue]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Queue {
    pub(super) free_space: Option<Octets>,
    pub(super) free_files: Option<u32>,
    pub(super) user_messages: Option<Spanned<u32>>,
    pub(super) user_octets: Option<Spanned<Octets>>,
    pub(super) domain_messages: Option<Spanned<u32>>,
    pub(super) domain_octets: Option<Spanned<Octets>>,
}

/// `[scan]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Scan {
    pub(super) rules: Option<Spanned<PathBuf>>,
    pub(super) in_session: Option<bool>,
    pub(super) session_budget: Option<TimeSpan>,
    pub(super) reader_budget: Option<TimeSpan>,
    pub(super) threads: Option<NonZeroUsize>,
    pub(super) unscannable: Unscannable,
    pub(super) background: WrittenBackground,
    pub(super) policy: WrittenPolicy,
    pub(super) engine: Vec<WrittenEngine>,
    pub(super) infected: Option<WrittenInfected>,
    pub(super) infected_in_mailbox: Option<WrittenInMailbox>,
    pub(super) deletion: Option<bool>,
    pub(super) refuse_infected: Option<bool>,
    pub(super) rewrite: WrittenRewrite,
    pub(super) proactive: Option<bool>,
    pub(super) on_access_age_max: Option<Age>,
    pub(super) warnings: WrittenWarnings,
}

/// `[pickup]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pickup {
    pub(super) folder: Spanned<PathBuf>,
}

/// `[badmail]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Badmail {
    pub(super) messages: Option<Spanned<u32>>,
    pub(super) octets: Option<Spanned<Octets>>,
    pub(super) days: Option<Spanned<u32>>,
}

/// `[admin]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Admin {
    pub(super) address: SocketAddr,
    #[serde(default)]
    pub(super) tls: bool,
    pub(super) credential: Option<PathBuf>,
}

/// `[log]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    pub(super) format: Option<LogFormat>,
    pub(super) level: Option<LogLevel>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The least severe event that is logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// What needs a person.
    Error,
    /// What looks wrong.
    Warn,
    /// One event a session and a message.
    #[default]
    Info,
    /// Every step.
    Debug,
}

// === impl Scan ===

impl Scan {
    /// What a database can say otherwise.
    pub(super) fn of_databases(&self) -> WrittenScan {
        let &Self { infected, infected_in_mailbox, deletion, rewrite, .. } = self;
        WrittenScan {
            actions: WrittenActions { infected, infected_in_mailbox, deletion, rewrite },
            warnings: self.warnings.clone(),
            proactive: self.proactive,
            on_access_age_max: self.on_access_age_max,
            background: self.background,
        }
    }
}
