//! `[delivery.remote]`: whether mail leaves this server, and how.

use std::num::NonZeroU32;
use std::path::PathBuf;

use gatepost_core::delivery::remote::{CONNECTIONS_DEFAULT, Dane};
use serde::Deserialize;
use toml::Spanned;

use super::problem::Finding;
use super::route::{Route, SMTP_PORT, WrittenRoute, checked_connections};
use super::schedule::WrittenSchedule;
use super::timeouts::{Timeouts, WrittenTimeouts};
use super::tls_reports::TlsReports;

/// Mail leaves this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Where mail exchangers listen.
    pub port: u16,
    /// Whether foreign domains may name hosts on loopback or in private networks.
    pub internal_addresses: bool,
    /// Whether hosts are asked for TLSA records.
    pub dane: Dane,
    /// Whether domains are asked for their MTA-STS policies.
    pub mta_sts: bool,
    /// Where the web servers listen that have them.
    pub https_port: u16,
    /// Mails a minute to one destination, at the most, unless its route says otherwise.
    pub rate: Option<NonZeroU32>,
    /// Connections to one destination at the same time, likewise.
    pub connections: NonZeroU32,
    /// Whether mail for other servers is taken and waits.
    pub paused: bool,
    /// Who vouches for certificates; `None`: whom the machine trusts.
    pub authorities: Option<PathBuf>,
    /// How long next hops are waited for.
    pub timeouts: Timeouts,
    /// In whose name domains hear what came of TLS with them; `None`: they hear nothing.
    pub tls_reports: Option<TlsReports>,
    /// Ways that were laid by hand.
    pub routes: Vec<Route>,
}

/// `[delivery]`, as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenDelivery {
    pub(super) remote: WrittenRemote,
    pub(super) local: WrittenSchedule,
    pub(super) outbound: WrittenSchedule,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenRemote {
    enabled: bool,
    port: Option<Spanned<u16>>,
    internal_addresses: bool,
    dane: WrittenDane,
    mta_sts: Option<bool>,
    https_port: Option<Spanned<u16>>,
    rate: Option<NonZeroU32>,
    connections: Option<Spanned<NonZeroU32>>,
    paused: bool,
    authorities: Option<PathBuf>,
    timeouts: WrittenTimeouts,
    tls_reports: Option<TlsReports>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WrittenDane {
    Off,
    #[default]
    Auto,
    On,
}

// === impl WrittenRemote ===

impl WrittenRemote {
    /// `None` where mail stays here.
    pub(super) fn check(
        self,
        routes: Vec<Spanned<WrittenRoute>>,
        findings: &mut Vec<Finding>,
    ) -> Option<Remote> {
        let Self {
            enabled,
            port,
            internal_addresses,
            dane,
            mta_sts,
            https_port,
            rate,
            connections,
            paused,
            authorities,
            timeouts,
            tls_reports,
        } = self;
        if let (false, Some(route)) = (enabled, routes.first()) {
            findings.push(
                Finding::at(route.span(), "a route leads nowhere as long as no mail leaves this server")
                    .hint("set enabled = true in [delivery.remote]"),
            );
        }
        for port in [&port, &https_port].into_iter().flatten().filter(|port| *port.get_ref() == 0) {
            findings.push(Finding::at(port.span(), "no server listens at port 0"));
        }
        let routes = routes.into_iter().map(|route| route.into_inner().check(findings)).collect();
        let port = port.map_or(SMTP_PORT, Spanned::into_inner);
        let https_port = https_port.map_or(HTTPS_PORT, Spanned::into_inner);
        let dane = match dane {
            WrittenDane::Off => Dane::Never,
            WrittenDane::Auto => Dane::WhereProven,
            WrittenDane::On => Dane::Always,
        };
        let mta_sts = mta_sts.unwrap_or(true);
        let connections = checked_connections(connections, findings).unwrap_or(CONNECTIONS_DEFAULT);
        let timeouts = timeouts.check();
        enabled.then_some(Remote {
            port,
            internal_addresses,
            dane,
            mta_sts,
            https_port,
            rate,
            connections,
            paused,
            authorities,
            timeouts,
            tls_reports,
            routes,
        })
    }
}

const HTTPS_PORT: u16 = 443;

#[cfg(test)]
mod tests;
