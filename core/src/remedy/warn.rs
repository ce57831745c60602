//! What people here are told of a message that was found in mailboxes: its owners, of what has become of it, and its sender.
//!
//! Told behind the store's transaction: a crash in between costs the warning, and what had its end is never met again, so nobody
//! is warned twice.

use std::collections::{BTreeMap, HashSet};

use gatepost_smtp::wire::path::{ForwardPath, ReversePath};

use super::envelope;
use crate::delivery::{self, Fate, Occasion};
use crate::events::About;
use crate::quarantine::Evidence;
use crate::queue::QueueId;
use crate::store::{Copied, Replaced};

/// What has come as one mail, as far as somebody is to be told of it.
struct Mail<'a> {
    first: &'a Copied,
    sender: ReversePath,
    /// Owners who have not been told of another mail with the same body.
    owners: Vec<ForwardPath>,
    /// Whether this is the first mail of its sender.
    is_news_to_sender: bool,
}

/// Each owner and each sender once for a body. `kept`: the names in quarantine by the ids that mails came with.
pub(super) async fn warn(
    rooms: &delivery::Rooms,
    policy: &delivery::Policy,
    replaced: &[Replaced],
    kept: &BTreeMap<QueueId, QueueId>,
    evidence: &Evidence,
    fate: Fate,
) {
    for (came_as, Mail { first, sender, owners, is_news_to_sender }) in mails(replaced) {
        let occasion = Occasion {
            sender: &sender,
            received_at_ms: first.received_at_ms,
            id: kept.get(&came_as).copied().unwrap_or(came_as),
            session: envelope::SESSION,
            threat: &evidence.threat,
            item: evidence.item.as_ref(),
            fate,
        };
        let mut warned = rooms.warn_recipients(&owners, policy, occasion);
        if is_news_to_sender {
            warned.extend(rooms.warn_sender(policy, occasion));
        }
        let about = About { queue_id: Some(came_as.to_string()), ..About::default() };
        rooms.warn_at_once(warned, &about).await;
    }
}

/// Not those without a sender, since warnings have none.
fn mails(replaced: &[Replaced]) -> BTreeMap<QueueId, Mail<'_>> {
    let (mut mails, mut told, mut senders) = (BTreeMap::new(), HashSet::new(), HashSet::new());
    for Replaced { copy, .. } in replaced {
        let sender = envelope::sender(&copy.head);
        if sender == ReversePath::Null {
            continue;
        }
        let mail = mails.entry(copy.queue_id).or_insert_with(|| Mail {
            first: copy,
            is_news_to_sender: senders.insert(sender.to_string().to_ascii_lowercase()),
            sender,
            owners: Vec::new(),
        });
        if told.insert(copy.mailbox.to_ascii_lowercase())
            && let Ok(owner) = format!("<{}>", copy.mailbox).parse()
        {
            mail.owners.push(owner);
        }
    }
    mails
}
