//! What a sender is told of a mail that the queue does not hold.

use std::sync::Arc;

use tracing::{error, warn};

use super::Closing;
use crate::delivery::dsn::{Facts, told};
use crate::delivery::{Attempt, trace};
use crate::queue::NewMessage;

// === impl Closing ===

impl Closing {
    /// Tells the sender as if the queue had held it. What cannot be told is not worth more than a line in the log.
    pub(in crate::delivery) async fn tell_alone(
        &self,
        message: &Arc<NewMessage>,
        pending: &[usize],
        attempted: &[Attempt],
    ) {
        let facts = Facts { message, pending, attempted, unreported: &[], gone_on: &[], is_late: false };
        if told(&facts).is_empty() {
            return;
        }
        let policy = self.policy.load_full();
        // It is infected, or damaged.
        let made = self.notify(Arc::clone(message), &facts, &policy, self.age_of(message), false).await;
        let Some((notification, told)) = made else {
            warn!(queue_id = %message.id, "the sender of a mail that is not delivered cannot be told");
            return;
        };
        let id = notification.id;
        match self.rooms.queue.append(notification).await {
            Ok(_) => trace::record_notification(&self.rooms.events, message, id, &told),
            Err(error) => {
                error!(queue_id = %message.id, %error, "the sender of a mail that is not delivered is not told");
            }
        }
    }
}
