//! A whole mail on its way into the queue: scanned, signed, with its trace.

use std::time::Duration;

use gatepost_core::clock::now_ms;
use gatepost_core::events::{About, What};
use gatepost_core::filter::Trust;
use gatepost_core::forwarding::forward;
use gatepost_core::intake::{Body, BodyBuffer, Origin, Submission, binarymime, trace};
use gatepost_core::queue::NewMessage;
use gatepost_core::scan::{Priority, Stamp, Verdict};
use gatepost_smtp::server::{BodySink as _, Refusal};
use gatepost_smtp::wire::params::BodyKind;
use gatepost_smtp::wire::path::{Mailbox, ReversePath};

use super::incoming::Incoming;
use super::{Rooms, refusal};

// === impl Rooms ===

impl Rooms {
    pub(super) async fn take_over(
        &self,
        origin: Origin,
        trust: Trust,
        incoming: Incoming,
    ) -> Result<String, Refusal> {
        let (mut envelope, mut body, stripped) = incoming.finish().await?;
        if envelope.params.body == BodyKind::BinaryMime {
            body = self.reencode(body, trust).await?;
            envelope.params.body = BodyKind::EightBitMime;
        }
        let settings = self.settings.load_full();
        let stamp = match settings.scan_time_max {
            Some(time_max) => self.scan(&body, &origin, time_max).await?,
            None => None,
        };
        let id = self.queue.allocate_id();
        let about = About { queue_id: Some(id.to_string()), ..About::from(&origin) };
        let submission = Submission::new(envelope, origin);
        let mut trace = trace::received(&settings.hostname, id, &submission);
        trace.extend_from_slice(self.sign(&body, &submission.origin).await.as_bytes());
        let submission =
            forward(&self.directory, submission, settings.relay.is_some(), |path| self.lives_behind(path));
        let message = NewMessage { id, submission, trace, body, stamp };
        let queue_id = self.queue.append(message).await.map_err(refusal)?;
        self.tell_stripped(about, &stripped);
        Ok(queue_id.to_string())
    }

    /// The stamp, or `None` where there is no verdict in time: the queue scans it before anybody reads it.
    async fn scan(&self, body: &Body, origin: &Origin, time_max: Duration) -> Result<Option<Stamp>, Refusal> {
        let report = self.scanner.scan(body.clone(), Priority::High, time_max).await;
        let (session, user) = (&origin.session, origin.user.as_deref());
        if report.verdict != Verdict::Clean {
            let verdict = report.verdict.to_string();
            self.events.record(About::from(origin), What::Scanned { verdict });
        }
        match report.verdict {
            Verdict::Clean => Ok(Some(report.stamp)),
            Verdict::Infected { threat } if !self.settings.load().refuse_infected => {
                tracing::info!(session, user, threat, "an infected mail is left to the queue");
                Ok(None)
            }
            Verdict::Infected { threat } => {
                tracing::info!(session, user, peer = %origin.peer, threat, "an infected mail was refused");
                Err(Refusal::Infected)
            }
            Verdict::Unscannable { reason } => {
                tracing::info!(session, user, peer = %origin.peer, %reason, "a mail that cannot be scanned was refused");
                Err(Refusal::ContentRejected)
            }
            verdict @ (Verdict::TimedOut | Verdict::Failed) => {
                tracing::warn!(session, %verdict, "no scan in the session: the queue scans this mail");
                Ok(None)
            }
        }
    }

    /// DKIM signatures of what a user sends as himself. Here, since nothing below changes the mail any more, and so that each
    /// next hop gets the same octets however often it is tried. Without one the mail goes all the same.
    async fn sign(&self, body: &Body, origin: &Origin) -> String {
        let signers = self.signers.load_full();
        let Some(user) = origin.user.clone().filter(|_| !signers.is_empty()) else { return String::new() };
        let (body, directory) = (body.clone(), self.directory.clone());
        let signed = tokio::task::spawn_blocking(move || {
            let is_own =
                |author: &Mailbox| directory.may_send_as(&user, &ReversePath::Mailbox(author.clone()));
            signers.sign(&body, is_own, now_ms().wrapping_div(1000))
        });
        let error = match signed.await {
            Ok(Ok(lines)) => return lines,
            Ok(Err(error)) => error,
            Err(error) => error.into(),
        };
        tracing::warn!(session = origin.session, %error, "a mail goes without a signature");
        String::new()
    }

    /// To lines that are legal as 8BITMIME, so that store, POP3 and next hops see nothing else. Only where BINARYMIME is
    /// switched on.
    ///
    /// Its lines are other ones than those that came in, so they go through a firewall of their own.
    async fn reencode(&self, body: Body, trust: Trust) -> Result<Body, Refusal> {
        let octets = tokio::task::spawn_blocking(move || {
            let octets = body.read().map_err(|_| Refusal::StorageFailed)?;
            binarymime::reencode(&octets).map_err(|_| Refusal::ContentRejected)
        });
        let octets = octets.await.map_err(|_| Refusal::LocalError)??;
        let mut buffer = BodyBuffer::new(self.queue.spool(), self.memory.clone());
        let mut firewall = self.firewall(trust);
        for piece in octets.chunks(crate::connection::BUFFER_OCTETS) {
            firewall.put(piece, &mut |octets| buffer.put(octets));
            buffer.settle().await.map_err(refusal)?;
        }
        firewall.finish(&mut |octets| buffer.put(octets)).map_err(|_| Refusal::ContentRejected)?;
        buffer.finish().await.map_err(refusal)
    }
}
