//! Permit, accept, learn whose connection it is, serve.

pub mod proxy_protocol;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use gatepost_core::events::{About, What, evidence};
use gatepost_smtp::server::TlsMode;
use gatepost_smtp::wire::token::Tokens;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::admission::slots::{Slot, Slots};
use crate::admission::verdict::{Refused, Rule};
use crate::connection::{self, Context, Dialect, Phase};
use crate::session_id::SessionId;
use proxy_protocol::{Header, ReadError};

/// A bound socket whose connections are being served.
#[derive(Debug)]
pub(crate) struct Listener {
    name: String,
    /// As it was asked for: port 0 included.
    configured: SocketAddr,
    bound: SocketAddr,
    service: Arc<ArcSwap<Service>>,
    phase: watch::Sender<Phase>,
}

/// What new connections get; swapped by a reload.
#[derive(Debug)]
pub(crate) struct Service {
    /// What they share.
    pub(crate) context: Arc<Context>,
    /// The places they take.
    pub(crate) slots: Arc<Slots>,
}

/// Held by everything that a drain waits for.
pub(crate) type Alive = mpsc::Sender<()>;

/// A bound socket that does not accept yet: a start or reload that fails later leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Bound {
    socket: TcpListener,
    address: SocketAddr,
}

// === impl Bound ===

impl Bound {
    /// Registers a listening, non-blocking socket with the runtime.
    ///
    /// # Errors
    /// The system is out of resources.
    pub(crate) fn adopt(socket: std::net::TcpListener) -> io::Result<Self> {
        // Replies are whole when they are written; waiting for more would only delay them. Connections inherit it.
        rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
        let socket = TcpListener::from_std(socket)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }
}

// === impl Listener ===

impl Listener {
    /// Starts to accept.
    pub(crate) fn start(configured: SocketAddr, bound: Bound, service: Service, alive: Alive) -> Self {
        let name = service.context.listener.clone();
        let service = Arc::new(ArcSwap::from_pointee(service));
        let (phase, seen) = watch::channel(Phase::Serve);
        tracing::info!(listener = name, address = %bound.address, "listening");
        tokio::spawn(accept(bound.socket, Arc::clone(&service), seen, alive));
        Self { name, configured, bound: bound.address, service, phase }
    }

    /// New connections get this from now on; open ones keep what they have.
    pub(crate) fn swap(&mut self, service: Service) {
        self.name.clone_from(&service.context.listener);
        self.service.store(Arc::new(service));
    }

    /// Tells the listener and its sessions how far going down has come.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The address that the settings gave.
    pub(crate) const fn configured(&self) -> SocketAddr {
        self.configured
    }

    /// The address in use.
    pub(crate) const fn bound(&self) -> SocketAddr {
        self.bound
    }

    pub(crate) fn service(&self) -> Arc<Service> {
        self.service.load_full()
    }

    /// Whether anything of it still runs.
    pub(crate) fn is_alive(&self) -> bool {
        self.phase.receiver_count() > 0
    }
}

/// Until the server goes down. A permit comes before the accept: beyond the limit, connections wait in the kernel.
async fn accept(
    socket: TcpListener,
    service: Arc<ArcSwap<Service>>,
    mut phase: watch::Receiver<Phase>,
    alive: Alive,
) {
    let mut pause = PAUSE_MIN;
    loop {
        let slots = Arc::clone(&service.load().slots);
        let slot = tokio::select! {
            slot = slots.take() => slot,
            _ = phase.changed() => return,
        };
        let Some(slot) = slot else { return };
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = phase.changed() => return,
        };
        // Loaded again: a reload may have come while we waited.
        let context = Arc::clone(&service.load().context);
        match accepted {
            Ok((stream, peer)) => {
                pause = PAUSE_MIN;
                tokio::spawn(serve(stream, peer, context, phase.clone(), (slots, slot), alive.clone()));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                context.metrics.accept_failed();
                tracing::warn!(listener = context.listener, %error, ?pause, "cannot accept connections");
                tokio::select! {
                    () = tokio::time::sleep(pause) => pause = pause.saturating_mul(2).min(PAUSE_MAX),
                    _ = phase.changed() => return,
                }
            }
        }
    }
}

