//! One server behind: its connections, what it offers, whether it is there.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use gatepost_core::delivery::hop::{Connection, Courier, HopFailure, Live, NextHop};
use gatepost_smtp::client::{Capabilities, Failure, Represented};
use gatepost_smtp::wire::reply_parse::ServerReply;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::metrics::{Metrics, UpstreamMetrics};
use super::places::{Aside, Place, Places, Share};
use super::{ClientIdentity, Settings, UpstreamSettings};

/// A server.
pub(super) struct Upstream {
    hop: NextHop,
    identity: ClientIdentity,
    weight: u16,
    courier: Courier,
    idle_time: Duration,
    /// Connections at a time.
    connections_max: usize,
    /// Those that there are.
    places: Arc<Places>,
    /// The youngest last.
    idle: Mutex<Vec<Idle>>,
    offered: Mutex<Option<Capabilities>>,
    is_up: AtomicBool,
    metrics: UpstreamMetrics,
}

/// A connection that nobody uses right now.
struct Idle {
    live: Box<Live>,
    place: Place,
    since: Instant,
}

/// A connection that a session uses. Dropped, it is closed.
pub(super) struct Link {
    /// Boxed: it goes from hand to hand with every mail.
    pub(super) live: Box<Live>,
    upstream: Arc<Upstream>,
    place: Place,
    /// Where it is a stranger's.
    share: Option<Share>,
    /// What the server was told of the client: then it is this client's alone.
    told: Option<Box<Represented>>,
}

/// For whom there is to be a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whom<'a> {
    /// What a server behind is told of him, where it is told.
    pub(super) client: Option<&'a Represented>,
    /// Whether nothing is known of him but his address.
    pub(super) is_stranger: bool,
}

