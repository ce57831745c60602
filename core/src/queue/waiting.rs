//! What waits, for those who look at it and take nothing.

use std::sync::Arc;

use super::envelope::decode_stored;
use super::handle::Queue;
use super::shared::Shared;
use super::{NewMessage, QueueId, State};

/// A mail as the index knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lying {
    /// Its id.
    pub id: QueueId,
    /// Octets that it takes in memory while it is looked at. A body that has a file of its own does not count.
    pub octets: u64,
    /// Where it stands.
    pub state: State,
}

/// A mail that was looked at.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The whole of it. Its body may have ended with it by the time that it is read.
    pub message: Arc<NewMessage>,
    /// Indices of its recipients that still wait.
    pub pending: Vec<usize>,
}

// === impl Queue ===

impl Queue {
    /// The youngest mail that lies here.
    #[must_use]
    pub fn newest(&self) -> Option<QueueId> {
        self.shared.index().newest()
    }

    /// The next so many mails behind that one, oldest first; without one, from the beginning.
    #[must_use]
    pub fn lying_behind(&self, after: Option<QueueId>, most: usize) -> Vec<Lying> {
        self.shared.index().lying(after, most)
    }

    /// Looks at a mail without taking it. `None` where it is gone meanwhile; one that cannot be read is left for delivery to find.
    pub async fn look_at(&self, id: QueueId) -> Option<Waiting> {
        let shared = Arc::clone(&self.shared);
        self.readers.run(move || shared.look_at(id)).await.ok().flatten()
    }

    /// Where a mail stands; `None` where it is gone.
    #[must_use]
    pub fn state_of(&self, id: QueueId) -> Option<State> {
        self.shared.index().get(id).map(super::index::Entry::state)
    }

    /// Makes one mail due at once; one that is held stays held, and one that a worker has is left to him. A restart forgets it.
    pub fn hasten(&self, id: QueueId) {
        if self.shared.index().hasten(id) {
            self.shared.due.notify_one();
        }
    }
}

// === impl Shared ===

impl Shared {
    fn look_at(&self, id: QueueId) -> Option<Waiting> {
        let (kind, payload) = self.peek(id).ok()??;
        let head = decode_stored(kind, &payload).ok()?;
        let pending = self.index().get(id)?.pending.indices();
        Some(Waiting { message: Arc::new(head.into_message(&payload, &self.spool)), pending })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::test_support::message;
    use super::super::{Selection, Settings};
    use super::*;
    use crate::disk::{Disk, SimulatedDisk};
    use crate::intake::Body;

    async fn queue(mails: u64) -> Queue {
        let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new());
        let settings = Settings { segment_octets: 1024 * 1024, free_octets_min: 0, ..Settings::default() };
        let (queue, _recovered) = Queue::open(disk, Path::new("/queue"), settings, None).unwrap();
        for id in 1..=mails {
            queue.append(message(QueueId(id), 2, Body::Memory("body".into()))).await.unwrap();
        }
        queue
    }

    #[tokio::test]
    async fn the_queue_is_walked_in_pieces_from_the_oldest_to_the_youngest() {
        let queue = queue(5).await;
        let ids =
            |after, most| queue.lying_behind(after, most).into_iter().map(|it| it.id.0).collect::<Vec<_>>();
        assert_eq!(ids(None, 2), [1, 2]);
        assert_eq!(ids(Some(QueueId(2)), 9), [3, 4, 5]);
        assert!(ids(Some(QueueId(5)), 9).is_empty());
        assert_eq!(queue.newest(), Some(QueueId(5)));
    }

    #[tokio::test]
    async fn who_looks_at_a_mail_takes_nothing() {
        let queue = queue(1).await;
        let seen = queue.look_at(QueueId(1)).await.unwrap();
        assert_eq!((seen.message.id, seen.pending), (QueueId(1), vec![0, 1]));
        assert_eq!(queue.state_of(QueueId(1)), Some(State::Waiting));
        let claim = queue.claim().await.unwrap();
        assert_eq!(queue.state_of(claim.id), Some(State::InDelivery));
        assert!(queue.look_at(QueueId(2)).await.is_none());
    }

    #[tokio::test]
    async fn what_was_put_off_is_due_at_once_when_hastened_and_what_is_held_is_not() {
        let queue = queue(1).await;
        let claim = queue.claim().await.unwrap();
        queue.postpone(claim, std::time::Duration::from_secs(3_600), None);
        queue.hasten(QueueId(1));
        let claim = queue.claim().await.unwrap();
        drop(claim);
        queue.hold(&Selection::default()).await.unwrap();
        queue.hasten(QueueId(1));
        assert_eq!(queue.state_of(QueueId(1)), Some(State::Held));
    }
}
