//! What holds where a configuration is silent, and without one.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use gatepost_core::background::Settings as BackgroundSettings;
use gatepost_core::delivery::{Schedules, Warnings};
use gatepost_core::scan::{EnginePolicy, InfectedAction};
use gatepost_smtp::server::ClassRights;

use super::file::SandboxMode;
use super::unscannable::Unscannable;
use super::values::{Hostname, ListenerName, Octets, TimeSpan};
use super::warnings::PER_HOUR_DEFAULT;
use super::{
    Admin, Admission, Backend, Badmail, Config, Databases, Dns, Dnsbl, Limits, Listener, ListenerScan, Log,
    Pop3Tls, Quarantine, Queue, Scan, ScanEngine, Service, SmtpTls,
};

// === impl Config ===

impl Config {
    /// What holds without a configuration file: everything on loopback, AUTH required, TLS offered everywhere.
    #[must_use]
    pub fn embedded_default() -> Self {
        let smtp = |tls| Service::Smtp {
            tls,
            require_auth: true,
            binarymime: false,
            pregreet_wait: None,
            dnsbl: false,
            backend: Backend::Embedded,
        };
        let pop3 = |tls| Service::Pop3 { tls };
        let listener = |name: &str, port, service| {
            let name = ListenerName::try_from(name.to_owned()).ok()?;
            Some(Listener {
                name,
                address: loopback(port),
                service,
                connections: CONNECTIONS_DEFAULT,
                proxy_protocol_from: Vec::new(),
                xclient_from: Vec::new(),
                rights: ClassRights::default(),
                peers: Vec::new(),
                client_certificates: None,
                switched_off: Vec::new(),
                scan: ListenerScan::default(),
            })
        };
        let listeners = [
            listener("smtp", SMTP_PORT, smtp(SmtpTls::StartTls)),
            listener("smtps", SMTPS_PORT, smtp(SmtpTls::Implicit)),
            listener("pop3", POP3_PORT, pop3(Pop3Tls::Stls)),
            listener("pop3s", POP3S_PORT, pop3(Pop3Tls::Implicit)),
        ];
        Self {
            hostname: Hostname::of_this_machine(),
            data: None,
            user: None,
            sandbox: SandboxMode::default(),
            listeners: listeners.into_iter().flatten().collect(),
            tls: None,
            scram: true,
            limits: Limits::default(),
            dns: Dns::default(),
            dnsbl: Dnsbl::default(),
            admission: Admission::default(),
            quirks: Vec::new(),
            queue: Queue::default(),
            remote: None,
            relay: None,
            pass_through: None,
            srs: None,
            scan: Scan::default(),
            databases: Databases::default(),
            schedules: Schedules::default(),
            dkim: Vec::new(),
            pickup: None,
            badmail: Badmail::default(),
            quarantine: Quarantine::default(),
            admin: Some(Admin::default()),
            log: Log::default(),
        }
    }
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            message: MESSAGE_DEFAULT,
            message_bypass: MESSAGE_BYPASS_DEFAULT,
            recipients: RECIPIENTS_DEFAULT,
            transactions: None,
            commands: None,
            errors: None,
            command_timeout: None,
            data_idle_timeout: None,
            data_total_timeout: None,
            session_timeout: None,
            session_octets: None,
            data_rate: None,
            memory: MEMORY_DEFAULT,
            body_memory: MEMORY_DEFAULT.half().half(),
            drain_timeout: DRAIN_DEFAULT,
        }
    }
}

// === impl Queue ===

impl Default for Queue {
    fn default() -> Self {
        Self {
            free_space: FREE_SPACE_DEFAULT,
            free_files: FREE_FILES_DEFAULT,
            user_messages: None,
            user_octets: None,
            domain_messages: None,
            domain_octets: None,
        }
    }
}

// === impl Scan ===

impl Default for Scan {
    fn default() -> Self {
        Self {
            engines: ScanEngine::default_engines(),
            policy: EnginePolicy::Any,
            rules: None,
            in_session: true,
            session_budget: SESSION_BUDGET_DEFAULT,
            reader_budget: READER_BUDGET_DEFAULT,
            threads: None,
            unscannable: Unscannable::default(),
            infected: InfectedAction::default(),
            refuse_infected: true,
            warnings: Warnings::default(),
            warnings_per_hour: PER_HOUR_DEFAULT,
            background: BackgroundSettings::default(),
        }
    }
}

// === impl Badmail ===

impl Default for Badmail {
    fn default() -> Self {
        Self {
            messages: BADMAIL_MESSAGES_DEFAULT,
            octets: BADMAIL_OCTETS_DEFAULT,
            days: BADMAIL_DAYS_DEFAULT,
        }
    }
}

// === impl Admin ===

impl Default for Admin {
    fn default() -> Self {
        Self::Loopback { address: loopback(ADMIN_PORT), credential: None }
    }
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// The ports of the embedded default: the standard ones (25, 465, 110, 995) plus 2000 or 2500, which need no privilege.
const SMTP_PORT: u16 = 2525;
const SMTPS_PORT: u16 = 2465;
const POP3_PORT: u16 = 2110;
const POP3S_PORT: u16 = 2995;
const ADMIN_PORT: u16 = 2580;
/// Enough for a small site; well below the usual 1,024 file descriptors with all listeners together.
pub(super) const CONNECTIONS_DEFAULT: u32 = 200;
/// Large enough for what mail programs send today, with base64's third on top of a 35 MiB attachment.
const MESSAGE_DEFAULT: Octets = Octets::mebi(50);
/// Twice that: a mail is in memory as a whole while it is scanned, so who wants more should have counted.
const MESSAGE_BYPASS_DEFAULT: Octets = Octets::mebi(100);
/// Some 20,000 sessions in TLS, or a few scans of the largest mails; half of what the smallest machines have.
const MEMORY_DEFAULT: Octets = Octets::mebi(1024);
/// Ten times what RFC 5321 section 4.5.3.1.8 asks for at least.
const RECIPIENTS_DEFAULT: u32 = 1000;
/// Below the 90 s that systemd gives a service to stop.
const DRAIN_DEFAULT: TimeSpan = TimeSpan::seconds(30);
/// Two segments: what is in the queue can be settled while new mail is refused.
const FREE_SPACE_DEFAULT: Octets = Octets::mebi(128);
/// Databases, logs and certificates need some too.
const FREE_FILES_DEFAULT: u32 = 1_000;
/// Far below the ten minutes that a client waits after the final dot (RFC 5321 section 4.5.3.2.6).
const SESSION_BUDGET_DEFAULT: TimeSpan = TimeSpan::seconds(20);
/// The classic time of a virus scanner; a mail program that waits less comes again, and finds the verdict.
const READER_BUDGET_DEFAULT: TimeSpan = TimeSpan::seconds(180);
/// More than a person looks through.
const BADMAIL_MESSAGES_DEFAULT: u32 = 1000;
/// Five of the largest mails, and nothing that a disk notices.
const BADMAIL_OCTETS_DEFAULT: Octets = Octets::mebi(256);
/// A holiday, and the week after it.
const BADMAIL_DAYS_DEFAULT: u32 = 30;
