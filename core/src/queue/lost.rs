//! Mails whose records are damaged, for who tells their senders.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::envelope::{decode_message, decode_stored};
use super::handle::Queue;
use super::messages::DAMAGE_TOLD_MAX;
use super::record::{HEADER_OCTETS, Kind};
use super::recovery::CORRUPT_FOLDER;
use super::shared::Shared;
use super::{Damage, NewMessage};

/// Files in `corrupt/` that are news.
#[derive(Debug, Default)]
pub(super) struct News {
    names: Mutex<VecDeque<String>>,
    changed: Notify,
}

// === impl News ===

impl News {
    pub(super) fn add_all(&self, damage: &[Damage]) {
        for found in damage {
            if let Damage::Record { set_aside, .. } = found {
                self.add(set_aside.clone());
            }
        }
    }

    pub(super) fn add(&self, name: String) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() < DAMAGE_TOLD_MAX {
            names.push_back(name);
        }
        drop(names);
        self.changed.notify_one();
    }

    /// So that whoever waits looks whether the queue is closed.
    pub(super) fn wake(&self) {
        self.changed.notify_one();
    }

    fn take(&self, most: usize) -> Vec<String> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let count = names.len().min(most);
        names.drain(..count).collect()
    }
}

// === impl Queue ===

impl Queue {
    /// Waits for damage that nobody was told of, and answers what can be made out of up to `most` of its records: mails of
    /// which some octets are wrong or missing, their envelopes maybe as well, and which are nowhere else in the queue. `None`
    /// once the queue is closed.
    pub async fn lost(&self, most: usize) -> Option<Vec<NewMessage>> {
        loop {
            let names = self.shared.news.take(most);
            if names.is_empty() {
                if self.shared.is_closed() {
                    return None;
                }
                self.shared.news.changed.notified().await;
                continue;
            }
            let shared = Arc::clone(&self.shared);
            let read = move || names.iter().filter_map(|name| shared.remains(name)).collect::<Vec<_>>();
            let remains = self.readers.run(read).await.unwrap_or_default();
            if !remains.is_empty() {
                return Some(remains);
            }
        }
    }
}

// === impl Shared ===

impl Shared {
    /// The mail in a file of `corrupt/`, unless that is about something else. Blocking.
    fn remains(&self, name: &str) -> Option<NewMessage> {
        let file = self.disk.open(&self.root.join(CORRUPT_FOLDER).join(name), true).ok()?;
        let mut octets = vec![0; usize::try_from(file.len().ok()?).ok()?];
        let count = file.read_at(0, &mut octets).ok()?;
        octets.truncate(count);
        let payload = Bytes::from(octets);
        let payload = payload.slice(HEADER_OCTETS.min(payload.len())..);
        let head = decode_message(&payload).or_else(|_| decode_stored(Kind::Moved, &payload)).ok()?;
        // Carried on, it may lie elsewhere as a whole.
        let is_here = self.index().get(head.id).is_some();
        (!is_here).then(|| head.into_message(&payload, &self.spool))
    }
}
