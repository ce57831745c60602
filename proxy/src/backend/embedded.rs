//! The default backend: Gatepost itself. Directory, intake, scan and queue of `gatepost_core`, in this order. On listeners
//! with `backend = "relay"` it takes mail for the server behind as well.

mod session_scan;

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use gatepost_core::BoxFuture;
use gatepost_core::clock::now_ms;
use gatepost_core::delivery::reach::is_public;
use gatepost_core::delivery::{RECEIVED_MAX, Suspects};
use gatepost_core::directory::{Directory, Forwarding, Resolution};
use gatepost_core::dkim::Signers;
use gatepost_core::events::{About, Log, What};
use gatepost_core::filter::{self, HeaderFirewall, Stripped, Trust};
use gatepost_core::forwarding::forward;
use gatepost_core::forwarding::srs::NotOurs;
use gatepost_core::intake::{Body, BodyBuffer, Origin, Submission, binarymime, trace};
use gatepost_core::memory::{Drawn, MemoryBudget};
use gatepost_core::queue::{AppendError, NewMessage, Queue};
use gatepost_core::scan::Scanner;
use gatepost_smtp::server::{BodySink, Envelope, Refusal, Right, Rights};
use gatepost_smtp::wire::params::{BodyKind, MailParams, RcptParams};
use gatepost_smtp::wire::path::{Domain, ForwardPath, Mailbox, ReversePath};

use super::behind::Behind;
use super::received::ReceivedCounter;
use super::{Backend, Discard, Transaction};
use session_scan::Scanned;
pub use session_scan::{SessionScan, SessionScans, SuspectAction};

/// Accepts for local mailboxes, and from their users.
#[derive(Debug)]
pub struct Embedded {
    rooms: Arc<Rooms>,
}

/// How the embedded backend goes about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Our name in `Received:`; a checked domain name.
    pub hostname: String,
    /// How mail for other domains is taken from those with the right; `None`: not at all.
    pub relay: Option<Relay>,
    /// How sessions have mail scanned.
    pub scans: SessionScans,
}

/// Mail for other domains is sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relay {
    /// Whether an address literal may be one of loopback or of a private network.
    pub internal: bool,
}

/// Who does the work.
struct Rooms {
    directory: Directory,
    queue: Queue,
    scanner: Scanner,
    events: Log,
    filter_metrics: Option<filter::Metrics>,
    memory: MemoryBudget,
    signers: ArcSwap<Signers>,
    behind: ArcSwapOption<Behind>,
    suspects: ArcSwapOption<Suspects>,
    settings: ArcSwap<Settings>,
}

/// One mail on its way into the queue.
struct EmbeddedTransaction {
    rooms: Arc<Rooms>,
    origin: Origin,
    rights: Rights,
    /// Set on listeners that stand before another server.
    behind: Option<Arc<Behind>>,
    sender: ReversePath,
    /// Of the recipients.
    drawn: Drawn,
    /// Whose targets are drawn already: named again, they add no recipients.
    aliases: Vec<Arc<Forwarding>>,
    body: Option<Incoming>,
    /// The sink before there is a body.
    nowhere: Discard,
}

/// From `prepare` on.
struct Incoming {
    envelope: Envelope,
    firewall: HeaderFirewall,
    buffer: BodyBuffer,
    received: ReceivedCounter,
    /// Why the body cannot be kept: told by `commit`.
    failure: Option<Refusal>,
}

// === impl Embedded ===

impl Embedded {
    /// Of the rooms that do the work; bodies draw on `memory` while they come in. Nothing is signed before `sign_with`.
    #[must_use]
    pub fn new(
        directory: Directory,
        queue: Queue,
        scanner: Scanner,
        events: Log,
        filter_metrics: Option<filter::Metrics>,
        memory: MemoryBudget,
        settings: Settings,
    ) -> Self {
        let (signers, settings) = (ArcSwap::default(), ArcSwap::from_pointee(settings));
        Self {
            rooms: Arc::new(Rooms {
                directory,
                queue,
                scanner,
                events,
                filter_metrics,
                memory,
                signers,
                behind: ArcSwapOption::empty(),
                suspects: ArcSwapOption::empty(),
                settings,
            }),
        }
    }

