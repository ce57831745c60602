//! The configuration: read strictly, explained helpfully, and valid once it exists.
//!
//! ```text
//! text -> file (serde, unknown keys refused) -> settings (what keys mean together) -> Config
//!              \______________ problem: file, line, column, hint ______________/
//! ```
//! Without a file the embedded default holds, which is what `EXAMPLE` says line by line.

mod admission;
mod background;
mod classes;
mod command;
mod database;
mod defaults;
mod delivery;
mod dkim;
mod dnsbl;
mod engines;
mod file;
mod infected;
mod listener;
pub mod listener_scan;
pub mod network;
mod pass_through;
mod problem;
mod quarantine;
mod quirk;
mod relay;
mod reload;
mod route;
mod schedule;
mod settings;
mod srs;
mod timeouts;
mod tls_reports;
mod unscannable;
pub mod values;
mod warnings;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use gatepost_core::background::Settings as BackgroundSettings;
use gatepost_core::delivery::{Schedules, Warnings};
use gatepost_core::forwarding;
use gatepost_core::scan::{EnginePolicy, InfectedAction};

pub use admission::{Admission, Rules};
pub use classes::{ClientCertificates, ListedClass, PeerNames, PeerNetworks, SwitchableVerb};
pub use command::{CommandEngine, CommandVersion};
pub use database::{Database, DatabaseName, DatabaseScan, Databases};
pub use delivery::Remote;
pub use dkim::{DkimKey, DkimSelector};
pub use dnsbl::{BlockList, Dns, Dnsbl};
pub use engines::{EngineKind, EngineName, Outside, ScanEngine};
pub use file::{LogFormat, LogLevel, SandboxMode};
pub use listener::{Backend, Listener, Pop3Tls, Service, SmtpTls};
pub use listener_scan::{ListenerScan, SessionInfected};
pub use pass_through::{PassThrough, Passing, PassingAuth, Upstream, UpstreamProof, UpstreamTls};
pub use problem::{Problem, Problems};
pub use quarantine::Quarantine;
pub use quirk::{Quirk, QuirkNetworks};
pub use relay::{Recipients, Relay};
pub use route::Route;
pub use timeouts::Timeouts;
pub use tls_reports::TlsReports;
pub use unscannable::{Answer, Unscannable};
use values::{Hostname, Octets, TimeSpan, UserName};

/// A commented configuration that says what holds without any: what `gatepost config init` writes.
pub const EXAMPLE: &str = include_str!("../../../deploy/embedded.toml");

/// A valid configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What the server calls itself.
    pub hostname: Hostname,
    /// Where it keeps everything; `None` leaves it to the command line and the environment.
    pub data: Option<PathBuf>,
    /// Whom a server that is started as root goes on as; `None`: as whoever started it.
    pub user: Option<UserName>,
    /// How much of the sandbox must hold.
    pub sandbox: SandboxMode,
    /// At least one; names and addresses are unique.
    pub listeners: Vec<Listener>,
    /// `None`: a self-signed certificate in the data folder.
    pub tls: Option<TlsFiles>,
    /// Whether SCRAM is offered, and a SCRAM verifier stored besides the hash when a password is set.
    pub scram: bool,
    /// Bounds of sessions.
    pub limits: Limits,
    /// Which name servers are asked.
    pub dns: Dns,
    /// Block and allow lists.
    pub dnsbl: Dnsbl,
    /// Who may come in, and how often.
    pub admission: Admission,
    /// Which deviations are tolerated from whom.
    pub quirks: Vec<QuirkNetworks>,
    /// When the queue takes no more.
    pub queue: Queue,
    /// How mail leaves this server; `None`: not at all.
    pub remote: Option<Remote>,
    /// What listeners stand before whose backend is the relay; set where there is one, and then `remote` is set as well.
    pub relay: Option<Relay>,
    /// What listeners are a live front of whose backend is the pass-through; set where there is one.
    pub pass_through: Option<PassThrough>,
    /// How senders of mail are rewritten that goes on from here; `None`: not at all. Where it is set, so is `remote`.
    pub srs: Option<forwarding::srs::Settings>,
    /// How mail is scanned.
    pub scan: Scan,
    /// Where mailboxes are, and how their mail is scanned.
    pub databases: Databases,
    /// How often a mail is tried, and for how long.
    pub schedules: Schedules,
    /// With which keys mail is signed; no selector of a domain is there twice.
    pub dkim: Vec<DkimKey>,
    /// A folder of which every file is sent as a mail; `None`: there is no such folder.
    pub pickup: Option<PathBuf>,
    /// How much mail is kept that can be neither delivered nor returned.
    pub badmail: Badmail,
    /// How much infected mail is kept.
    pub quarantine: Quarantine,
    /// The HTTP side; `None` where it is switched off.
    pub admin: Option<Admin>,
    /// What is logged, and how.
    pub log: Log,
}

/// A certificate chain and its key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The leaf's key, mode 0600.
    pub key: PathBuf,
}

/// Bounds of sessions. `None` leaves the protocol's own default, which stands beside the rule it protects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest message.
    pub message: Octets,
    /// The same for peers that may bypass it; where it is smaller, the larger one holds.
    pub message_bypass: Octets,
    /// Recipients a transaction, at least 100.
    pub recipients: u32,
    /// Transactions a session.
    pub transactions: Option<u32>,
    /// Commands a session.
    pub commands: Option<u32>,
    /// Refusals before 421.
    pub errors: Option<u32>,
    /// For a whole command.
    pub command_timeout: Option<TimeSpan>,
    /// Between two octets of a body.
    pub data_idle_timeout: Option<TimeSpan>,
    /// For a whole body.
    pub data_total_timeout: Option<TimeSpan>,
    /// From accept to close.
    pub session_timeout: Option<TimeSpan>,
    /// Octets a session.
    pub session_octets: Option<Octets>,
    /// Octets a second that a body must come at.
    pub data_rate: Option<u32>,
    /// Memory that all peers together may make the process hold.
    pub memory: Octets,
    /// The share of bodies on their way in; beyond, they go on in files.
    pub body_memory: Octets,
    /// How long sessions may go on after SIGTERM.
    pub drain_timeout: TimeSpan,
}