/// Where a connection may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// It is there, or there is a place for it.
    Left,
    /// A stranger may have to make room for it.
    Made,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoLink {
    /// It has as many as it may, or as are for strangers.
    #[error("all of its connections are taken")]
    Busy,
    /// It does not want this client: what it has said instead of greeting him.
    #[error("the client is turned away: {0}")]
    TurnedAway(ServerReply),
    /// It cannot be reached, or is not what it must be.
    #[error(transparent)]
    Failed(#[from] HopFailure),
}

// === impl Upstream ===

impl Upstream {
    /// Probes it from now on, until nobody has it any more. What is known of the one that had its name before counts until
    /// the first answer, where it is the same server.
    pub(super) fn start(
        written: &UpstreamSettings,
        settings: &Settings,
        metrics: &Metrics,
        before: Option<&Self>,
    ) -> Arc<Self> {
        let before = before.filter(|before| before.hop.address() == written.hop.address());
        if let Some(before) = before {
            before.take_leave();
        }
        let upstream = Arc::new(Self {
            hop: written.hop.clone(),
            identity: written.identity,
            weight: written.weight,
            courier: settings.courier.clone(),
            idle_time: settings.idle_time,
            connections_max: written.connections,
            places: before.map(|before| Arc::clone(&before.places)).unwrap_or_default(),
            idle: Mutex::default(),
            offered: Mutex::new(before.and_then(Self::offered)),
            is_up: AtomicBool::new(before.is_none_or(Self::is_up)),
            metrics: metrics.of(written.hop.name()),
        });
        tokio::spawn(keep_probing(Arc::downgrade(&upstream), settings.probe_interval));
        upstream
    }

    pub(super) fn name(&self) -> &str {
        self.hop.name()
    }

    pub(super) const fn identity(&self) -> ClientIdentity {
        self.identity
    }

    pub(super) const fn weight(&self) -> u16 {
        self.weight
    }

    /// Whether it has to prove who it is, so that nobody else can hear what it is told.
    pub(super) const fn is_verified(&self) -> bool {
        self.hop.tls().is_verified()
    }

    /// Whether it has answered when it was asked last.
    pub(super) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    /// What it has offered last; `None` where it was never met.
    pub(super) fn offered(&self) -> Option<Capabilities> {
        *self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that a transaction can begin on: one that is there, or a new one. Where the server is told of the client, it
    /// is new.
    ///
    /// # Errors
    /// See `NoLink`.
    pub(super) async fn link(self: &Arc<Self>, whom: Whom<'_>, room: Room) -> Result<Link, NoLink> {
        let mut freed = None;
        let share = match whom.is_stranger {
            false => None,
            true => match self.places.take_share(self.connections_max) {
                Some(share) => Some(share),
                None => {
                    let (place, share) = self.displace(room).await?;
                    freed = Some(place);
                    share
                }
            },
        };
        while let Some(Idle { mut live, place, since }) = self.take_idle() {
            let is_fresh = since.elapsed() < self.idle_time;
            if is_fresh && live.is_usable().await && live.clear().await.is_ok() {
                return Ok(Link::new(live, self, place, share, None));
            }
        }
        let place = match freed.or_else(|| self.places.take(self.connections_max, &self.metrics.connections))
        {
            Some(place) => place,
            None => self.displace(room).await?.0,
        };
        let Some(client) = whom.client.filter(|_| self.identity.is_told()) else {
            return Ok(Link::new(self.connect().await?, self, place, share, None));
        };
        let live = self.connect_for(client).await?;
        Ok(Link::new(live, self, place, share, Some(Box::new(client.clone()))))
    }

    /// Closes the connection of the stranger whose silence has lasted longest, for what he has of the connections.
    async fn displace(&self, room: Room) -> Result<(Place, Option<Share>), NoLink> {
        let link = match room {
            Room::Left => None,
            Room::Made => self.places.displace(),
        };
        let Link { live, place, share, .. } = link.ok_or(NoLink::Busy)?;
        self.metrics.displaced.inc();
        tracing::debug!(upstream = self.name(), "a stranger who says nothing makes room");
        if live.is_between_mails() {
            Box::pin(live.quit()).await;
        }
        Ok((place, share))
    }

    /// Asks whether it is there and what it offers, and closes connections that were kept for long enough.
    pub(super) async fn probe(&self) {
        for live in self.take_expired() {
            live.quit().await;
        }
        if let Ok(live) = self.connect().await {
            live.quit().await;
        }
    }

    /// Something has gone wrong with it that is not a matter of one mail: others go first until it answers again.
    pub(super) fn set_down(&self) {
        self.set_up(Err(&"too slow"));
    }

    pub(super) const fn metrics(&self) -> &UpstreamMetrics {
        &self.metrics
    }

    async fn connect(&self) -> Result<Box<Live>, HopFailure> {
        // On the heap while it lasts: the questions of a session are mostly answered by a connection that is there.
        let connected = Box::pin(self.dial(None)).await;
        if let Err(failure) = &connected {
            self.set_up(Err(failure));
        }
        self.connected(connected)
    }

    /// A client that is turned away says nothing of the server: he must not make it one that others are kept from.
    async fn connect_for(&self, client: &Represented) -> Result<Box<Live>, NoLink> {
        let connected = Box::pin(self.dial(Some(client))).await;
        if let Err(failure) = &connected
            && is_of_server(failure)
        {
            self.set_up(Err(failure));
        }
        self.connected(connected).map_err(|failure| match turned_away(&failure) {
            Some(said) => NoLink::TurnedAway(said.clone()),
            None => NoLink::Failed(failure),
        })
    }

    async fn dial(&self, client: Option<&Represented>) -> Result<Connection, HopFailure> {
        let hop = self.identity.tell(&self.hop, client).map_err(|error| HopFailure::Connect(error.kind()))?;
        self.courier.connect(&hop).await
    }

    fn connected(&self, connected: Result<Connection, HopFailure>) -> Result<Box<Live>, HopFailure> {
        match connected {
            Ok(connection) => {
                self.set_up(Ok(()));
                self.metrics.connects_ok.inc();
                let offered = Some(*connection.capabilities());
                *self.offered.lock().unwrap_or_else(PoisonError::into_inner) = offered;
                Ok(Box::new(connection.into_live()))
            }
            Err(failure) => {
                self.metrics.connects_failed.inc();
                tracing::debug!(upstream = self.name(), %failure, "no connection to a server behind");
                Err(failure)
            }
        }
    }

    fn set_up(&self, state: Result<(), &dyn fmt::Display>) {
        let was_up = self.is_up.swap(state.is_ok(), Ordering::Relaxed);
        self.metrics.up.set(i64::from(state.is_ok()));
        match (was_up, state) {
            (true, Err(failure)) => {
                let address = self.hop.address();
                tracing::warn!(upstream = self.name(), %address, %failure, "a server behind cannot be used");
            }
            (false, Ok(())) => tracing::info!(upstream = self.name(), "a server behind answers again"),
            (true, Ok(())) | (false, Err(_)) => {}
        }
    }

    fn take_idle(&self) -> Option<Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Another one has its place: nothing is kept for mails that go there by other settings.
    fn take_leave(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        idle.into_iter().for_each(|idle| leave(idle.live, idle.place));
    }

    fn take_expired(&self) -> Vec<Live> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.extract_if(.., |idle| idle.since.elapsed() >= self.idle_time).map(|idle| *idle.live).collect()
    }

    fn give_back(&self, live: Box<Live>, place: Place) {
        if self.idle_time.is_zero() {
            return leave(live, place);
        }
        let idle = Idle { live, place, since: Instant::now() };
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(idle);
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("hop", &self.hop).field("is_up", &self.is_up).finish_non_exhaustive()
    }
}

// === impl Link ===

impl Link {
    fn new(
        live: Box<Live>,
        upstream: &Arc<Upstream>,
        place: Place,
        share: Option<Share>,
        told: Option<Box<Represented>>,
    ) -> Self {
        Self { live, upstream: Arc::clone(upstream), place, share, told }
    }

    /// Whether it counts as a stranger's.
    pub(super) const fn is_of_stranger(&self) -> bool {
        self.share.is_some()
    }

    /// Whose it is has come to be known.
    pub(super) fn set_known(&mut self) {
        self.share = None;
    }

    /// Until its client is heard of again. Others find it there who have none.
    pub(super) fn lay_aside(self) -> Aside {
        Arc::clone(&self.upstream.places).lay_aside(self)
    }

    pub(super) const fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Whether the server has been told of a client.
    pub(super) const fn is_told(&self) -> bool {
        self.told.is_some()
    }

    /// Whether what it has been told is so; `is_engaged` as for `ClientIdentity::still_holds`.
    pub(super) fn speaks_for(&self, client: Option<&Represented>, is_engaged: bool) -> bool {
        match (&self.told, client) {
            (None, _) => true,
            (Some(told), Some(client)) => self.upstream.identity.still_holds(told, client, is_engaged),
            (Some(_), None) => false,
        }
    }

    /// For the next mail, whoever hands it in, where it can have one.
    pub(super) fn release(self) {
        let Self { live, upstream, place, .. } = self;
        if live.is_between_mails() {
            upstream.give_back(live, place);
        }
    }

    /// Takes leave of the server, behind the back of whoever has no time for it. In the middle of a body there is no leave.
    pub(super) fn leave(self) {
        let Self { live, place, .. } = self;
        if live.is_between_mails() {
            leave(live, place);
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("live", &self.live).finish_non_exhaustive()
    }
}

/// Takes leave of a server between two mails. Outside of the runtime the connection is closed without a word.
fn leave(live: Box<Live>, place: Place) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(async move {
            live.quit().await;
            drop(place);
        });
    }
}

/// Whether a server would have failed anybody.
fn is_of_server(failure: &HopFailure) -> bool {
    matches!(
        failure,
        HopFailure::Connect(_)
            | HopFailure::ConnectTimedOut
            | HopFailure::Tls(_)
            | HopFailure::Session(Failure::NoXclient)
    )
}

/// What a server has said to the client whom it was told of. What is wrong with our commands is none of his business.
fn turned_away(failure: &HopFailure) -> Option<&ServerReply> {
    failure.reply().filter(|said| !SYNTAX.contains(&said.code()))
}

async fn keep_probing(upstream: Weak<Upstream>, interval: Duration) {
    loop {
        sleep(interval).await;
        match upstream.upgrade() {
            Some(upstream) => upstream.probe().await,
            None => return,
        }
    }
}

/// RFC 5321 section 4.2.1: a command that is not understood.
const SYNTAX: RangeInclusive<u16> = 500..=504;
