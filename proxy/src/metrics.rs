//! The edge's counters.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// Counters of listeners and sessions: `gatepost_edge_...`.
#[derive(Debug, Clone)]
pub struct EdgeMetrics {
    connections: IntCounterVec,
    open: IntGaugeVec,
    closed: IntCounterVec,
    accept_errors: IntCounterVec,
    proxy_headers: IntCounterVec,
    octets: IntCounterVec,
    handshakes: IntCounterVec,
    authentications: IntCounterVec,
    refusals: IntCounterVec,
    attacks: IntCounterVec,
    quirks: IntCounterVec,
    mails: IntCounterVec,
    mail_octets: IntCounterVec,
    mails_read: IntCounterVec,
    commit_seconds: Histogram,
    certificate_not_after: IntGauge,
}

/// Those of one listener, resolved once.
#[derive(Debug)]
pub(crate) struct ListenerMetrics {
    listener: String,
    connections: IntCounter,
    open: IntGauge,
    accept_errors: IntCounter,
    octets_in: IntCounter,
    octets_out: IntCounter,
    handshakes_ok: IntCounter,
    handshakes_failed: IntCounter,
    mails: IntCounter,
    mail_octets: IntCounter,
    mails_read: IntCounter,
    commit_seconds: Histogram,
    /// For labels that are only known when something happens; all of them come from lists of ours.
    proxy_headers: IntCounterVec,
    closed: IntCounterVec,
    authentications: IntCounterVec,
    refusals: IntCounterVec,
    attacks: IntCounterVec,
    quirks: IntCounterVec,
}

/// Counts one open session until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenSession(IntGauge);

// === impl EdgeMetrics ===

impl EdgeMetrics {
    /// Makes the counters and registers them.
    ///
    /// # Errors
    /// The registry has one of them already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(format!("gatepost_edge_{name}"), help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let open = IntGaugeVec::new(
            Opts::new("gatepost_edge_sessions_open", "Sessions that are open now."),
            &["listener"],
        )?;
        registry.register(Box::new(open.clone()))?;
        let commit_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "gatepost_edge_commit_seconds",
                "From the end of a body to its outcome: scan and flush included.",
            )
            .buckets(COMMIT_BUCKETS_SECONDS.to_vec()),
        )?;
        registry.register(Box::new(commit_seconds.clone()))?;
        let certificate_not_after = IntGauge::new(
            "gatepost_edge_certificate_not_after_seconds",
            "When the TLS certificate in use stops being valid, seconds since 1970; 0 without one.",
        )?;
        registry.register(Box::new(certificate_not_after.clone()))?;
        Ok(Self {
            connections: counter("connections_total", "Connections accepted.", &["listener"])?,
            open,
            closed: counter("sessions_closed_total", "Sessions ended, by reason.", &["listener", "reason"])?,
            accept_errors: counter("accept_errors_total", "Failed accepts.", &["listener"])?,
            proxy_headers: counter(
                "proxy_headers_total",
                "PROXY headers of balancers, by result.",
                &["listener", "result"],
            )?,
            octets: counter("octets_total", "Octets inside TLS, by direction.", &["listener", "direction"])?,
            handshakes: counter(
                "tls_handshakes_total",
                "TLS handshakes, by result.",
                &["listener", "result"],
            )?,
            authentications: counter(
                "authentications_total",
                "Log-ins, by mechanism and result.",
                &["listener", "mechanism", "result"],
            )?,
            refusals: counter(
                "refusals_total",
                "Commands and mails refused, by rule.",
                &["listener", "rule", "code"],
            )?,
            attacks: counter(
                "attacks_total",
                "Verbs that are for servers or for nobody, from peers without the right to them.",
                &["listener", "rule", "verb"],
            )?,
            quirks: counter(
                "quirks_total",
                "Deviations tolerated from peers that are allowed them.",
                &["listener", "quirk"],
            )?,
            mails: counter("mails_accepted_total", "Mails answered with 250.", &["listener"])?,
            mail_octets: counter("mail_octets_accepted_total", "Octets of their bodies.", &["listener"])?,
            mails_read: counter("mails_read_total", "Mails handed to readers.", &["listener"])?,
            commit_seconds,
            certificate_not_after,
        })
    }

    /// For the certificate to be kept up to date.
    pub(crate) fn certificate_not_after(&self) -> IntGauge {
        self.certificate_not_after.clone()
    }

    /// The children of one listener.
    pub(crate) fn listener(&self, name: &str) -> ListenerMetrics {
        ListenerMetrics {
            listener: name.to_owned(),
            connections: self.connections.with_label_values(&[name]),
            open: self.open.with_label_values(&[name]),
            accept_errors: self.accept_errors.with_label_values(&[name]),
            octets_in: self.octets.with_label_values(&[name, "in"]),
            octets_out: self.octets.with_label_values(&[name, "out"]),
            handshakes_ok: self.handshakes.with_label_values(&[name, "ok"]),
            handshakes_failed: self.handshakes.with_label_values(&[name, "failed"]),
            mails: self.mails.with_label_values(&[name]),
            mail_octets: self.mail_octets.with_label_values(&[name]),
            mails_read: self.mails_read.with_label_values(&[name]),
            commit_seconds: self.commit_seconds.clone(),
            proxy_headers: self.proxy_headers.clone(),
            closed: self.closed.clone(),
            authentications: self.authentications.clone(),
            refusals: self.refusals.clone(),
            attacks: self.attacks.clone(),
            quirks: self.quirks.clone(),
        }
    }
}

