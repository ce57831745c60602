//! The settings of each room, from the configuration. What the configuration leaves out keeps the room's own default.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use gatepost_core::access::pop3;
use gatepost_core::delivery::{self, Treatment};
use gatepost_core::queue::{self, Quota, Quotas};
use gatepost_core::scan::engines::{OutsideSettings, clamd, command, icap};
use gatepost_core::scan::{self, EngineSettings, FailMode, UnscannableAction, UnscannablePolicy};
use gatepost_smtp::server::{Extensions, Mechanism, TlsMode};

use super::clients;
use crate::admission::dnsbl;
use crate::admission::stranger::StrangerChecks;
use crate::authn;
use crate::backend::embedded::{self, Relay, SessionScan, SessionScans, SuspectAction};
use crate::config::values::{Octets, TimeSpan};
use crate::config::{
    self, Answer, Backend, Config, DatabaseScan, EngineKind, Listener, ListenerScan, Passing, PassingAuth,
    Pop3Tls, Service, SessionInfected, SmtpTls,
};
use crate::connection::{PeerClasses, PeerQuirks};
use crate::data_folder::DataFolder;
use crate::scan_helper::Helpers;
use crate::server::{ListenerSettings, Protocol, ServerSettings, SmtpSettings};
use crate::tls::{ClientCertificates, Tls, TlsError};

/// The edge's settings. Reads the files of client certificates; their handshakes use the server's certificate of `tls`.
///
/// # Errors
/// A file cannot be used.
pub fn server_settings(config: &Config, tls: &Tls) -> Result<ServerSettings, TlsError> {
    let settings = |listener| {
        let clients = clients::load(listener, tls)?;
        Ok(listener_settings(config, listener, clients))
    };
    Ok(ServerSettings {
        hostname: config.hostname.to_string(),
        listeners: config.listeners.iter().map(settings).collect::<Result<_, TlsError>>()?,
    })
}

pub(super) fn listener_settings(
    config: &Config,
    listener: &Listener,
    clients: Option<ClientCertificates>,
) -> ListenerSettings {
    let (tls, protocol) = match &listener.service {
        &Service::Smtp { tls, require_auth, binarymime, ref backend, .. } => {
            let scram_outside_tls = tls == SmtpTls::None { scram: true };
            let mut auth = match backend {
                Backend::PassThrough(Passing { auth: PassingAuth::Upstream, .. }) => {
                    authn::relayed_offer(scram_outside_tls)
                }
                _ => authn_settings(config).offer(scram_outside_tls),
            };
            if clients.is_some() {
                auth.inside_tls.insert(0, Mechanism::External);
            }
            let asks_in_groups = matches!(backend, Backend::PassThrough(_));
            let extensions = match (&config.pass_through, asks_in_groups) {
                (Some(behind), true) => Extensions::PassThrough { blob_octets: behind.blob.count() },
                _ => Extensions::Unavailable,
            };
            let limits = smtp_limits(config);
            let rights = if require_auth { listener.rights.requiring_auth() } else { listener.rights };
            let switched_off = listener.switched_off.iter().map(|verb| verb.verb()).collect();
            let smtp =
                SmtpSettings { rights, switched_off, auth, binarymime, asks_in_groups, extensions, limits };
            (smtp_tls(tls), Protocol::Smtp(smtp))
        }
        Service::Pop3 { tls: Pop3Tls::Stls } => (TlsMode::StartTls, Protocol::Pop3(pop3::Limits::default())),
        Service::Pop3 { tls: Pop3Tls::Implicit } => {
            (TlsMode::Implicit, Protocol::Pop3(pop3::Limits::default()))
        }
    };
    ListenerSettings {
        name: listener.name.to_string(),
        address: listener.address,
        tls,
        relays: listener.xclient_from.iter().map(|it| it.network()).collect(),
        stranger_checks: stranger_checks(&listener.service),
        classes: classes(listener),
        clients,
        quirks: quirks(config),
        balancers: listener.proxy_protocol_from.iter().map(|it| it.network()).collect(),
        connections_max: usize::try_from(listener.connections).unwrap_or(usize::MAX),
        protocol,
    }
}

fn stranger_checks(service: &Service) -> StrangerChecks {
    match service {
        &Service::Smtp { pregreet_wait, dnsbl, .. } => {
            StrangerChecks { pregreet_wait: pregreet_wait.map(TimeSpan::duration), dnsbl }
        }
        Service::Pop3 { .. } => StrangerChecks::default(),
    }
}

fn classes(listener: &Listener) -> PeerClasses {
    let listed = listener
        .peers
        .iter()
        .flat_map(|peers| peers.networks.iter().map(|listed| (listed.network().into(), peers.class.into())));
    listed.collect()
}

fn quirks(config: &Config) -> PeerQuirks {
    let listed = config
        .quirks
        .iter()
        .flat_map(|quirk| quirk.networks.iter().map(|listed| (listed.network().into(), quirk.quirks())));
    listed.collect()
}

