//! One connection, from accept to close.
//!
//! ```text
//! serve -> [handshake] -> drive: read -> machine -> replies -> write -> wait
//!                           | Upgrade: the plaintext stream is consumed by the handshake
//!                           | Close
//!                         farewell
//! ```

pub(crate) mod buffer;
mod classes;
mod data_rate;
mod drive;
pub mod ending;
mod login;
mod machine;
pub(crate) mod mailbox_lock;
mod notices;
mod on_behalf;
mod passing;
mod pop3;
mod quirks;
mod relayed;
mod seldom;
mod smtp;
mod transmit;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use gatepost_core::access::pop3 as pop3_protocol;
use gatepost_core::events::{About, What};
use gatepost_smtp::server::{Config, TlsFacts, TlsMode};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::admission::guest::Guest;
use crate::admission::networks::NetworkSet;
use crate::admission::stranger::StrangerChecks;
use crate::metrics::ListenerMetrics;
use crate::server::Services;
use crate::session_id::SessionId;
use crate::tls::{ClientCertificates, Proof, Secured};
pub(crate) use buffer::BUFFER_OCTETS;
use buffer::Pool;
pub use classes::PeerClasses;
pub(crate) use drive::now;
use drive::{Driver, Stop};
pub use ending::Ending;
use machine::Machine;
use mailbox_lock::MailboxLocks;
use pop3::Pop3Machine;
pub use quirks::PeerQuirks;
use seldom::Seldom;
use smtp::SmtpMachine;

/// How far the server has come with going down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not at all.
    Serve,
    /// Sessions are to finish what they are doing.
    Drain,
    /// Sessions end now.
    Cut,
}

/// What all connections of a listener share.
#[derive(Debug)]
pub(crate) struct Context {
    /// The listener's name.
    pub(crate) listener: String,
    /// How TLS begins.
    pub(crate) tls: TlsMode,
    /// Of whose connections a PROXY header is required.
    pub(crate) balancers: NetworkSet,
    /// Relays that may say on whose behalf they speak.
    pub(crate) relays: NetworkSet,
    /// Who is more than a stranger.
    pub(crate) classes: PeerClasses,
    /// Who may prove himself by a certificate; `None`: nobody is asked for one.
    pub(crate) clients: Option<ClientCertificates>,
    /// Which deviations an address is allowed.
    pub(crate) quirks: PeerQuirks,
    /// What strangers have to wait for.
    pub(crate) stranger_checks: StrangerChecks,
    /// What is spoken.
    pub(crate) dialect: Dialect,
    /// Who answers.
    pub(crate) services: Services,
    /// Counters of this listener.
    pub(crate) metrics: ListenerMetrics,
    /// Read buffers.
    pub(crate) pool: Pool,
    /// Which mailboxes are open.
    pub(crate) locks: MailboxLocks,
}

/// What a listener speaks.
#[derive(Debug, Clone)]
pub(crate) enum Dialect {
    /// RFC 5321.
    Smtp(Arc<Config>),
    /// RFC 1939.
    Pop3(Arc<pop3_protocol::Config>),
}

/// Small, since few need it.
pub(crate) type Destination = Option<Box<SocketAddr>>;

/// Who is connected, and to what.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// The session's name.
    pub(crate) session: SessionId,
    /// The peer's address.
    pub(crate) address: SocketAddr,
    /// Our own, where it has come in and somebody is told of it.
    pub(crate) destination: Destination,
    /// Where it came in.
    pub(crate) context: Arc<Context>,
    /// What it may do how often.
    pub(crate) guest: Arc<Guest>,
}

/// What a connection has cost, and who is to know that it gets somewhere.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    octets_in: u64,
    octets_out: u64,
    mails: u64,
    guest: Option<Arc<Guest>>,
}

// === impl Peer ===

impl Peer {
    /// Puts something about this session into the event log.
    fn record(&self, what: What) {
        self.record_mail(None, what);
    }