// === impl ListenerMetrics ===

impl ListenerMetrics {
    pub(crate) fn open(&self) -> OpenSession {
        self.connections.inc();
        self.open.inc();
        OpenSession(self.open.clone())
    }

    pub(crate) fn accept_failed(&self) {
        self.accept_errors.inc();
    }

    pub(crate) fn closed(&self, reason: &'static str, octets_in: u64, octets_out: u64) {
        self.closed.with_label_values(&[self.listener.as_str(), reason]).inc();
        self.octets_in.inc_by(octets_in);
        self.octets_out.inc_by(octets_out);
    }

    pub(crate) fn proxy_header(&self, result: &'static str) {
        self.proxy_headers.with_label_values(&[self.listener.as_str(), result]).inc();
    }

    pub(crate) fn handshake(&self, is_ok: bool) {
        if is_ok {
            self.handshakes_ok.inc();
        } else {
            self.handshakes_failed.inc();
        }
    }

    pub(crate) fn authenticated(&self, mechanism: &'static str, result: &'static str) {
        self.authentications.with_label_values(&[self.listener.as_str(), mechanism, result]).inc();
    }

    pub(crate) fn refused(&self, rule: &'static str, code: u16) {
        self.refusals.with_label_values(&[self.listener.as_str(), rule, &code.to_string()]).inc();
    }

    pub(crate) fn attacked(&self, rule: &'static str, verb: &'static str) {
        self.attacks.with_label_values(&[self.listener.as_str(), rule, verb]).inc();
    }

    pub(crate) fn tolerated(&self, quirk: &'static str) {
        self.quirks.with_label_values(&[self.listener.as_str(), quirk]).inc();
    }

    pub(crate) fn mail_accepted(&self, octets: u64) {
        self.mails.inc();
        self.mail_octets.inc_by(octets);
    }

    pub(crate) fn mail_read(&self) {
        self.mails_read.inc();
    }

    pub(crate) fn committed(&self, duration: Duration) {
        self.commit_seconds.observe(duration.as_secs_f64());
    }
}

// === impl OpenSession ===

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// From a flush on fast storage to the scan's whole budget.
const COMMIT_BUCKETS_SECONDS: &[f64] =
    &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0];