const fn smtp_tls(tls: SmtpTls) -> TlsMode {
    match tls {
        SmtpTls::StartTls => TlsMode::StartTls,
        SmtpTls::Implicit => TlsMode::Implicit,
        SmtpTls::None { .. } => TlsMode::None,
    }
}

/// What the configuration leaves out keeps the protocol's own default.
pub(super) fn smtp_limits(config: &Config) -> gatepost_smtp::server::Limits {
    let written = &config.limits;
    let default = gatepost_smtp::server::Limits::default();
    let message_octets = written.message.count();
    gatepost_smtp::server::Limits {
        message_octets,
        message_octets_bypass: written.message_bypass.count(),
        recipients: usize::try_from(written.recipients).unwrap_or(usize::MAX),
        transactions: written.transactions.unwrap_or(default.transactions),
        commands: written.commands.unwrap_or(default.commands),
        errors: written.errors.unwrap_or(default.errors),
        command: written.command_timeout.map_or(default.command, |time| time.duration()),
        data_idle: written.data_idle_timeout.map_or(default.data_idle, |time| time.duration()),
        data_total: written.data_total_timeout.map_or(default.data_total, |time| time.duration()),
        octets: written.session_octets.map_or(default.octets, |octets| octets.count()),
        data_rate: written.data_rate.map_or(default.data_rate, u64::from),
        session: written.session_timeout.map_or(default.session, |time| time.duration()),
        // As the default does: twice the largest mail, so that a mail that is a little too large is answered.
        drain_octets: message_octets.saturating_mul(2),
    }
}

pub(super) fn authn_settings(config: &Config) -> authn::Settings {
    authn::Settings { scram: config.scram }
}

pub(super) fn backend_settings(config: &Config) -> embedded::Settings {
    embedded::Settings {
        hostname: config.hostname.to_string(),
        relay: config.remote.as_ref().map(|remote| Relay { internal: remote.internal_addresses }),
        scans: session_scans(config),
    }
}

fn session_scans(config: &Config) -> SessionScans {
    let scan = |listener: &ListenerScan| {
        let in_session = listener.in_session.unwrap_or(config.scan.in_session);
        let budget = listener.session_budget.unwrap_or(config.scan.session_budget);
        SessionScan {
            time_max: in_session.then(|| budget.duration()),
            fail: listener.fail,
            suspects: match listener.infected {
                Some(SessionInfected::Refuse) => SuspectAction::Refuse,
                Some(SessionInfected::Quarantine) => SuspectAction::Quarantine,
                Some(SessionInfected::Queue) => SuspectAction::Queue,
                None if config.scan.refuse_infected => SuspectAction::Refuse,
                None => SuspectAction::Queue,
            },
        }
    };
    let of_listeners =
        config.listeners.iter().map(|listener| (listener.name.to_string(), scan(&listener.scan)));
    SessionScans { usual: scan(&ListenerScan::default()), of_listeners: of_listeners.collect() }
}

pub(super) fn delivery_policy(config: &Config) -> delivery::Policy {
    let in_database = |(name, scan): (&str, &DatabaseScan)| {
        (name.to_owned(), Treatment { infected: scan.infected, warnings: scan.warnings.clone() })
    };
    let open_listeners = config.listeners.iter().filter(|it| it.scan.fail == FailMode::Open);
    delivery::Policy {
        hostname: config.hostname.to_string(),
        schedules: config.schedules,
        usual: Treatment { infected: config.scan.infected, warnings: config.scan.warnings.clone() },
        databases: config.databases.scans().map(in_database).collect(),
        open_listeners: open_listeners.map(|listener| listener.name.to_string()).collect(),
        warnings_per_hour: config.scan.warnings_per_hour,
    }
}

pub(super) fn queue_settings(config: &Config) -> queue::Settings {
    let config::Queue { free_space, free_files, .. } = config.queue;
    let quota = |messages: Option<u32>, octets: Option<Octets>| Quota {
        messages: messages.map(u64::from),
        octets: octets.map(Octets::count),
    };
    queue::Settings {
        free_octets_min: free_space.count(),
        free_files_min: free_files.into(),
        quotas: Quotas {
            user: quota(config.queue.user_messages, config.queue.user_octets),
            domain: quota(config.queue.domain_messages, config.queue.domain_octets),
        },
        ..queue::Settings::default()
    }
}

/// The scanner's settings.
#[must_use]
pub fn scan_settings(config: &Config) -> scan::Settings {
    let action = |answer| match answer {
        Answer::Accept => UnscannableAction::Accept,
        Answer::Refuse => UnscannableAction::Refuse,
    };
    let written = config.scan.unscannable;
    let unscannable = UnscannablePolicy {
        encrypted: action(written.encrypted),
        partial: action(written.partial),
        broken: action(written.broken),
        over_limit: action(written.over_limit),
        ambiguous: action(written.ambiguous),
    };
    let threads = config.scan.threads.map(NonZeroUsize::get);
    scan::Settings { unscannable, threads, ..scan::Settings::default() }
}