    /// Puts something about a mail of this session into the event log.
    fn record_mail(&self, queue_id: Option<String>, what: What) {
        let about = About {
            session: Some(self.session.to_string()),
            queue_id,
            listener: Some(self.context.listener.clone()),
            peer: Some(self.address),
        };
        self.context.services.events.record(about, what);
    }
}

/// Serves one connection to its end, from one address to another.
pub(crate) async fn serve<S>(
    stream: S,
    (address, destination): (SocketAddr, Destination),
    context: Arc<Context>,
    guest: Guest,
    mut phase: watch::Receiver<Phase>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let peer = Peer { session: SessionId::next(), address, destination, context, guest: Arc::new(guest) };
    let _open = peer.context.metrics.open();
    let started_at = now();
    tracing::debug!(session = %peer.session, listener = peer.context.listener, peer = %address, "connected");
    let mut ledger = Ledger { guest: Some(Arc::clone(&peer.guest)), ..Ledger::default() };
    let cut = phase.clone();
    let ending = {
        let mut interrupted = pin!(interrupted(&peer.guest, cut));
        let mut conducted = pin!(conduct(stream, &peer, &mut ledger, &mut phase));
        let mut seldom = Seldom::new();
        let ending = poll_fn(|context| {
            if let Some(mut occasion) = seldom.occasion(context)
                && let Poll::Ready(ending) = interrupted.as_mut().poll(&mut occasion)
            {
                return Poll::Ready(ending);
            }
            conducted.as_mut().poll(context).map(Some)
        })
        .await;
        match ending {
            Some(ending) => ending,
            None => {
                // The conversation sees it as well, and can say so.
                Box::pin(timeout(LEAVE_TIME_MAX, conducted)).await.unwrap_or(Ending::Displaced)
            }
        }
    };
    close(&peer, &ledger, ending, now().saturating_duration_since(started_at));
}

/// Waits for what ends a session whatever it is doing; `None`: others need its place.
async fn interrupted(guest: &Guest, mut phase: watch::Receiver<Phase>) -> Option<Ending> {
    tokio::select! {
        // An error means that the server itself was dropped.
        _ = phase.wait_for(|phase| *phase == Phase::Cut) => Some(Ending::Cut),
        () = guest.displaced() => None,
    }
}

/// The one line and the counters that every connection ends with.
fn close(peer: &Peer, ledger: &Ledger, ending: Ending, duration: Duration) {
    peer.context.metrics.closed(ending.name(), ledger.octets_in, ledger.octets_out);
    if ending == Ending::Displaced {
        peer.guest.has_left();
    }
    if !ending.is_ordinary() {
        peer.record(What::SessionClosed { reason: ending.name().into() });
    }
    tracing::info!(
        session = %peer.session,
        listener = peer.context.listener,
        peer = %peer.address,
        reason = ending.name(),
        ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        octets_in = ledger.octets_in,
        octets_out = ledger.octets_out,
        mails = ledger.mails,
        "session closed",
    );
}

async fn conduct<S>(stream: S, peer: &Peer, ledger: &mut Ledger, phase: &mut watch::Receiver<Phase>) -> Ending
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    match &peer.context.dialect {
        Dialect::Smtp(config) => {
            let open = |tls| SmtpMachine::open(Arc::clone(config), peer.clone(), tls, now());
            converse(stream, open, peer, ledger, phase).await
        }
        Dialect::Pop3(config) => {
            let open =
                |tls: Option<_>| Pop3Machine::open(Arc::clone(config), peer.clone(), tls.is_some(), now());
            converse(stream, open, peer, ledger, phase).await
        }
    }
}

// === impl Ledger ===

impl Ledger {
    /// Counts what was read. A body gets somewhere without replies.
    fn read(&mut self, octets: u64) {
        let before = self.octets_in / PROGRESS_OCTETS;
        self.octets_in = self.octets_in.saturating_add(octets);
        if self.octets_in / PROGRESS_OCTETS > before {
            self.progress();
        }
    }

    /// The session has got somewhere.
    fn progress(&self) {
        if let Some(guest) = &self.guest {
            guest.progress();
        }
    }

