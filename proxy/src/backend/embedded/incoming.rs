//! A body while it comes in.

use gatepost_core::delivery::RECEIVED_MAX;
use gatepost_core::filter::{HeaderFirewall, Stripped};
use gatepost_core::intake::{Body, BodyBuffer};
use gatepost_smtp::server::{BodySink, Envelope, Refusal};

use super::super::keeping::refusal;
use super::super::received::ReceivedCounter;

/// From `prepare` on.
pub(super) struct Incoming {
    envelope: Envelope,
    firewall: HeaderFirewall,
    buffer: BodyBuffer,
    received: ReceivedCounter,
    /// Why the body cannot be kept: told by `commit`.
    failure: Option<Refusal>,
}

// === impl Incoming ===

impl Incoming {
    pub(super) fn new(envelope: Envelope, firewall: HeaderFirewall, buffer: BodyBuffer) -> Self {
        Self { envelope, firewall, buffer, received: ReceivedCounter::default(), failure: None }
    }

    /// Whether more than enough of it waits in memory.
    pub(super) fn wants_settling(&self) -> bool {
        self.buffer.wants_settling()
    }

    pub(super) async fn settle(&mut self) {
        if self.failure.is_none()
            && let Err(error) = self.buffer.settle().await
        {
            self.failure = Some(refusal(error));
        }
    }

    /// The whole body, durable where it is large.
    pub(super) async fn finish(mut self) -> Result<(Envelope, Body, Stripped), Refusal> {
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