    /// Takes new settings on; they hold for commits from now on.
    pub fn reload(&self, settings: Settings) {
        self.rooms.settings.store(Arc::new(settings));
    }

    /// What mail is signed with now.
    #[must_use]
    pub fn signers(&self) -> Arc<Signers> {
        self.rooms.signers.load_full()
    }

    /// Signs what users send with these, for commits from now on.
    pub fn sign_with(&self, signers: Signers) {
        self.rooms.signers.store(Arc::new(signers));
    }

    /// Where sessions put infected mail that they do not refuse; before, there is no place for it.
    pub fn keep_suspects_in(&self, suspects: Suspects) {
        self.rooms.suspects.store(Some(Arc::new(suspects)));
    }

    /// Takes mail for a server behind as well, in sessions of its listeners and for transactions from now on.
    pub fn stand_before(&self, behind: Option<Behind>) {
        self.rooms.behind.store(behind.map(Arc::new));
    }
}

impl Backend for Embedded {
    fn begin<'a>(
        &'a self,
        origin: Origin,
        rights: Rights,
        reverse_path: &'a ReversePath,
        _params: &'a MailParams,
    ) -> BoxFuture<'a, Result<Box<dyn Transaction>, Refusal>> {
        Box::pin(async move {
            let rooms = Arc::clone(&self.rooms);
            let behind = rooms.behind.load_full().filter(|it| it.listeners.contains(&origin.listener));
            if !rooms.may_send(&origin, rights, reverse_path, behind.as_deref()) {
                return Err(Refusal::SenderNotOwned);
            }
            // Before the body comes, which would be for nothing.
            if rooms.queue.was_full() {
                return Err(Refusal::StorageFull);
            }
            let drawn = rooms.memory.clone().draw();
            let transaction = EmbeddedTransaction {
                rooms,
                origin,
                rights,
                behind,
                sender: reverse_path.clone(),
                drawn,
                aliases: Vec::new(),
                body: None,
                nowhere: Discard,
            };
            Ok(Box::new(transaction) as Box<dyn Transaction>)
        })
    }
}

// === impl EmbeddedTransaction ===

impl Transaction for EmbeddedTransaction {
    fn recipient<'a>(
        &'a mut self,
        path: &'a ForwardPath,
        _params: &'a RcptParams,
    ) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(async move {
            let mut alias = None;
            if let Some(behind) = self.behind.as_ref().filter(|behind| behind.has(path)) {
                behind.admit(&self.sender, path).await?;
            } else {
                match self.rooms.directory.resolve(path) {
                    Resolution::Local(_) => {}
                    Resolution::Forwarded(forwarding) => alias = Some(forwarding),
                    Resolution::Rewritten { bounces_only: true, .. } if self.sender != ReversePath::Null => {
                        return Err(Refusal::UnknownRecipient);
                    }
                    Resolution::Rewritten { leads_to, .. } => {
                        alias = Some(leads_to.map_err(refused_bounce)?);
                    }
                    Resolution::UnknownLocal => return Err(Refusal::UnknownRecipient),
                    Resolution::Foreign
                        if self.rights.contains(Right::AcceptAnyRecipient) && self.leads_out(path) =>
                    {
                        return Ok(());
                    }
                    Resolution::Foreign => return Err(Refusal::RelayDenied),
                }
            }
            self.admit(path, alias)
        })
    }

    fn prepare(&mut self, envelope: Envelope) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move {
            self.origin.received_at_ms = now_ms();
            self.body = Some(Incoming {
                envelope,
                firewall: self.rooms.firewall(trust(self.rights)),
                buffer: BodyBuffer::new(self.rooms.queue.spool(), self.rooms.memory.clone()),
                received: ReceivedCounter::default(),
                failure: None,
            });
            Ok(())
        })
    }

    fn sink(&mut self) -> &mut dyn BodySink {
        match self.body.as_mut() {
            Some(incoming) => incoming,
            None => &mut self.nowhere,
        }
    }

    fn wants_settling(&self) -> bool {
        self.body.as_ref().is_some_and(|incoming| incoming.buffer.wants_settling())
    }

    fn settle(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some(incoming) = self.body.as_mut() {
                incoming.settle().await;
            }
        })
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<String, Refusal>> {
        Box::pin(async move {
            // The recipients are held until the queue has them.
            let Self { rooms, origin, rights, behind, drawn: _drawn, body, .. } = *self;
            let incoming = body.ok_or(Refusal::LocalError)?;
            rooms.take_over(origin, trust(rights), behind.as_deref(), incoming).await
        })
    }
}

