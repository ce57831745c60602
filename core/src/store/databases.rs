//! Several mailbox databases as one store.
//!
//! ```text
//! mailbox -> domain -> database: deliver, list, fetch, ...
//! ends of recipients: where their copies lie; what puts nothing into a mailbox: in the first database
//! ```
//! A transaction is a database's own, so the memory of a recipient's end (`MailStore::record`) has to stand two. Whoever has
//! copies in one database alone ends in its transaction. The copies of a recipient with mailboxes in several are remembered under
//! a number of their own in each (`part_of`), so that a replay delivers what is missing and nothing twice; his end is recorded
//! behind all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::{
    Delivery, Listing, MailStore, MailboxCopy, MailboxTotals, ScanMark, StoreError, StoredMessage, Summary,
};
use crate::BoxFuture;
use crate::delivery::Disposition;
use crate::queue::QueueId;

/// The databases. Clones are the same.
#[derive(Clone)]
pub struct Databases {
    first: Database,
    others: Arc<[Database]>,
    /// Places among the others, by domain in lower case.
    by_domain: Arc<HashMap<String, usize>>,
}

/// One of them.
#[derive(Clone)]
pub struct Database {
    /// What operators call it.
    pub name: String,
    /// Itself.
    pub store: Arc<dyn MailStore>,
}

type Ends = Vec<(u32, Disposition)>;

// === impl Databases ===

impl Databases {
    /// Of one that has every mailbox.
    #[must_use]
    pub fn new(first: Database) -> Self {
        Self { first, others: Arc::default(), by_domain: Arc::default() }
    }

    /// With another one, which has the mailboxes of these domains (A-labels). A domain belongs to the first that has it.
    #[must_use]
    pub fn and(self, other: Database, domains: impl IntoIterator<Item = String>) -> Self {
        let place = self.others.len();
        let mut by_domain = HashMap::clone(&self.by_domain);
        for domain in domains {
            by_domain.entry(domain.to_ascii_lowercase()).or_insert(place);
        }
        let others = self.others.iter().cloned().chain([other]).collect();
        Self { first: self.first, others, by_domain: Arc::new(by_domain) }
    }

    /// All of them, the first one first.
    pub fn iter(&self) -> impl Iterator<Item = &Database> {
        [&self.first].into_iter().chain(self.others.iter())
    }

    /// Which one has a mailbox.
    fn home(&self, mailbox: &str) -> &Database {
        let domain = mailbox.rsplit_once('@').map_or("", |(_, domain)| domain).to_ascii_lowercase();
        let place = self.by_domain.get(&domain);
        place.and_then(|place| self.others.get(*place)).unwrap_or(&self.first)
    }

    fn is_home(&self, database: &Database, mailbox: &str) -> bool {
        self.home(mailbox).name == database.name
    }

    /// What any of them remembers of these recipients.
    async fn known(
        &self,
        queue_id: QueueId,
        recipients: &[u32],
    ) -> Result<BTreeMap<u32, Disposition>, StoreError> {
        let mut known = BTreeMap::new();
        for database in self.iter() {
            for (recipient, end) in database.store.remembered(queue_id, recipients.to_vec()).await? {
                known.entry(recipient).or_insert(end);
            }
        }
        Ok(known)
    }

    /// A database that fails keeps nobody waiting but who has copies in it. Its own memory it asks itself, and the first is asked
    /// for all: what puts nothing into a mailbox is remembered there.
    async fn deliver_apart(&self, delivery: Delivery) -> Result<Ends, StoreError> {
        let queue_id = delivery.queue_id;
        let beyond_first = |copy: &&MailboxCopy| !self.is_home(&self.first, &copy.mailbox);
        let asked: BTreeSet<u32> =
            delivery.copies.iter().filter(beyond_first).map(|copy| copy.recipient).collect();
        let known = self.first.store.remembered(queue_id, asked.into_iter().collect()).await?;
        let mut ends: BTreeMap<u32, Disposition> = known.into_iter().collect();
        let due = delivery.copies.iter().filter(|copy| !ends.contains_key(&copy.recipient));
        let (copies, mut parted) = self.part(&due.collect::<Vec<_>>());
        let mut failed = None;
        for (database, copies) in self.iter().zip(copies).filter(|(_, copies)| !copies.is_empty()) {
            let recipients: Vec<u32> = copies.iter().map(|copy| copy.recipient).collect();
            match database.store.deliver(Delivery { copies, ..delivery.clone() }).await {
                Ok(done) => ends.extend(done.into_iter().filter(|(recipient, _)| !is_part(*recipient))),
                Err(error) => {
                    tracing::warn!(database = database.name, %queue_id, %error, "a mailbox database has not taken a mail");
                    parted.retain(|recipient| !recipients.contains(&part_of(*recipient)));
                    failed = Some(error);
                }
            }
        }
        if !parted.is_empty() {
            let delivered = parted.into_iter().map(|recipient| (recipient, Disposition::Delivered)).collect();
            ends.extend(self.first.store.record(queue_id, delivered).await?);
        }
        match failed {
            Some(error) if ends.is_empty() => Err(error),
            _ => Ok(ends.into_iter().collect()),
        }
    }

