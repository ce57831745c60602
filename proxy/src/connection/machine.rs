//! What the driver needs of a protocol's session, whichever protocol it is.

use std::time::Instant;

use bytes::Bytes;
use gatepost_core::BoxFuture;
use gatepost_smtp::server::TlsFacts;

use super::Ending;
use crate::tls::Proof;

/// A session without sockets, together with what answers its questions.
pub(crate) trait Machine: Send + Sized {
    /// What it cannot know by itself.
    type Question: Send;

    /// Feeds octets and returns how many were taken.
    fn feed(&mut self, now: Instant, octets: &[u8]) -> usize;

    /// What has to happen between two feeds, if anything.
    fn settle(&mut self) -> Option<BoxFuture<'_, ()>>;

    /// The next thing to do, asked for when the one before it is done.
    fn poll(&mut self) -> Option<Step<Self::Question>>;

    /// Finds the answer to a question and feeds it to the session. Bounded in time by itself.
    fn resolve(&mut self, question: Self::Question) -> BoxFuture<'_, ()>;

    /// The deadline may have passed.
    fn tick(&mut self, now: Instant);

    /// While a body comes in: how many octets a second it has to have.
    fn body_rate_min(&self) -> Option<u64> {
        None
    }

    /// The body comes more slowly than that.
    fn too_slow(&mut self, _now: Instant) {}

    /// The peer has closed its side, or a read failed.
    fn eof(&mut self, now: Instant);

    /// We are going down.
    fn shutdown(&mut self, now: Instant);

    /// What the peer is told where others need its place.
    fn displaced(&self) -> String;

    /// When to call `tick` at the latest.
    fn deadline(&self) -> Instant;

    /// The handshake is done: a session that knows nothing of the plaintext one.
    fn into_secured(self, facts: TlsFacts, proof: Proof, now: Instant) -> Self;
}

/// What a machine wants to be done.
#[derive(Debug)]
pub(crate) enum Step<Q> {
    /// Write these octets.
    Send(Bytes),
    /// Write these, which are as good as new memory.
    Reply(Vec<u8>),
    /// Find the answer.
    Ask(Q),
    /// Start TLS.
    Upgrade,
    /// Count a mail that went through.
    Mail,
    /// Close.
    Close(Ending),
}