impl EmbeddedTransaction {
    /// Draws what a recipient and the targets of its alias take in the queue: all of it or nothing.
    ///
    /// An alias may be written to by everybody who may write to users here: who gets its mail is the administrator's choice.
    fn admit(&mut self, path: &ForwardPath, alias: Option<Arc<Forwarding>>) -> Result<(), Refusal> {
        let alias = alias.filter(|alias| !self.aliases.contains(alias));
        let targets = alias.as_ref().map_or(&[][..], |alias| &alias.targets);
        let user = self.origin.user.as_deref();
        let mut octets = RECIPIENT_OCTETS;
        for target in targets {
            let path = ForwardPath::Mailbox(target.clone());
            if !self.leads_out(&path) {
                tracing::warn!(?target, "an alias leads to another server, and no mail leaves this one");
                return Err(Refusal::RelayDenied);
            }
            if !self.rooms.queue.admits(user, &path) {
                return Err(Refusal::StorageFull);
            }
            octets = octets.saturating_add(RECIPIENT_OCTETS);
        }
        if !self.rooms.queue.admits(user, path) || !self.drawn.try_grow(octets, 0) {
            return Err(Refusal::StorageFull);
        }
        self.aliases.extend(alias);
        Ok(())
    }

    /// Whether mail for this address could leave this server.
    fn leads_out(&self, path: &ForwardPath) -> bool {
        let Some(relay) = self.rooms.settings.load().relay else { return false };
        match path {
            ForwardPath::Postmaster => false,
            ForwardPath::Mailbox(mailbox) => match mailbox.domain() {
                Domain::Address(address) => relay.internal || is_public(*address),
                Domain::Name(_) => true,
            },
        }
    }
}

// === impl Incoming ===

impl Incoming {
    async fn settle(&mut self) {
        if self.failure.is_none()
            && let Err(error) = self.buffer.settle().await
        {
            self.failure = Some(refusal(error));
        }
    }

    /// The whole body, durable where it is large.
    async fn finish(mut self) -> Result<(Envelope, Body, Stripped), Refusal> {
        let stripped = self.firewall.finish(&mut |octets| self.buffer.put(octets));
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        if self.received.count() > RECEIVED_MAX {
            return Err(Refusal::RoutingLoop);
        }
        // Where the section is too large, what stood in the rest of it was not looked at.
        let stripped = stripped.map_err(|_| Refusal::ContentRejected)?;
        let body = self.buffer.finish().await.map_err(refusal)?;
        Ok((self.envelope, body, stripped))
    }
}

impl BodySink for Incoming {
    fn put(&mut self, octets: &[u8]) {
        // What cannot be kept must not fill the memory either.
        if self.failure.is_some() {
            return;
        }
        // In front of the firewall, which may take out what a loop is known by.
        self.received.look(octets);
        self.firewall.put(octets, &mut |octets| self.buffer.put(octets));
    }
}