    /// The copies for each database, and the recipients who have some in several.
    fn part(&self, copies: &[&MailboxCopy]) -> (Vec<Vec<MailboxCopy>>, BTreeSet<u32>) {
        let mut homes: BTreeMap<u32, BTreeSet<&str>> = BTreeMap::new();
        for copy in copies {
            homes.entry(copy.recipient).or_default().insert(&self.home(&copy.mailbox).name);
        }
        let parted: BTreeSet<u32> =
            homes.iter().filter(|(_, homes)| homes.len() > 1).map(|(recipient, _)| *recipient).collect();
        let of = |database: &Database| {
            let here = copies.iter().filter(|copy| self.is_home(database, &copy.mailbox));
            let keyed = here.map(|copy| {
                let is_parted = parted.contains(&copy.recipient);
                let recipient = if is_parted { part_of(copy.recipient) } else { copy.recipient };
                MailboxCopy { recipient, ..MailboxCopy::clone(copy) }
            });
            keyed.collect()
        };
        (self.iter().map(of).collect(), parted)
    }
}

impl MailStore for Databases {
    fn database_of(&self, mailbox: &str) -> &str {
        &self.home(mailbox).name
    }

    /// Each database's copies, all or none. Where one fails and others do not, those who have not ended are not in the answer.
    fn deliver(&self, delivery: Delivery) -> BoxFuture<'_, Result<Ends, StoreError>> {
        if self.others.is_empty() {
            return self.first.store.deliver(delivery);
        }
        Box::pin(self.deliver_apart(delivery))
    }

    fn record(&self, queue_id: QueueId, dispositions: Ends) -> BoxFuture<'_, Result<Ends, StoreError>> {
        if self.others.is_empty() {
            return self.first.store.record(queue_id, dispositions);
        }
        Box::pin(async move {
            let recipients: Vec<u32> = dispositions.iter().map(|(recipient, _)| *recipient).collect();
            let known = self.known(queue_id, &recipients).await?;
            let due = dispositions.into_iter().filter(|(recipient, _)| !known.contains_key(recipient));
            let recorded = self.first.store.record(queue_id, due.collect()).await?;
            let mut holding: HashMap<u32, Disposition> = known.into_iter().chain(recorded).collect();
            let holds = |recipient| Some((recipient, holding.remove(&recipient)?));
            Ok(recipients.into_iter().filter_map(holds).collect())
        })
    }

    fn remembered(&self, queue_id: QueueId, recipients: Vec<u32>) -> BoxFuture<'_, Result<Ends, StoreError>> {
        Box::pin(async move {
            let mut known = self.known(queue_id, &recipients).await?;
            let end = |recipient| Some((recipient, known.remove(&recipient)?));
            Ok(recipients.into_iter().filter_map(end).collect())
        })
    }

    fn forget(&self, queue_id: QueueId, recipients: Vec<u32>) -> BoxFuture<'_, Result<(), StoreError>> {
        if self.others.is_empty() {
            return self.first.store.forget(queue_id, recipients);
        }
        Box::pin(async move {
            let parts = recipients.iter().map(|recipient| part_of(*recipient));
            let all: Vec<u32> = recipients.iter().copied().chain(parts).collect();
            for database in self.iter() {
                database.store.forget(queue_id, all.clone()).await?;
            }
            Ok(())
        })
    }

    fn forget_all_but(&self, held: HashSet<QueueId>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            for database in self.iter() {
                database.store.forget_all_but(held.clone()).await?;
            }
            Ok(())
        })
    }

    /// Of all databases, by name; what lies in another one than its domain says now is among them.
    fn mailboxes(&self) -> BoxFuture<'_, Result<Vec<MailboxTotals>, StoreError>> {
        Box::pin(async move {
            let mut mailboxes = Vec::new();
            for database in self.iter() {
                mailboxes.extend(database.store.mailboxes().await?);
            }
            mailboxes.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(mailboxes)
        })
    }

    fn list(&self, mailbox: &str) -> BoxFuture<'_, Result<Listing, StoreError>> {
        self.home(mailbox).store.list(mailbox)
    }

    fn summary(&self, mailbox: &str, uid: u32) -> BoxFuture<'_, Result<Option<Summary>, StoreError>> {
        self.home(mailbox).store.summary(mailbox, uid)
    }

    fn fetch(&self, mailbox: &str, uid: u32) -> BoxFuture<'_, Result<Option<StoredMessage>, StoreError>> {
        self.home(mailbox).store.fetch(mailbox, uid)
    }

    fn delete(&self, mailbox: &str, uids: Vec<u32>) -> BoxFuture<'_, Result<usize, StoreError>> {
        self.home(mailbox).store.delete(mailbox, uids)
    }

    fn mark(&self, mailbox: &str, uid: u32, mark: ScanMark) -> BoxFuture<'_, Result<(), StoreError>> {
        self.home(mailbox).store.mark(mailbox, uid, mark)
    }

    /// Wherever it lies: its domain may have belonged to another database.
    fn remove_mailbox(&self, mailbox: &str) -> BoxFuture<'_, Result<bool, StoreError>> {
        let mailbox = mailbox.to_owned();
        Box::pin(async move {
            let mut was_there = false;
            for database in self.iter() {
                was_there |= database.store.remove_mailbox(&mailbox).await?;
            }
            Ok(was_there)
        })
    }

    fn is_closed(&self) -> bool {
        self.iter().any(|database| database.store.is_closed())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            for database in self.iter() {
                database.store.close().await;
            }
        })
    }
}

/// The stores have no text of their own.
impl std::fmt::Debug for Databases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.iter().map(|database| &database.name).collect();
        f.debug_struct("Databases").field("names", &names).finish_non_exhaustive()
    }
}

/// Under which number the copies of a recipient in one of several databases are remembered there: no envelope has so many.
const fn part_of(recipient: u32) -> u32 {
    recipient | PART
}

const fn is_part(recipient: u32) -> bool {
    recipient & PART != 0
}

const PART: u32 = 1 << 31;

#[cfg(test)]
mod tests;
