//! Makes the mail that a notification is.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use gatepost_smtp::server::{Envelope, Recipient};
use gatepost_smtp::wire::params::{BodyKind, MailParams, Notify, RcptParams};
use gatepost_smtp::wire::path::{ForwardPath, ReversePath};

use super::render::Notification;
use super::report::Told;
use super::returned::{HEADERS_OCTETS_MAX, Returned};
use crate::disk::IoPool;
use crate::intake::{Body, Origin, Submission, trace};
use crate::queue::{NewMessage, QueueId};

/// Makes notifications. Cheap to clone.
#[derive(Clone)]
pub(in crate::delivery) struct Notifier {
    /// Reads the headers of large mails back.
    readers: IoPool,
    /// Makes boundaries that nobody can guess.
    boundary_key: [u8; 32],
}

/// What a notification is about.
#[derive(Debug)]
pub(in crate::delivery) struct Subject {
    pub(in crate::delivery) message: Arc<NewMessage>,
    /// At least one.
    pub(in crate::delivery) told: Vec<Told>,
    /// Whether all of it comes back: its sender wants that, and a scan has vouched for it now.
    pub(in crate::delivery) whole: bool,
    /// Until when delayed recipients are tried, milliseconds since 1970.
    pub(in crate::delivery) expires_at_ms: u64,
}

// === impl Notifier ===

impl Notifier {
    /// # Errors
    /// The operating system refuses a thread or randomness.
    pub(in crate::delivery) fn start() -> io::Result<Self> {
        let mut boundary_key = [0; 32];
        getrandom::fill(&mut boundary_key).map_err(|_| io::ErrorKind::Unsupported)?;
        Ok(Self { readers: IoPool::start("gatepost-notify", READERS)?, boundary_key })
    }

    /// The notification, ready for the queue. `None` where there is nobody to notify.
    pub(in crate::delivery) async fn make(
        &self,
        id: QueueId,
        hostname: &str,
        now_ms: u64,
        subject: Subject,
    ) -> Option<NewMessage> {
        let ReversePath::Mailbox(sender) = subject.message.submission.envelope.reverse_path.clone() else {
            return None;
        };
        let returned = self.read_back(&subject).await;
        let notification = Notification {
            id,
            message: &subject.message,
            told: &subject.told,
            returned: &returned,
            hostname,
            now_ms,
            expires_at_ms: subject.expires_at_ms,
            boundary: &self.boundary(id),
        };
        let body = notification.render();
        let is_eight_bit = !body.is_ascii();
        let params = MailParams {
            body: if is_eight_bit { BodyKind::EightBitMime } else { BodyKind::SevenBit },
            smtputf8: notification.is_global(),
            // It has the headers of the mail: these are to be protected as the mail itself (RFC 8689 section 5).
            requiretls: subject.message.submission.envelope.params.requiretls,
            ..MailParams::default()
        };
        let path = ForwardPath::Mailbox(sender);
        // RFC 3461 section 6.1: nobody is to be notified of a notification.
        let recipient = Recipient { path, params: RcptParams { notify: Some(Notify::Never), orcpt: None } };
        let envelope = Envelope { reverse_path: ReversePath::Null, params, recipients: vec![recipient] };
        // In the events it belongs to the session in which the mail came.
        let session = subject.message.submission.origin.session.clone();
        let origin = Origin::here(session, LISTENER, hostname, now_ms);
        let submission = Submission::new(envelope, origin);
        let trace = trace::made_here(hostname, id, now_ms);
        Some(NewMessage { id, submission, trace, body: Body::Memory(body.into()), stamp: None })
    }

    /// The beginning of the mail as it came in: its header section, or the beginning of that, and maybe more. A body in
    /// memory is not copied, since this is asked for every delivery into a mailbox.
    ///
    /// # Errors
    /// The mail cannot be read.
    pub(in crate::delivery) async fn beginning(&self, message: &Arc<NewMessage>) -> io::Result<Bytes> {
        match &message.body {
            Body::Memory(octets) => Ok(octets.slice(..octets.len().min(HEADERS_OCTETS_MAX))),
            body @ Body::File(_) => {
                let body = body.clone();
                let returned = self.readers.run(move || Returned::read(&[], &body, false)).await??;
                Ok(returned.into_octets().into())
            }
        }
    }

    /// A mail that cannot be read any more is reported without its content: somebody must hear of it.
    async fn read_back(&self, subject: &Subject) -> Returned {
        let message = Arc::clone(&subject.message);
        let whole = subject.whole;
        let read = move || Returned::read(&message.trace, &message.body, whole);
        let read = match &subject.message.body {
            Body::Memory(_) => read(),
            Body::File(_) => self.readers.run(read).await.and_then(|read| read),
        };
        read.unwrap_or_else(|error| {
            tracing::warn!(queue_id = %subject.message.id, %error, "a notification goes without the mail's headers");
            Returned::trace_alone(&subject.message.trace)
        })
    }

    fn boundary(&self, id: QueueId) -> String {
        format!("=_{}", blake3::keyed_hash(&self.boundary_key, &id.0.to_le_bytes()).to_hex())
    }
}

/// Few notifications are about mail that is in files.
const READERS: usize = 1;
/// Where other mail has the name of the listener that it came by.
const LISTENER: &str = "delivery";