// === impl Rooms ===

impl Rooms {
    /// A user sends as himself; others as whom their class may send as.
    fn may_send(
        &self,
        origin: &Origin,
        rights: Rights,
        reverse_path: &ReversePath,
        behind: Option<&Behind>,
    ) -> bool {
        let is_own = |user: &String| self.directory.may_send_as(user, reverse_path);
        if origin.user.as_ref().is_some_and(is_own) {
            return true;
        }
        let is_local = match reverse_path {
            ReversePath::Null => false,
            ReversePath::Mailbox(mailbox) => {
                let path = ForwardPath::Mailbox(mailbox.clone());
                behind.is_some_and(|behind| behind.has(&path))
                    || self.directory.resolve(&path) != Resolution::Foreign
            }
        };
        rights.contains(Right::AcceptAnySender)
            && (!is_local || rights.contains(Right::AcceptAuthoritativeDomainSender))
    }

    async fn take_over(
        &self,
        origin: Origin,
        trust: Trust,
        behind: Option<&Behind>,
        incoming: Incoming,
    ) -> Result<String, Refusal> {
        let (mut envelope, mut body, stripped) = incoming.finish().await?;
        if envelope.params.body == BodyKind::BinaryMime {
            body = self.reencode(body, trust).await?;
            envelope.params.body = BodyKind::EightBitMime;
        }
        let settings = self.settings.load_full();
        let id = self.queue.allocate_id();
        let (stamp, evidence) = match self.scan(id, &body, &origin, &settings.scans).await? {
            Scanned::Vouched(stamp) => (Some(stamp), None),
            Scanned::Unvouched => (None, None),
            Scanned::Suspect(evidence) => (None, Some(evidence)),
        };
        let about = About { queue_id: Some(id.to_string()), ..About::from(&origin) };
        let submission = Submission::new(envelope, origin);
        let mut trace = trace::received(&settings.hostname, id, &submission);
        trace.extend_from_slice(self.sign(&body, &submission.origin).await.as_bytes());
        let lives_behind = |path: &ForwardPath| behind.is_some_and(|behind| behind.has(path));
        let submission = forward(&self.directory, submission, lives_behind);
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

    fn firewall(&self, trust: Trust) -> HeaderFirewall {
        HeaderFirewall::new(self.settings.load().hostname.as_str().into(), trust)
    }

    fn tell_stripped(&self, about: About, stripped: &Stripped) {
        if stripped.is_empty() {
            return;
        }
        if let Some(metrics) = &self.filter_metrics {
            metrics.count(stripped);
        }
        let (session, queue_id) = (about.session.as_deref(), about.queue_id.as_deref());
        let fields = stripped.to_string();
        tracing::info!(session, queue_id, fields, "trust headers were removed");
        self.events.record(about, What::Stripped { fields });
    }
}

impl std::fmt::Debug for Rooms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rooms").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn trust(rights: Rights) -> Trust {
    Trust {
        organization: rights.contains(Right::AcceptHeadersOrganization),
        forest: rights.contains(Right::AcceptHeadersForest),
        routing: rights.contains(Right::AcceptHeadersRouting),
    }
}

/// Who tries to send by way of us is refused as one who relays; what was ours once is no mailbox any more.
const fn refused_bounce(why: NotOurs) -> Refusal {
    match why {
        NotOurs::Forged => Refusal::RelayDenied,
        NotOurs::Expired => Refusal::UnknownRecipient,
    }
}

const fn refusal(error: AppendError) -> Refusal {
    match error {
        AppendError::Full | AppendError::OverQuota => Refusal::StorageFull,
        AppendError::Failed | AppendError::Closed => Refusal::StorageFailed,
    }
}

/// A path of the greatest length (RFC 5321 section 4.5.3.1.3) with its parameters.
const RECIPIENT_OCTETS: u64 = 512;

#[cfg(test)]
mod tests;
