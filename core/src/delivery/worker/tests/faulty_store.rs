//! A store that does not always answer.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use crate::BoxFuture;
use crate::delivery::Disposition;
use crate::queue::QueueId;
use crate::store::{
    Delivery, Listing, MailStore, MailboxTotals, ScanMark, SqliteStore, StoreError, StoredMessage, Summary,
};

/// A store that can be cut off from its caller.
pub(super) struct FaultyStore {
    pub(super) inner: SqliteStore,
    /// Changes are made, but nobody learns of it.
    pub(super) mute: AtomicBool,
    /// Every delivery fails.
    pub(super) full: AtomicBool,
    /// Every delivery panics.
    pub(super) panics: AtomicBool,
    /// The old behaviour of KB883522: what became of a recipient is not known any more when it is asked for again.
    pub(super) forgets: AtomicBool,
    pub(super) committed: Notify,
}

// === impl FaultyStore ===

impl FaultyStore {
    pub(super) fn new(inner: SqliteStore) -> Self {
        Self {
            inner,
            mute: AtomicBool::new(false),
            full: AtomicBool::new(false),
            panics: AtomicBool::new(false),
            forgets: AtomicBool::new(false),
            committed: Notify::new(),
        }
    }

    async fn forget_as_of_old(&self, queue_id: QueueId, recipients: impl Iterator<Item = u32>) {
        if self.forgets.load(Ordering::SeqCst) {
            self.inner.forget(queue_id, recipients.collect()).await.unwrap();
        }
    }

    async fn told<T>(&self, answer: T) -> T {
        self.committed.notify_one();
        if self.mute.load(Ordering::SeqCst) { std::future::pending().await } else { answer }
    }
}

impl MailStore for FaultyStore {
    fn deliver(&self, delivery: Delivery) -> BoxFuture<'_, Result<Vec<(u32, Disposition)>, StoreError>> {
        Box::pin(async move {
            assert!(!self.panics.load(Ordering::SeqCst), "a bug in the store");
            if self.full.load(Ordering::SeqCst) {
                return Err(StoreError::Full);
            }
            self.forget_as_of_old(delivery.queue_id, delivery.copies.iter().map(|copy| copy.recipient)).await;
            let answer = self.inner.deliver(delivery).await;
            self.told(answer).await
        })
    }

    fn record(
        &self,
        queue_id: QueueId,
        dispositions: Vec<(u32, Disposition)>,
    ) -> BoxFuture<'_, Result<Vec<(u32, Disposition)>, StoreError>> {
        Box::pin(async move {
            self.forget_as_of_old(queue_id, dispositions.iter().map(|(recipient, _)| *recipient)).await;
            let answer = self.inner.record(queue_id, dispositions).await;
            self.told(answer).await
        })
    }

    fn remembered(
        &self,
        queue_id: QueueId,
        recipients: Vec<u32>,
    ) -> BoxFuture<'_, Result<Vec<(u32, Disposition)>, StoreError>> {
        Box::pin(async move {
            self.forget_as_of_old(queue_id, recipients.iter().copied()).await;
            self.inner.remembered(queue_id, recipients).await
        })
    }

    fn forget(&self, queue_id: QueueId, recipients: Vec<u32>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.forget(queue_id, recipients)
    }

    fn forget_all_but(&self, held: HashSet<QueueId>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.forget_all_but(held)
    }

    fn mailboxes(&self) -> BoxFuture<'_, Result<Vec<MailboxTotals>, StoreError>> {
        self.inner.mailboxes()
    }

    fn list(&self, mailbox: &str) -> BoxFuture<'_, Result<Listing, StoreError>> {
        self.inner.list(mailbox)
    }

    fn summary(&self, mailbox: &str, uid: u32) -> BoxFuture<'_, Result<Option<Summary>, StoreError>> {
        self.inner.summary(mailbox, uid)
    }

    fn fetch(&self, mailbox: &str, uid: u32) -> BoxFuture<'_, Result<Option<StoredMessage>, StoreError>> {
        self.inner.fetch(mailbox, uid)
    }

    fn delete(&self, mailbox: &str, uids: Vec<u32>) -> BoxFuture<'_, Result<usize, StoreError>> {
        self.inner.delete(mailbox, uids)
    }

    fn mark(&self, mailbox: &str, uid: u32, mark: ScanMark) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.mark(mailbox, uid, mark)
    }

    fn remove_mailbox(&self, mailbox: &str) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.inner.remove_mailbox(mailbox)
    }

    fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}
