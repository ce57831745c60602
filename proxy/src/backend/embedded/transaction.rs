//! One mail from its sender to its last recipient, and then to the rooms that take it over.

use std::sync::Arc;

use gatepost_core::BoxFuture;
use gatepost_core::clock::now_ms;
use gatepost_core::delivery::reach::is_public;
use gatepost_core::directory::{Forwarding, Resolution};
use gatepost_core::forwarding::srs::NotOurs;
use gatepost_core::intake::{BodyBuffer, Origin};
use gatepost_core::memory::Drawn;
use gatepost_smtp::server::{BodySink, Envelope, Refusal, Right, Rights};
use gatepost_smtp::wire::params::RcptParams;
use gatepost_smtp::wire::path::{Domain, ForwardPath, ReversePath};

use super::super::behind::Behind;
use super::super::keeping::trust;
use super::super::{Discard, Transaction};
use super::Rooms;
use super::incoming::Incoming;

/// One mail on its way into the queue.
pub(super) struct EmbeddedTransaction {
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

// === impl EmbeddedTransaction ===

impl Transaction for EmbeddedTransaction {
    fn recipient<'a>(
        &'a mut self,
        path: &'a ForwardPath,
        _params: &'a RcptParams,
    ) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(async move {
            let behind = self.behind.as_ref().filter(|behind| behind.has(path));
            if let Some(behind) = behind {
                if is_routed(path) && !self.rights.contains(Right::AcceptAnyRecipient) {
                    return Err(Refusal::RelayDenied);
                }
                behind.admit(&self.sender, path).await?;
                return self.admit(path, None);
            }
            let alias = match self.rooms.resolve(path) {
                Resolution::Local(_) => None,
                Resolution::Forwarded(forwarding) => Some(forwarding),
                Resolution::Rewritten { bounces_only: true, .. } if self.sender != ReversePath::Null => {
                    return Err(Refusal::UnknownRecipient);
                }
                Resolution::Rewritten { leads_to, .. } => Some(leads_to.map_err(refused_bounce)?),
                Resolution::UnknownLocal => return Err(Refusal::UnknownRecipient),
                Resolution::Foreign
                    if self.rights.contains(Right::AcceptAnyRecipient) && self.leads_out(path) =>
                {
                    None
                }
                Resolution::Foreign => return Err(Refusal::RelayDenied),
            };
            self.admit(path, alias)
        })
    }

    fn prepare(&mut self, envelope: Envelope) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move {
            self.origin.received_at_ms = now_ms();
            let firewall = self.rooms.firewall(trust(self.rights));
            let buffer = BodyBuffer::new(self.rooms.queue.spool(), self.rooms.memory.clone());
            self.body = Some(Incoming::new(envelope, firewall, buffer));
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
        self.body.as_ref().is_some_and(Incoming::wants_settling)
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
            let Self { rooms, origin, rights, drawn: _drawn, body, .. } = *self;
            let incoming = body.ok_or(Refusal::LocalError)?;
            rooms.take_over(origin, trust(rights), incoming).await
        })
    }
}

impl EmbeddedTransaction {
    pub(super) fn new(
        rooms: Arc<Rooms>,
        origin: Origin,
        rights: Rights,
        behind: Option<Arc<Behind>>,
        sender: ReversePath,
    ) -> Self {
        let drawn = rooms.memory.clone().draw();
        let aliases = Vec::new();
        Self { rooms, origin, rights, behind, sender, drawn, aliases, body: None, nowhere: Discard }
    }

    /// Draws what a recipient and the targets of its alias take in the queue: all of it or nothing.
    ///
    /// An alias may be written to by everybody who may write to users here: who gets its mail is the administrator's choice.
    fn admit(&mut self, path: &ForwardPath, alias: Option<Arc<Forwarding>>) -> Result<(), Refusal> {
        let alias = alias.filter(|alias| !self.aliases.contains(alias));
        let mail_leaves = self.rooms.settings.load().relay.is_some();
        let targets = match &alias {
            // Whom it leads to here must not lose mail because none may leave.
            Some(alias) if !mail_leaves && !alias.mailboxes.is_empty() => {
                tracing::warn!(?path, "an alias leads to another server too, and no mail leaves this one");
                &[]
            }
            Some(alias) => alias.targets.as_slice(),
            None => &[],
        };
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

/// Whether a server behind, which takes what comes from here for trusted, could send the mail on to somewhere else.
fn is_routed(path: &ForwardPath) -> bool {
    matches!(path, ForwardPath::Mailbox(mailbox) if mailbox.may_be_routed())
}

/// Who tries to send by way of us is refused as one who relays; what was ours once is no mailbox any more.
const fn refused_bounce(why: NotOurs) -> Refusal {
    match why {
        NotOurs::Forged => Refusal::RelayDenied,
        NotOurs::Expired => Refusal::UnknownRecipient,
    }
}

/// A path of the greatest length (RFC 5321 section 4.5.3.1.3) with its parameters.
pub(super) const RECIPIENT_OCTETS: u64 = 512;