/// When the queue takes no more. It holds from the next start on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Space that must be free on its disk.
    pub free_space: Octets,
    /// Files that must still fit on its file system (inodes).
    pub free_files: u32,
    /// Messages of one user that may wait; `None`: any number.
    pub user_messages: Option<u32>,
    /// Octets of their bodies.
    pub user_octets: Option<Octets>,
    /// Messages for one domain that may wait.
    pub domain_messages: Option<u32>,
    /// Octets of their bodies.
    pub domain_octets: Option<Octets>,
}

/// How mail is scanned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// Who looks at it, at least one, in the order in which they are asked.
    pub engines: Vec<ScanEngine>,
    /// What the word of one of them counts.
    pub policy: EnginePolicy,
    /// A folder of YARA rules besides the built-in ones; `None`: `rules/` in the data folder, if it is there.
    pub rules: Option<PathBuf>,
    /// Whether a session waits for a verdict at all; otherwise the queue scans.
    pub in_session: bool,
    /// How long a session waits for a verdict before the mail goes to the queue unscanned (and is scanned there).
    pub session_budget: TimeSpan,
    /// How long a reader waits for one, before he is told to come again.
    pub reader_budget: TimeSpan,
    /// Scan threads, as far as that is sensible for the machine; the classic `ScanningThreads`. `None`: two for each processor,
    /// and one.
    pub threads: Option<NonZeroUsize>,
    /// What becomes of content that the scanner cannot look into.
    pub unscannable: Unscannable,
    /// What becomes of infected mail in the queue for those who live elsewhere or have mailboxes in several databases, as far
    /// as `deletion` allows; the classic `EnableScanDeletion`.
    pub infected: InfectedAction,
    /// Whether a session refuses what it finds infected; otherwise that is left to the queue.
    pub refuse_infected: bool,
    /// Who hears of infected mail of those who have mailboxes in several databases.
    pub warnings: Warnings,
    /// Warnings in an hour, all together; the others are left out.
    pub warnings_per_hour: u32,
    /// How what waits in the queue, and what lies in quarantine, is scanned again.
    pub background: BackgroundSettings,
}

/// How much mail is kept that can be neither delivered nor returned; the oldest goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Badmail {
    /// Mails.
    pub messages: u32,
    /// Octets of all of them together.
    pub octets: Octets,
    /// Days that a mail is kept.
    pub days: u32,
}

/// The HTTP side: metrics and health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admin {
    /// On loopback, in the clear.
    Loopback {
        /// Address and port; the address is a loopback one.
        address: SocketAddr,
        /// A file with a bearer token that callers must show, if any.
        credential: Option<PathBuf>,
    },
    /// Anywhere: TLS with the server's certificate, and a credential.
    Tls {
        /// Address and port.
        address: SocketAddr,
        /// A file with a bearer token that callers must show, mode 0600.
        credential: PathBuf,
    },
}

/// What is logged, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// From which severity on.
    pub level: LogLevel,
}

// === impl Config ===

impl Config {
    /// Reads a file. Everything that is wrong with it is reported at once, as far as it can be read.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        let octets = std::fs::read(path).map_err(|error| {
            let hint = "`gatepost config init > gatepost.toml` writes a commented example";
            Problems::of_file(path, format!("cannot be read: {error}"), Some(hint))
        })?;
        if octets.len() > FILE_OCTETS_MAX {
            return Err(Problems::of_file(path, format!("longer than {FILE_OCTETS_MAX} octets"), None));
        }
        let text = String::from_utf8(octets)
            .map_err(|error| Problems::of_file(path, format!("not UTF-8: {error}"), None))?;
        Self::parse(path, &text)
    }

    /// Reads a text; `path` is only shown in problems.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Problems> {
        settings::parse(text).map_err(|findings| {
            Problems::locate(path, text, findings)
                .unwrap_or_else(|| Problems::of_file(path, "cannot be used", None))
        })
    }
}

/// What a configuration with mistakes says of the data folder; `None` where it says nothing that can be read. Then nobody is to
/// guess: the mistake may be in that very key.
#[must_use]
pub fn data_beside_mistakes(path: &Path) -> Option<PathBuf> {
    let written = std::fs::metadata(path).ok().filter(|file| file.len() <= FILE_OCTETS_MAX as u64)?;
    let text = written.is_file().then(|| std::fs::read_to_string(path).ok())??;
    let table: toml::Table = text.parse().ok()?;
    table.get("server")?.get("data")?.as_str().map(PathBuf::from)
}

// === impl Admin ===

impl Admin {
    /// Address and port.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        match self {
            Self::Loopback { address, .. } | Self::Tls { address, .. } => *address,
        }
    }

    /// The file with the bearer token, if callers must show one.
    #[must_use]
    pub fn credential(&self) -> Option<&Path> {
        match self {
            Self::Loopback { credential, .. } => credential.as_deref(),
            Self::Tls { credential, .. } => Some(credential),
        }
    }
}

/// A configuration is written by people; a larger file is a mistake (a mailbox, a device).
const FILE_OCTETS_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests;
