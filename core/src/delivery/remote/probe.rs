//! Asks a next hop whether it knows a recipient.

use std::time::Duration;

use gatepost_smtp::client::Outcome;
use gatepost_smtp::wire::path::ForwardPath;
use gatepost_smtp::wire::reply_parse::ServerReply;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::super::route::Way;
use super::Remote;
use super::tls_wish::TlsWish;

/// What is known of a recipient.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Probe {
    /// The next hop would take his mail.
    Known {
        /// Also from addresses outside of ASCII (RFC 6531).
        takes_utf8: bool,
    },
    /// It has refused him for good.
    Unknown,
    /// His address is outside of ASCII, and it takes none that is.
    NoUtf8,
    /// Nobody can tell now.
    Unavailable,
}

// === impl Remote ===

impl Remote {
    /// Asks one hop after the other of the recipient's destination, until one has said something of him. Takes 30 seconds
    /// at the most.
    pub async fn probe(&self, path: &ForwardPath) -> Probe {
        let probe = match timeout(PROBE_TIME, self.ask_hops(path)).await {
            Ok(probe) => probe,
            Err(_) => {
                warn!(recipient = ?path.to_string(), "no next hop has told in time whether it knows a recipient");
                Probe::Unavailable
            }
        };
        self.inner.tools.metrics.count_probe(probe);
        probe
    }

    async fn ask_hops(&self, path: &ForwardPath) -> Probe {
        let settings = self.inner.settings.load_full();
        let Some(Way { destination, .. }) = settings.routes.way(path) else { return Probe::Unknown };
        let targets = match self.inner.finder(&settings, TlsWish::None).targets(&destination).await {
            Ok(targets) => targets,
            Err(why) => {
                warn!(%destination, %why, "no next hop can be asked for a recipient");
                return Probe::Unavailable;
            }
        };
        for target in &targets {
            let asked = async {
                let connection = self.inner.tools.courier.connect(target).await?;
                let takes_utf8 = connection.capabilities().smtputf8;
                Ok((connection.verify(path.clone()).await, takes_utf8))
            };
            let (outcome, takes_utf8) = match timeout(HOP_TIME, asked).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(failure)) => {
                    let failure: super::super::hop::HopFailure = failure;
                    warn!(hop = target.name(), %failure, "a next hop cannot be asked for a recipient");
                    self.inner.hops.failed(target.address());
                    continue;
                }
                Err(_) => {
                    warn!(
                        hop = target.name(),
                        "a next hop does not tell in time whether it knows a recipient"
                    );
                    self.inner.hops.failed(target.address());
                    continue;
                }
            };
            debug!(hop = target.name(), recipient = ?path.to_string(), ?outcome, "asked for a recipient");
            match outcome {
                Outcome::Accepted(_) => return Probe::Known { takes_utf8 },
                Outcome::Permanent(reply) if is_of_recipient(&reply) => return Probe::Unknown,
                Outcome::Unsuited(_) => return Probe::NoUtf8,
                Outcome::Permanent(reply) => {
                    warn!(hop = target.name(), %reply, "a next hop refuses for a reason that is not the recipient's");
                    return Probe::Unavailable;
                }
                // It is there, and will say more another time.
                Outcome::Temporary(_) => return Probe::Unavailable,
                Outcome::Lost(failure) => {
                    warn!(hop = target.name(), %failure, "a next hop cannot be asked for a recipient");
                    self.inner.hops.failed(target.address());
                }
            }
        }
        Probe::Unavailable
    }
}

/// Whether a refusal is about the recipient: one of our rights there (5.7), of the protocol (5.5) or of the server as such (5.3)
/// would be the same for everybody, and must not turn all mail away for good.
fn is_of_recipient(reply: &ServerReply) -> bool {
    let is_other = |status: &str| OTHER_SUBJECTS.iter().any(|subject| status.starts_with(subject));
    MAILBOX_REFUSALS.contains(&reply.code()) && !reply.enhanced().is_some_and(is_other)
}

const OTHER_SUBJECTS: [&str; 3] = ["5.3.", "5.5.", "5.7."];
/// RFC 5321 section 4.2.2, and 554 as many servers say it.
const MAILBOX_REFUSALS: [u16; 4] = [550, 551, 553, 554];
/// Far below the two minutes that a session waits for an answer.
const PROBE_TIME: Duration = Duration::from_secs(30);
/// So that one hop that hangs leaves time for others.
const HOP_TIME: Duration = Duration::from_secs(10);
