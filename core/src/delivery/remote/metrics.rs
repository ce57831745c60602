//! `gatepost_remote_*`.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::super::hop::{Connection, NextHop};
use super::super::tls_policy::PolicyKind;
use super::super::{Attempt, Disposition};
use super::Probe;

/// The counters of delivery to other servers.
#[derive(Debug, Clone)]
pub struct Metrics {
    delivered: IntCounter,
    refused: IntCounter,
    put_off: IntCounter,
    throttled: IntCounter,
    opened: IntCounter,
    reused: IntCounter,
    failed: IntCounter,
    tls: Vec<(Option<PolicyKind>, Security, IntCounter)>,
    probes_known: IntCounter,
    probes_unknown: IntCounter,
    probes_unavailable: IntCounter,
    destinations_known: IntGauge,
    destinations_put_off: IntGauge,
    /// 1 while mail waits for an operator to let it go.
    pub(super) paused: IntGauge,
}

/// What came of TLS with a next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// In TLS, and it has proven who it is.
    Verified,
    /// In TLS, with whomever.
    Encrypted,
    /// In the clear.
    Plaintext,
    /// No mail, since TLS was not to be had as demanded.
    Failed,
}

// === impl Security ===

impl Security {
    const ALL: [Self; 4] = [Self::Verified, Self::Encrypted, Self::Plaintext, Self::Failed];

    pub(super) const fn of(connection: &Connection, target: &NextHop) -> Self {
        match (connection.tls().is_some(), target.tls().is_verified()) {
            (true, true) => Self::Verified,
            (true, false) => Self::Encrypted,
            (false, _) => Self::Plaintext,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Encrypted => "encrypted",
            Self::Plaintext => "plaintext",
            Self::Failed => "failed",
        }
    }
}

// === impl Metrics ===

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// When the registry already has counters of these names.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let recipients = IntCounterVec::new(
            Opts::new(
                "gatepost_remote_recipients_total",
                "Recipients at other servers that were tried, by result.",
            ),
            &["result"],
        )?;
        let connections = IntCounterVec::new(
            Opts::new(
                "gatepost_remote_connections_total",
                "Connections to other servers, by what came of them.",
            ),
            &["result"],
        )?;
        let probes = IntCounterVec::new(
            Opts::new("gatepost_remote_probes_total", "Recipients that next hops were asked for, by answer."),
            &["answer"],
        )?;
        let paused = IntGauge::new("gatepost_remote_paused", "1 while mail to other servers is paused.")?;
        registry.register(Box::new(paused.clone()))?;
        let throttled = IntCounter::new(
            "gatepost_remote_throttled_total",
            "Mails that went back to the queue until it is their turn by the rate of their destination or domain.",
        )?;
        registry.register(Box::new(throttled.clone()))?;
        let destinations_known = IntGauge::new(
            "gatepost_remote_destinations",
            "Destinations that mail is or was lately taken to.",
        )?;
        let destinations_put_off = IntGauge::new(
            "gatepost_remote_destinations_put_off",
            "Destinations that are left alone for a while since they cannot be reached.",
        )?;
        let tls = IntCounterVec::new(
            Opts::new(
                "gatepost_remote_tls_total",
                "Connections to other servers, by the policy that decided on TLS and what came of it.",
            ),
            &["policy", "result"],
        )?;
        registry.register(Box::new(tls.clone()))?;
        registry.register(Box::new(recipients.clone()))?;
        registry.register(Box::new(connections.clone()))?;
        registry.register(Box::new(probes.clone()))?;
        registry.register(Box::new(destinations_known.clone()))?;
        registry.register(Box::new(destinations_put_off.clone()))?;
        Ok(Self {
            delivered: recipients.with_label_values(&["delivered"]),
            refused: recipients.with_label_values(&["refused"]),
            put_off: recipients.with_label_values(&["put_off"]),
            throttled,
            opened: connections.with_label_values(&["opened"]),
            reused: connections.with_label_values(&["reused"]),
            failed: connections.with_label_values(&["failed"]),
            tls: Self::tls(&tls),
            probes_known: probes.with_label_values(&["known"]),
            probes_unknown: probes.with_label_values(&["unknown"]),
            probes_unavailable: probes.with_label_values(&["unavailable"]),
            destinations_known,
            destinations_put_off,
            paused,
        })
    }

    fn tls(counters: &IntCounterVec) -> Vec<(Option<PolicyKind>, Security, IntCounter)> {
        let policies = PolicyKind::ALL.map(Some).into_iter().chain([None]);
        let both = policies.flat_map(|policy| Security::ALL.map(|security| (policy, security)));
        both.map(|(policy, security)| {
            let name = policy.map_or("route", PolicyKind::name);
            (policy, security, counters.with_label_values(&[name, security.name()]))
        })
        .collect()
    }

    pub(super) fn count_tls(&self, target: &NextHop, security: Security) {
        let policy = target.policy().map(|policy| policy.kind);
        let counter = self.tls.iter().find(|(of, came, _)| (*of, *came) == (policy, security));
        counter.inspect(|(.., counter)| counter.inc());
    }

    pub(super) fn count_attempt(&self, attempt: &Attempt) {
        match &attempt.result {
            Ok(Disposition::Delivered) => self.delivered.inc(),
            Ok(_) => self.refused.inc(),
            Err(_) => self.put_off.inc(),
        }
    }

    pub(super) fn count_probe(&self, probe: Probe) {
        match probe {
            Probe::Known { .. } => self.probes_known.inc(),
            Probe::Unknown | Probe::NoUtf8 => self.probes_unknown.inc(),
            Probe::Unavailable => self.probes_unavailable.inc(),
        }
    }

    pub(super) fn count_throttled(&self) {
        self.throttled.inc();
    }

    pub(super) fn count_opened(&self) {
        self.opened.inc();
    }

    pub(super) fn count_reused(&self) {
        self.reused.inc();
    }

    pub(super) fn count_failed(&self) {
        self.failed.inc();
    }

    pub(super) fn tell_destinations(&self, known: usize, put_off: usize) {
        self.destinations_known.set(i64::try_from(known).unwrap_or(i64::MAX));
        self.destinations_put_off.set(i64::try_from(put_off).unwrap_or(i64::MAX));
    }
}
