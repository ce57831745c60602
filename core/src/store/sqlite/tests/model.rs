//! Any history of deliveries, replays and deletions against a model that shares nothing.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{Place, copy, delivery};
use crate::queue::QueueId;
use crate::store::{Delivery, MailStore};

/// What is done to the store and to the model; the numbers choose mailbox, body and message.
#[derive(Debug, Clone)]
enum Step {
    Deliver { body: u8, mailboxes: Vec<u8> },
    Replay { mail: usize },
    Delete { mailbox: u8, message: usize },
    RemoveMailbox { mailbox: u8 },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u8..4, prop::collection::vec(0_u8..3, 1..4))
            .prop_map(|(body, mailboxes)| Step::Deliver { body, mailboxes }),
        2 => (0_usize..8).prop_map(|mail| Step::Replay { mail }),
        3 => (0_u8..3, 0_usize..4).prop_map(|(mailbox, message)| Step::Delete { mailbox, message }),
        1 => (0_u8..3).prop_map(|mailbox| Step::RemoveMailbox { mailbox }),
        1 => Just(Step::Reopen),
    ]
}

/// The store as a list of bodies per mailbox, without any sharing.
async fn agrees_with_the_model(steps: Vec<Step>) {
    let place = Place::new();
    let mut store = place.open();
    let mut model: BTreeMap<u8, Vec<(u32, u8)>> = BTreeMap::new();
    let mut mails: Vec<Delivery> = Vec::new();
    let name = |mailbox: u8| format!("user{mailbox}@localhost");
    for step in steps {
        match step {
            Step::Deliver { body, mailboxes } => {
                let copies = (0..)
                    .zip(&mailboxes)
                    .map(|(recipient, mailbox)| copy(recipient, &name(*mailbox)))
                    .collect();
                let mail = delivery(QueueId(mails.len() as u64), vec![body; 9], copies);
                store.deliver(mail.clone()).await.unwrap();
                mails.push(mail);
                for mailbox in mailboxes.into_iter().collect::<BTreeSet<_>>() {
                    let listing = store.list(&name(mailbox)).await.unwrap();
                    model.entry(mailbox).or_default().push((listing.messages.last().unwrap().uid, body));
                }
            }
            Step::Replay { mail } => {
                if let Some(mail) = mails.get(mail) {
                    store.deliver(mail.clone()).await.unwrap();
                }
            }
            Step::Delete { mailbox, message } => {
                let messages = model.entry(mailbox).or_default();
                if message < messages.len() {
                    let (uid, _) = messages.remove(message);
                    assert_eq!(store.delete(&name(mailbox), vec![uid]).await.unwrap(), 1);
                }
            }
            Step::RemoveMailbox { mailbox } => {
                store.remove_mailbox(&name(mailbox)).await.unwrap();
                model.remove(&mailbox);
            }
            Step::Reopen => {
                store.close().await;
                store = place.open();
            }
        }
        let mut bodies = BTreeSet::new();
        for mailbox in 0..3 {
            let expected = model.get(&mailbox).cloned().unwrap_or_default();
            let listing = store.list(&name(mailbox)).await.unwrap();
            let mut found = Vec::new();
            for message in listing.messages {
                let stored = store.fetch(&name(mailbox), message.uid).await.unwrap().unwrap();
                found.push((message.uid, stored.body()[0]));
            }
            assert_eq!(found, expected, "mailbox {mailbox}");
            bodies.extend(expected.into_iter().map(|(_, body)| body));
        }
        assert_eq!(place.count("bodies"), bodies.len());
        assert_eq!(place.count("body_chunks"), bodies.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_history_leaves_what_a_list_of_bodies_would(steps in prop::collection::vec(step(), 1..16)) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(agrees_with_the_model(steps));
    }
}
