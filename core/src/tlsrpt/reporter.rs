//! Sends the reports of days that are over.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use gatepost_smtp::server::{Envelope, Recipient};
use gatepost_smtp::wire::params::{MailParams, Notify, RcptParams};
use gatepost_smtp::wire::path::{ForwardPath, Mailbox, ReversePath};
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use tokio::task::{AbortHandle, JoinError, spawn_blocking};
use tracing::{debug, info, warn};

use super::ledger::{Ledger, Tally};
use super::record;
use super::report::Report;
use crate::clock::now_ms;
use crate::delivery::dns::{Resolver, Unresolved};
use crate::dkim::Signers;
use crate::intake::{Body, Origin, Submission, trace};
use crate::queue::{AppendError, NewMessage, Queue, QueueId};

/// In whose name reports go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Our name.
    pub hostname: String,
    /// Who we are, for people: printable ASCII, shorter than a line.
    pub organization: String,
    /// Who can be asked, and where mail comes back to: ASCII.
    pub from: Mailbox,
}

/// What it works with.
pub struct Tools {
    /// Has the results.
    pub ledger: Ledger,
    /// Knows who wants to hear of them.
    pub resolver: Arc<dyn Resolver>,
    /// Takes the reports.
    pub queue: Queue,
    /// Who signs them now.
    pub signers: Box<dyn Fn() -> Arc<Signers> + Send + Sync>,
    /// Counters.
    pub metrics: Metrics,
}

/// Sends reports until it is dropped.
#[derive(Debug)]
pub struct Reporter {
    task: AbortHandle,
}

/// `gatepost_tls_reports_total`.
#[derive(Debug, Clone)]
pub struct Metrics {
    queued: IntCounter,
    unwanted: IntCounter,
    unsupported: IntCounter,
    failed: IntCounter,
}

/// Why a report is not on its way.
#[derive(Debug, thiserror::Error)]
enum NotQueued {
    #[error("it cannot be made: {0}")]
    Unmade(#[from] JoinError),
    #[error(transparent)]
    Refused(#[from] AppendError),
}

struct Sender {
    settings: Settings,
    tools: Tools,
}

// === impl Reporter ===

impl Reporter {
    /// Begins with what is due. Must be called inside a tokio runtime.
    #[must_use]
    pub fn start(settings: Settings, tools: Tools) -> Self {
        let sender = Sender { settings, tools };
        let task = tokio::spawn(async move {
            let spread_ms = getrandom::u64().unwrap_or(0) % SPREAD_MS;
            loop {
                sender.report_before(now_ms().saturating_sub(spread_ms)).await;
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { task: task.abort_handle() }
    }

    /// Sends no more.
    pub fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.stop();
    }
}

// === impl Metrics ===

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// When the registry already has counters of these names.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let reports = IntCounterVec::new(
            Opts::new("gatepost_tls_reports_total", "Reports on TLS to other domains, by what came of them."),
            &["result"],
        )?;
        registry.register(Box::new(reports.clone()))?;
        Ok(Self {
            queued: reports.with_label_values(&["queued"]),
            unwanted: reports.with_label_values(&["unwanted"]),
            unsupported: reports.with_label_values(&["unsupported"]),
            failed: reports.with_label_values(&["failed"]),
        })
    }
}

// === impl Sender ===

impl Sender {
    /// What could not be reported now stays for the next time.
    async fn report_before(&self, now_ms: u64) {
        let ledger = &self.tools.ledger;
        for (day, domain) in ledger.due(now_ms) {
            if self.report(day, &domain, ledger.tallies(day, &domain)).await {
                ledger.forget(day, &domain);
            }
        }
    }

    /// Whether that is all that can be done.
    async fn report(&self, day: u64, domain: &str, tallies: Vec<Tally>) -> bool {
        let metrics = &self.tools.metrics;
        let texts = match self.tools.resolver.texts(&format!("_smtp._tls.{domain}")).await {
            Ok(texts) => texts,
            Err(Unresolved::NoSuchName) => Vec::new(),
            Err(Unresolved::NoAnswer | Unresolved::Bogus) => return false,
        };
        let Some(wanted) = record::wanted(&texts) else {
            metrics.unwanted.inc();
            return true;
        };
        if wanted.mailboxes.is_empty() {
            debug!(domain, "a domain wants reports on TLS, but not by mail: it gets none");
            metrics.unsupported.inc();
            return true;
        }
        match self.queue(day, domain, tallies, wanted.mailboxes).await {
            Ok(id) => {
                metrics.queued.inc();
                info!(queue_id = %id, domain, others = wanted.others, "a report on TLS was queued");
                true
            }
            Err(error) => {
                metrics.failed.inc();
                warn!(domain, %error, "a report on TLS is not queued; it is tried again");
                false
            }
        }
    }

    async fn queue(
        &self,
        day: u64,
        domain: &str,
        tallies: Vec<Tally>,
        to: Vec<Mailbox>,
    ) -> Result<QueueId, NotQueued> {
        let hostname = &self.settings.hostname;
        let (id, now) = (self.tools.queue.allocate_id(), now_ms());
        let mail_id = id.to_string();
        let (body, signature) = self.make(day, domain, tallies, &to, &mail_id).await?;
        let mut trace = trace::made_here(hostname, id, now);
        trace.extend_from_slice(signature.as_bytes());
        let recipients = to.into_iter().map(|to| {
            // What becomes of a report is nobody's concern.
            let params = RcptParams { notify: Some(Notify::Never), orcpt: None };
            Recipient { path: ForwardPath::Mailbox(to), params }
        });
        let envelope = Envelope {
            reverse_path: ReversePath::Mailbox(self.settings.from.clone()),
            params: MailParams::default(),
            recipients: recipients.collect(),
        };
        let origin = Origin::here(mail_id, LISTENER, hostname, now);
        let submission = Submission::new(envelope, origin);
        Ok(self.tools.queue.append(NewMessage { id, submission, trace, body, stamp: None }).await?)
    }

    /// The mail and its signatures: a receiver may count nothing that is not signed (RFC 8460 section 3). Packing and
    /// signing take their time.
    async fn make(
        &self,
        day: u64,
        domain: &str,
        tallies: Vec<Tally>,
        to: &[Mailbox],
        mail_id: &str,
    ) -> Result<(Body, String), JoinError> {
        let (settings, signers) = (self.settings.clone(), (self.tools.signers)());
        let (domain, to, mail_id, now) = (domain.to_owned(), to.to_vec(), mail_id.to_owned(), now_ms());
        let made = spawn_blocking(move || {
            let Settings { hostname, organization, from } = &settings;
            let (tallies, mail_id) = (tallies.as_slice(), mail_id.as_str());
            let report = Report { domain: &domain, day, tallies, hostname, organization, from, mail_id };
            let body = Body::Memory(report.mail(&to, now).into());
            let signature = signers.sign(&body, |_| true, now / 1000).unwrap_or_else(|error| {
                warn!(%error, "a report on TLS goes without a signature");
                String::new()
            });
            (body, signature)
        });
        made.await
    }
}

impl fmt::Debug for Tools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tools").field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

/// RFC 8460 section 4.1 asks for reports at different times, so that not all come at midnight.
const SPREAD_MS: u64 = 4 * 60 * 60 * 1000;
/// Between two looks at the clock, and before a name server is asked again.
const PAUSE: Duration = Duration::from_secs(10 * 60);
/// Where other mail has the name of the listener that it came by.
const LISTENER: &str = "tls-reports";

#[cfg(test)]
mod tests;
