//! A whole mail on its way into the queue: scanned, signed, with its trace.

use gatepost_core::clock::now_ms;
use gatepost_core::events::About;
use gatepost_core::filter::Trust;
use gatepost_core::forwarding::forward;
use gatepost_core::intake::{Body, BodyBuffer, Origin, Submission, binarymime, trace};
use gatepost_core::queue::NewMessage;
use gatepost_smtp::server::{BodySink as _, Refusal};
use gatepost_smtp::wire::params::BodyKind;
use gatepost_smtp::wire::path::{Mailbox, ReversePath};

use super::super::keeping::refusal;
use super::Rooms;
use super::incoming::Incoming;
use super::session_scan::Scanned;

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
        let id = self.queue.allocate_id();
        let about = About { queue_id: Some(id.to_string()), ..About::from(&origin) };
        let submission = Submission::new(envelope, origin);
        let (stamp, evidence) = match self.scan(id, &body, &submission, &settings.scans).await? {
            Scanned::Vouched(stamp) => (Some(stamp), None),
            Scanned::Unvouched => (None, None),
            Scanned::Suspect(evidence) => (None, Some(evidence)),
        };
        let mut trace = trace::received(&settings.hostname, id, &submission);
        trace.extend_from_slice(self.sign(&body, &submission.origin).await.as_bytes());
        let submission =
            forward(&self.directory, submission, settings.relay.is_some(), |path| self.lives_behind(path));
        let message = NewMessage { id, submission, trace, body, stamp };
        match evidence {
            None => {
                self.queue.append(message).await.map_err(refusal)?;
            }
            Some(evidence) => self.keep(message, evidence).await?,
        }
        self.tell_stripped(about, &stripped);
        Ok(id.to_string())
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
