//! What the configuration means for sessions that are passed through.

use std::path::Path;
use std::sync::Arc;

use gatepost_core::delivery::hop::tls::Trust;
use gatepost_core::delivery::hop::{self, Courier, NextHop, TlsDemand};
use gatepost_core::delivery::tls_policy::dane::{Association, Tlsa};
use gatepost_core::scan::FailMode;
use gatepost_smtp::client::{Patience, Protocol};
use rustls_pki_types::ServerName;

use crate::backend::pass_through::{ListenerSettings, Settings, UpstreamSettings};
use crate::config::{self, Backend, Config, Listener, Service, UpstreamProof, UpstreamTls};
use crate::relay::{self, RelayError};
use crate::tls;

/// The settings of all live fronts; `None` where there is none.
///
/// # Errors
/// A file cannot be used, or the system gives no thread.
pub fn load(config: &Config) -> Result<Option<Settings>, RelayError> {
    let Some(written) = &config.pass_through else { return Ok(None) };
    let hostname = config.hostname.as_str();
    let name = hostname.parse().map_err(|_| RelayError::Hostname(hostname.to_owned()))?;
    let command = written.command_time.duration();
    let patience = Patience {
        greeting: command,
        command,
        data: command,
        block: command,
        end_of_data: written.data_time.duration(),
        ..Patience::default()
    };
    let couriers = hop::Settings { name, connect: written.connect_time.duration(), patience };
    Ok(Some(Settings {
        hostname: hostname.to_owned(),
        domains: written.domains.clone(),
        courier: Courier::start(couriers)?,
        idle_time: written.idle_time.duration(),
        block_time: command,
        probe_interval: written.probe_interval.duration(),
        upstreams: upstreams(config)?,
        listeners: config.listeners.iter().filter_map(|it| listener(config, it)).collect(),
    }))
}

/// Whether the files that it needs can be used.
///
/// # Errors
/// The first that cannot.
pub fn check(config: &Config) -> Result<(), RelayError> {
    upstreams(config).map(drop)
}

/// Every file that the configuration names for it.
pub fn files(config: &Config) -> impl Iterator<Item = &Path> {
    let upstreams = config.pass_through.iter().flat_map(|written| &written.upstreams);
    upstreams.flat_map(|upstream| {
        let authorities = match &upstream.tls {
            UpstreamTls::Verified(UpstreamProof::Authorities { file, .. })
            | UpstreamTls::Implicit(UpstreamProof::Authorities { file, .. }) => file.as_deref(),
            _ => None,
        };
        let pair = upstream.pair.iter().flat_map(|(certificate, key)| [certificate.as_path(), key.as_path()]);
        authorities.into_iter().chain(upstream.credentials.as_deref()).chain(pair)
    })
}

fn upstreams(config: &Config) -> Result<Vec<UpstreamSettings>, RelayError> {
    config.pass_through.iter().flat_map(|written| &written.upstreams).map(upstream).collect()
}

fn upstream(written: &config::Upstream) -> Result<UpstreamSettings, RelayError> {
    let tls = match &written.tls {
        UpstreamTls::None => TlsDemand::Never,
        UpstreamTls::Opportunistic => TlsDemand::Opportunistic,
        UpstreamTls::Required => TlsDemand::StartTls(ours(written, anyone(written)?)?),
        UpstreamTls::Verified(proof) => TlsDemand::StartTls(ours(written, trust(written, proof)?)?),
        UpstreamTls::Implicit(proof) => TlsDemand::Implicit(ours(written, trust(written, proof)?)?),
    };
    let hop = NextHop::new(written.name.to_string(), written.address, Protocol::Smtp, tls);
    let hop = match written.credentials.as_deref() {
        Some(credentials) => hop.with_login(relay::login(credentials)?)?,
        None => hop,
    };
    Ok(UpstreamSettings {
        hop,
        weight: written.weight,
        connections: usize::try_from(written.connections.get()).unwrap_or(usize::MAX),
        identity: written.identity,
    })
}

fn anyone(written: &config::Upstream) -> Result<Trust, RelayError> {
    Ok(Trust::anyone(address(written)).map_err(hop::StartError::from)?)
}

fn trust(written: &config::Upstream, proof: &UpstreamProof) -> Result<Trust, RelayError> {
    let (UpstreamProof::Authorities { name, .. } | UpstreamProof::Pins { name, .. }) = proof;
    let name = name.as_ref().and_then(|name| ServerName::try_from(name.as_str().to_owned()).ok());
    let name = name.unwrap_or_else(|| address(written));
    let trust = match proof {
        UpstreamProof::Authorities { file, .. } => {
            Trust::authorities(Arc::new(relay::roots(file.as_deref())?), name)
        }
        UpstreamProof::Pins { digests, .. } => {
            // As if the server had published its keys (RFC 6698): whoever has one of them is the server.
            let pinned = digests.iter().map(|digest| Tlsa {
                usage: 3,
                selector: 1,
                matching: 1,
                data: digest.to_vec(),
            });
            Trust::dane(&Association::new(name.to_str().into_owned(), pinned.collect()), &[], name)
        }
    };
    Ok(trust.map_err(hop::StartError::from)?)
}

/// With our own certificate, where it wants one.
fn ours(written: &config::Upstream, trust: Trust) -> Result<Trust, RelayError> {
    Ok(match &written.pair {
        Some((certificate, key)) => trust.presenting(tls::load_pair(certificate, key)?),
        None => trust,
    })
}

fn address(written: &config::Upstream) -> ServerName<'static> {
    ServerName::IpAddress(written.address.ip().into())
}

fn listener(config: &Config, written: &Listener) -> Option<ListenerSettings> {
    let Service::Smtp { backend: Backend::PassThrough(passing), .. } = &written.service else { return None };
    Some(ListenerSettings {
        name: written.name.to_string(),
        upstreams: passing.upstreams.iter().map(ToString::to_string).collect(),
        trace_header: passing.trace_header,
        delays_mail: passing.delays_mail,
        // What is not said of this listener is no wish to keep mail that goes through.
        scan_time: (written.scan.in_session == Some(true))
            .then(|| written.scan.session_budget.unwrap_or(config.scan.session_budget).duration()),
        fails_open: written.scan.fail == FailMode::Open,
        header_firewall: passing.header_firewall,
    })
}