/// The engines, the embedded one with the rules of this folder, commands with these helpers. A command without a helper is
/// left out: `scan_helper::start` has one for each, or fails.
pub(super) fn engine_settings(
    config: &Config,
    rules: Option<&Path>,
    helpers: &Helpers,
) -> Vec<EngineSettings> {
    let message_octets = config.limits.message.max(config.limits.message_bypass).count();
    let settings = |engine: &config::ScanEngine| match &engine.kind {
        EngineKind::Yara => Some(EngineSettings::Yara(rules.map(Path::to_path_buf))),
        EngineKind::Clamd(how) => Some(EngineSettings::Clamd(clamd::Settings {
            outside: outside(&engine.name, how.timeout, how.retry_delay),
            address: how.address.clone(),
            message_octets,
        })),
        EngineKind::Icap { outside: how, service } => Some(EngineSettings::Icap(icap::Settings {
            outside: outside(&engine.name, how.timeout, how.retry_delay),
            address: how.address.clone(),
            service: service.clone(),
        })),
        EngineKind::Command(how) => Some(EngineSettings::Command(command::Settings {
            outside: outside(&engine.name, how.timeout, how.retry_delay),
            helper: helpers.of(engine.name.as_str())?,
            processes: how.processes.into(),
            item_octets_max: how.item_max.map_or(message_octets, Octets::count),
            message_octets,
        })),
    };
    config.scan.engines.iter().filter_map(settings).collect()
}

fn outside(name: &config::EngineName, timeout: TimeSpan, retry_delay: TimeSpan) -> OutsideSettings {
    let (timeout, retry_delay) = (timeout.duration(), retry_delay.duration());
    OutsideSettings { name: name.to_string(), timeout, retry_delay }
}

pub(super) fn block_list_settings(config: &Config) -> dnsbl::Settings {
    let list = |list: &config::BlockList| dnsbl::List {
        zone: list.zone.to_string(),
        weight: list.weight.value(),
        answers: list.answers.iter().map(|answer| answer.network()).collect(),
    };
    dnsbl::Settings {
        lists: config.dnsbl.lists.iter().map(list).collect(),
        threshold: i32::from(config.dnsbl.threshold.get()),
        timeout: config.dnsbl.timeout.duration(),
        servers: config.dns.servers.iter().map(|server| server.address()).collect(),
    }
}

/// The scanner's rules folder.
#[must_use]
pub fn rules(config: &Config, folder: &DataFolder) -> PathBuf {
    config.scan.rules.clone().unwrap_or_else(|| folder.rules())
}

pub(super) fn tls_files(config: &Config, folder: &DataFolder) -> (PathBuf, PathBuf) {
    match &config.tls {
        Some(files) => (files.certificate.clone(), files.key.clone()),
        None => (folder.certificate(), folder.key()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(text: &str) -> Config {
        let listener = "[[listener]]\nname = \"a\"\nprotocol = \"smtp\"\naddress = \"127.0.0.1:0\"\n";
        Config::parse(Path::new("test"), &format!("{listener}{text}")).unwrap()
    }

    fn smtp(config: &Config) -> SmtpSettings {
        match listener_settings(config, &config.listeners[0], None).protocol {
            Protocol::Smtp(settings) => settings,
            Protocol::Pop3(_) => panic!("the listener speaks SMTP"),
        }
    }

    #[test]
    fn the_limits_of_the_configuration_reach_the_sessions() {
        let limits = "tls = \"starttls\"\n[limits]\nmessage = \"2 MiB\"\nrecipients = 100\nerrors = 3\n";
        let limits = smtp(&config(&format!("{limits}data_total_timeout = \"7m\"\n"))).limits;
        assert_eq!((limits.message_octets, limits.recipients, limits.errors), (2 << 20, 100, 3));
        assert_eq!(limits.data_total.as_secs(), 420);
        let default = gatepost_smtp::server::Limits::default();
        assert_eq!(limits.command, default.command, "what is left out keeps its default");
    }

    #[test]
    fn auth_outside_tls_is_scram_or_nothing() {
        let outside = |text| smtp(&config(text)).auth.outside_tls;
        assert_eq!(outside("tls = \"starttls\"\n"), []);
        assert_eq!(outside("tls = \"none\"\nrequire_auth = false\n"), []);
        assert_eq!(outside("tls = \"none\"\nauth_without_tls = \"scram\"\n"), [Mechanism::ScramSha256]);
    }

    #[test]
    fn without_scram_passwords_travel_in_tls_only() {
        let auth = smtp(&config("tls = \"implicit\"\n[auth]\nscram = false\n")).auth;
        assert_eq!(auth.inside_tls, [Mechanism::Plain, Mechanism::Login]);
    }
}
