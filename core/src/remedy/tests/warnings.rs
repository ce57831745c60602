//! Who is warned of what was found in mailboxes, of what, and how often.

use super::*;
use crate::delivery::Template;
use crate::queue::NewMessage;

/// The attachment is `MARK` in base64.
const FILE: &str = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n--b\r\n\
    Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=\"late.bin\"\r\n\
    Content-Transfer-Encoding: base64\r\n\r\nTUFSSw==\r\n--b--\r\n";
const STRANGER: &str = "<a@b.example>";

fn warnings() -> Warnings {
    let template =
        |subject| Template::new(subject, "{received}: {threat} in {item} of {sender} {outcome} as {id}").ok();
    Warnings { recipient: template("for owners"), sender: template("for senders") }
}

impl House {
    /// What is in the queue: to whom, and the text.
    async fn told(&self) -> Vec<(Vec<String>, String)> {
        let queue = &self.remedy.rooms.delivery.queue;
        let mut told = Vec::new();
        while !queue.is_empty() {
            let claim = queue.claim().await.unwrap();
            let NewMessage { submission, body, .. } = &*claim.message;
            assert!(submission.envelope.reverse_path.to_string() == "<>");
            let to = submission.envelope.recipients.iter().map(|recipient| recipient.path.to_string());
            told.push((to.collect(), String::from_utf8(body.read().unwrap().to_vec()).unwrap()));
            let done = crate::queue::Outcome::Done(crate::delivery::Disposition::Delivered);
            let outcomes = claim.pending.iter().map(|index| (*index, done.clone())).collect();
            queue.settle(claim, outcomes).await.unwrap();
        }
        told
    }
}

#[tokio::test]
async fn each_owner_hears_once_which_file_was_found_and_the_stranger_who_sent_it_does_not() {
    let taken_out = "taken out of the mailbox and put into quarantine";
    let rewritten = "replaced in the mailbox by what is not infected";
    for (action, outcome) in [
        (InfectedAction::Quarantine, taken_out),
        (InfectedAction::Rewrite(REWRITING), rewritten),
        (InfectedAction::Delete, "deleted from the mailbox"),
    ] {
        let house = House::warning(FILE, STRANGER, policy(Some(action), warnings(), 10)).await;
        let _withheld = house.gate.release(ALICE, 2).await.unwrap_err();
        let kept = house.kept().await;
        // What is kept nowhere is known by the id that it came with.
        let id = kept.first().map_or_else(|| QueueId(1).to_string(), |record| record.id.clone());
        let told = house.told().await;
        let [(owners, text)] = &told[..] else { panic!("one warning for both: {told:?}") };
        assert_eq!(*owners, ["<alice@localhost>", "<bob@localhost>"]);
        let expected = format!(
            "\r\n\r\nThu, 1 Jan 1970 00:00:00 +0000: Late in \"late.bin\" of <a@b.example> {outcome} as {id}\r\n"
        );
        assert!(text.contains("Subject: for owners\r\n") && text.ends_with(&expected), "{text}");
        // Whoever comes later finds nothing that anybody would have to be told of.
        let _withheld = house.gate.release(BOB, 1).await.unwrap_err();
        assert_eq!(house.told().await, []);
    }
}

#[tokio::test]
async fn a_sender_here_hears_of_it_once() {
    let quarantine = Some(InfectedAction::Quarantine);
    let silent = Warnings { recipient: None, ..warnings() };
    let house = House::warning(FILE, "<bob@localhost>", policy(quarantine, silent, 10)).await;
    let _withheld = house.gate.release(ALICE, 1).await.unwrap_err();
    let told = house.told().await;
    assert_eq!((told.len(), &told[0].0), (1, &vec!["<bob@localhost>".to_owned()]));
    assert!(told[0].1.contains("Subject: for senders\r\n"), "{}", told[0].1);
}

#[tokio::test]
async fn what_came_without_a_sender_is_warned_of_to_nobody_and_neither_is_more_than_an_hour_may_have() {
    let quarantine = Some(InfectedAction::Quarantine);
    let house = House::warning(FILE, "<>", policy(quarantine, warnings(), 10)).await;
    let _withheld = house.gate.release(ALICE, 1).await.unwrap_err();
    assert_eq!((house.kept().await.len(), house.told().await), (2, vec![]));

    let house = House::warning(FILE, "<bob@localhost>", policy(quarantine, warnings(), 1)).await;
    let _withheld = house.gate.release(ALICE, 1).await.unwrap_err();
    let told = house.told().await;
    assert_eq!((told.len(), told[0].0.len()), (1, 2), "the owners come first");
}

/// As after a restart, where the mark alone is left.
#[tokio::test]
async fn what_was_found_long_ago_is_looked_at_again_for_its_name() {
    let house = House::warning(FILE, STRANGER, policy(None, warnings(), 10)).await;
    let _withheld = house.gate.release(ALICE, 1).await.unwrap_err();
    assert_eq!(house.told().await, [], "nothing has become of it");
    house.remedy.rooms.delivery.scanner.forget();
    house.remedy.reload(policy(Some(InfectedAction::Quarantine), warnings(), 10));
    let _withheld = house.gate.release(ALICE, 1).await.unwrap_err();
    assert!(house.told().await[0].1.contains("Late in \"late.bin\" of"));
}
