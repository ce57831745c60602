//! XCLIENT: a relay in front says who its client is.

use std::net::SocketAddr;
use std::sync::Arc;

use gatepost_smtp::server::{PeerFacts, Refusal};
use gatepost_smtp::wire::xclient::{Attribute, Xclient};

use super::smtp::SmtpMachine;
use crate::admission::verdict::Refused;

// === impl SmtpMachine ===

impl SmtpMachine {
    /// A listed relay says on whose behalf it speaks: from now on that client's address is the one that counts. Name, HELO
    /// and protocol decide nothing here (the relay says EHLO again), and nobody is logged in on hearsay.
    pub(super) async fn on_behalf(&mut self, xclient: &Xclient) -> Result<PeerFacts, Refusal> {
        let mut address = None;
        let mut port = 0;
        for attribute in xclient.attributes() {
            match attribute {
                Attribute::Addr(client) => address = *client,
                Attribute::Port(client) => port = client.unwrap_or_default(),
                Attribute::Login(Some(_)) => return Err(Refusal::ExtensionDenied),
                Attribute::Login(None)
                | Attribute::Name(_)
                | Attribute::Helo(_)
                | Attribute::Proto(_)
                | Attribute::DestAddr(_)
                | Attribute::DestPort(_) => {}
            }
        }
        if let Some(address) = address.map(|address| address.to_canonical()) {
            let context = Arc::clone(&self.peer.context);
            let guest = self.peer.guest.on_behalf_of(address).map_err(|refused| refusal(&refused))?;
            let lists = &context.services.block_lists;
            context.stranger_checks.look_up(&guest, lists).await.map_err(|refused| refusal(&refused))?;
            let (session, relay) = (&self.peer.session, self.peer.address);
            self.peer.address = SocketAddr::new(address, port);
            self.peer.guest = Arc::new(guest);
            tracing::info!(%session, %relay, client = %self.peer.address, "a relay speaks on behalf of a client");
        }
        // The relay's, and not that of whom it speaks for.
        if let Some((_, proof)) = &mut self.tls {
            proof.client = None;
        }
        if let Some(passage) = self.passage.as_deref_mut() {
            passage.forget_login();
        }
        Ok(PeerFacts {
            class: self.peer.context.classes.of(self.peer.address.ip()),
            may_xclient: true,
            quirks: self.peer.context.quirks.of(self.peer.address.ip()),
            ..PeerFacts::anonymous(self.peer.address, None)
        })
    }
}

/// What a relay hears where admission refuses its client.
const fn refusal(refused: &Refused) -> Refusal {
    if refused.rule.is_lasting() { Refusal::SubmissionDenied } else { Refusal::RateLimited }
}
