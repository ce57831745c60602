//! The notification that an attempt asks for, and whether it has the whole mail.

use std::sync::Arc;

use super::waiting::{Age, expires_at_ms};
use super::{Closing, Policy};
use crate::delivery::clearance::Clearance;
use crate::delivery::dsn::{Facts, Subject, Told, told, wants_whole};
use crate::delivery::{Attempt, infected};
use crate::queue::NewMessage;

// === impl Closing ===

impl Closing {
    /// The notification, and what it tells. The mail comes back whole where its sender wants it so, if `may_return` and the scan
    /// have nothing against it.
    pub(super) async fn notify(
        &self,
        message: Arc<NewMessage>,
        facts: &Facts<'_>,
        policy: &Policy,
        age: Age,
        may_return: bool,
    ) -> Option<(NewMessage, Vec<Told>)> {
        let attempted = facts.attempted;
        let told = told(facts);
        if told.is_empty() {
            return None;
        }
        let whole = may_return && wants_whole(&message, &told) && self.is_clear(&message, attempted).await;
        let expires_at_ms = expires_at_ms(attempted, policy, age);
        let id = self.rooms.queue.allocate_id();
        let subject = Subject { message, told: told.clone(), whole, expires_at_ms };
        let mut notification = self.notifier.make(id, &policy.hostname, age.now_ms, subject).await?;
        // The sender may be an address of ours that leads to other servers.
        notification.submission = self.rooms.forward(notification.submission);
        Some((notification, told))
    }

    /// As before a delivery: what was found clean once may be infected by the signatures of today, and what nobody has scanned yet
    /// is scanned now. It waits in the scan queue behind all for whom somebody waits; without a verdict the headers have to do.
    async fn is_clear(&self, message: &NewMessage, attempted: &[Attempt]) -> bool {
        if attempted.iter().any(infected::is_found) {
            return false;
        }
        let clearance = Box::pin(Clearance::of(message, &self.rooms, self.scan_deadline)).await;
        matches!(clearance, Clearance::Clean(_))
    }
}