    /// Whether others need the place.
    fn is_displaced(&self) -> bool {
        self.guest.as_ref().is_some_and(|guest| guest.is_displaced())
    }

    /// Whether the peer waits for us.
    fn set_owed(&self, is_owed: bool) {
        if let Some(guest) = &self.guest {
            guest.set_owed(is_owed);
        }
    }
}

/// TLS first, later or never, as the listener says.
async fn converse<S, M>(
    mut stream: S,
    open: impl FnOnce(Option<(TlsFacts, Proof)>) -> M,
    peer: &Peer,
    ledger: &mut Ledger,
    phase: &mut watch::Receiver<Phase>,
) -> Ending
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    M: Machine,
{
    if peer.context.tls == TlsMode::Implicit {
        let Some(Secured { stream, facts, proof }) = shake_hands(stream, peer).await else {
            return Ending::TlsFailed;
        };
        let machine = Box::new(open(Some((facts, proof))));
        return Box::pin(speak(stream, machine, peer, ledger, phase)).await;
    }
    let mut machine = Box::new(open(None));
    let driver = Driver::new(&mut stream, machine.as_mut(), ledger, &peer.context.pool, phase);
    match driver.run().await {
        Stop::Upgrade => {
            let Some(Secured { stream, facts, proof }) = shake_hands(stream, peer).await else {
                return Ending::TlsFailed;
            };
            let machine = Box::new(machine.into_secured(facts, proof, now()));
            Box::pin(speak(stream, machine, peer, ledger, phase)).await
        }
        Stop::Closed(ending) => {
            drop(machine);
            // Inside TLS the peer still has a word to say: that it closes its side.
            if ending.is_quit() {
                transmit::quick_farewell(&mut stream, &peer.context.pool).await;
                return ending;
            }
            part(&mut stream, ending, peer).await
        }
    }
}

/// A conversation that stays on this stream.
async fn speak<S, M>(
    mut stream: S,
    mut machine: Box<M>,
    peer: &Peer,
    ledger: &mut Ledger,
    phase: &mut watch::Receiver<Phase>,
) -> Ending
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    M: Machine,
{
    let driver = Driver::new(&mut stream, machine.as_mut(), ledger, &peer.context.pool, phase);
    let ending = match driver.run().await {
        Stop::Closed(ending) => ending,
        // Inside TLS no machine offers an upgrade.
        Stop::Upgrade => Ending::Stalled,
    };
    // Transactions and locks must not outlive the conversation by the length of the farewell.
    drop(machine);
    part(&mut stream, ending, peer).await
}

async fn part<S>(stream: &mut S, ending: Ending, peer: &Peer) -> Ending
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if ending.deserves_farewell() {
        transmit::farewell(stream, &peer.context.pool).await;
    } else if ending == Ending::Displaced {
        // The place is wanted at once: what was said is sent off, and nobody waits for its arrival.
        let _ = Box::pin(timeout(LEAVE_TIME_MAX, stream.shutdown())).await;
    }
    ending
}

async fn shake_hands<S>(stream: S, peer: &Peer) -> Option<Secured<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let tls = peer.context.services.tls.as_ref()?;
    peer.guest.handshake().ok()?;
    let result = tls.accept(stream, peer.context.clients.as_ref()).await;
    peer.context.metrics.handshake(result.is_ok());
    match result {
        Ok(secured) => {
            peer.guest.progress();
            tracing::debug!(
                session = %peer.session,
                version = secured.facts.version,
                cipher = secured.facts.cipher,
                certificate_of = secured.proof.client.as_ref().map(|client| tracing::field::debug(&client.name)),
                "TLS established",
            );
            Some(secured)
        }
        Err(error) => {
            tracing::debug!(session = %peer.session, %error, "no TLS");
            None
        }
    }
}

/// For the farewell of a session whose place is needed: a write that does not have to wait.
const LEAVE_TIME_MAX: Duration = Duration::from_millis(200);
/// A good part of a body: who dribbles does not get there soon.
const PROGRESS_OCTETS: u64 = 16 * 1024;

#[cfg(test)]
mod tests;