/// Admission, then the session. `place` and `alive` are given back when the connection is over, however it ends.
async fn serve(
    mut stream: TcpStream,
    peer: SocketAddr,
    context: Arc<Context>,
    mut phase: watch::Receiver<Phase>,
    place: (Arc<Slots>, Slot),
    alive: Alive,
) {
    let peer = canonical(peer);
    // On the heap only while it lasts, as the checks below.
    let Some(client) = Box::pin(client(&mut stream, peer, &context, &mut phase)).await else { return };
    let (slots, slot) = place;
    let admission = &context.services.admission;
    match admission.admit(client.ip(), &slots, slot.is_reserve(), connection::now()) {
        Ok(guest) => {
            let slot = slots.make_room(slot, connection::now()).await;
            let checked = tokio::select! {
                checked = Box::pin(context.stranger_checks.make(&stream, &guest, &context.services.block_lists)) => checked,
                // The session will hear of it at once.
                _ = phase.changed() => Ok(()),
                () = guest.displaced() => {
                    guest.has_left();
                    let evidence = "the place was needed for somebody who is known".to_owned();
                    Err(Refused { rule: Rule::Reserve, evidence })
                }
            };
            match checked {
                Ok(()) => {
                    let is_told = context.services.pass_through.tells_of_clients(&context.listener);
                    let destination = if is_told { stream.local_addr().ok() } else { None };
                    let destination = destination.map(|address| Box::new(canonical(address)));
                    connection::serve(stream, (client, destination), context, guest, phase).await;
                }
                Err(refused) => turn_away(&mut stream, client, &context, &refused).await,
            }
            drop(slot);
        }
        Err(refused) => turn_away(&mut stream, client, &context, &refused).await,
    }
    drop(alive);
}

/// Says why, where that can be said without a handshake, and closes.
async fn turn_away(stream: &mut TcpStream, client: SocketAddr, context: &Context, refused: &Refused) {
    let session = SessionId::next();
    let token = Tokens::seeded(session.number()).draw().to_string();
    record(session, &token, client, context, refused);
    if context.tls == TlsMode::Implicit {
        return;
    }
    let farewell = match &context.dialect {
        Dialect::Smtp(config) => {
            let code = match refused.rule {
                rule if rule.is_lasting() => "554 5.7.1",
                rule if rule.is_ours() => "421 4.3.2",
                _ => "421 4.7.0",
            };
            format!("{code} {} is not available to you now [{token}]\r\n", config.hostname)
        }
        Dialect::Pop3(_) => "-ERR [SYS/TEMP] not available to you now\r\n".to_owned(),
    };
    let say = async {
        // A peer that is gone need not be told.
        let _ = stream.write_all(farewell.as_bytes()).await;
        let _ = stream.shutdown().await;
    };
    // The kernel takes so few octets at once, so this bound is for surprises.
    let _ = timeout(TURN_AWAY_TIME_MAX, say).await;
}

/// Keeps the refusal for `gatepost explain`. The session that there would have been lends it its name.
fn record(session: SessionId, token: &str, client: SocketAddr, context: &Context, refused: &Refused) {
    let about = About {
        session: Some(session.to_string()),
        queue_id: None,
        listener: Some(context.listener.clone()),
        peer: Some(client),
    };
    let what = What::Refused {
        rule: refused.rule.name().into(),
        verb: "connect".into(),
        code: None,
        evidence: Some(evidence(&refused.evidence)),
        limit: None,
        token: Some(token.to_owned()),
    };
    context.services.events.record(about, what);
}

/// Whose connection this is: the peer's own, or that of a client whom a balancer passes on. `None` where a balancer does not
/// say it as it must: nobody can be told, since the client's protocol has not begun.
async fn client(
    stream: &mut TcpStream,
    peer: SocketAddr,
    context: &Context,
    phase: &mut watch::Receiver<Phase>,
) -> Option<SocketAddr> {
    if !context.balancers.contains(peer.ip()) {
        return Some(peer);
    }
    let header = tokio::select! {
        header = proxy_protocol::read(stream) => header,
        _ = phase.changed() => return None,
    };
    let listener = &context.listener;
    match header {
        Ok(Header::Client(client)) => {
            context.metrics.proxy_header("client");
            tracing::debug!(listener, balancer = %peer, %client, "passed on by a balancer");
            Some(client)
        }
        Ok(Header::Local) => {
            context.metrics.proxy_header("local");
            Some(peer)
        }
        // Balancers that only look whether the port is open do this every few seconds.
        Err(error @ ReadError::Ended(_)) => {
            context.metrics.proxy_header(error.name());
            tracing::debug!(listener, balancer = %peer, %error, "no connection to pass on");
            None
        }
        Err(error) => {
            context.metrics.proxy_header(error.name());
            tracing::warn!(listener, balancer = %peer, %error, "a balancer's connection is closed");
            None
        }
    }
}

/// On a dual-stack socket IPv4 addresses come as ::ffff:a.b.c.d; rules and logs want the address itself.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The peer has gone before we took its connection: nothing is wrong with us.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

/// Out of descriptors or memory: sessions that end will free some soon.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Not longer: the operator may have raised the limit meanwhile.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// A place of the reserve is held meanwhile.
const TURN_AWAY_TIME_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn replies_are_never_held_back_for_more() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let bound = Bound::adopt(socket).unwrap();
        let _peer = TcpStream::connect(bound.address).await.unwrap();
        let (stream, _) = bound.socket.accept().await.unwrap();
        assert!(stream.nodelay().unwrap());
    }
}
