//! Who is warned of infected mail, and that no warning leads to another.

use super::house::{ALICE, BOB, House, Mail, Running};
use super::notices::fetch;
use super::*;
use crate::delivery::{Template, Warnings};
use crate::intake::Body;
use crate::scan::{Disposal, InfectedAction, Rewriting};

const PARTS: &str =
    "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n--b\r\n\r\nMARK\r\n--b--\r\n";

fn warnings() -> Warnings {
    let template = |subject| Template::new(subject, "{threat} in {item} of {sender}: {outcome} as {id}").ok();
    Warnings { recipient: template("for recipients"), sender: template("for senders") }
}

async fn start(house: &House, infected: InfectedAction, warnings: Warnings, per_hour: u32) -> Running {
    house.engine.learn("2", Verdict::Infected { threat: "Late".into() });
    let mut idle = house.start_idle();
    idle.infected = infected;
    (idle.warnings, idle.warnings_per_hour) = (warnings, per_hour);
    idle.with_workers(&house.engine).await
}

fn mail<'a>(sender: &'a str, recipients: &[&'a str]) -> Mail<'a> {
    let body = Body::Memory(PARTS.to_owned().into());
    Mail { sender, recipients: recipients.iter().map(|to| (*to, "")).collect(), body, ..Mail::default() }
}

#[tokio::test]
async fn recipients_here_hear_of_it_and_strangers_do_not() {
    let house = House::new();
    let running = start(&house, InfectedAction::Quarantine, warnings(), 10).await;
    let id = mail("<stranger@example.org>", &[ALICE, BOB, "carol@example.net"]).accept(&running.queue).await;
    running.until_queue_empty().await;
    for mailbox in [ALICE, BOB] {
        assert_eq!(running.count(mailbox).await, 1);
        let warning = fetch(&running, mailbox, 1).await;
        assert!(
            warning.starts_with("Return-Path: <>\r\n")
                && warning.contains("\r\nAuto-Submitted: auto-generated\r\n")
        );
        let text =
            format!("\r\nLate in the message of <stranger@example.org>: put into quarantine as {id}\r\n");
        assert!(warning.contains(&text) && warning.contains("Subject: for recipients"), "{warning}");
    }
    let counters = running.stop().await;
    assert_eq!(counters.of("gatepost_delivery_recipients_total", "bounced"), 0.0);
}

/// He hears what is left of his mail; where a notification tells him of its end, he is not told twice.
#[tokio::test]
async fn a_sender_here_hears_of_what_was_taken_out_and_is_told_once_of_the_rest() {
    let house = House::new();
    let rewriting = Rewriting { cleans: false, keeps_original: true, otherwise: Disposal::Quarantine };
    let running = start(&house, InfectedAction::Rewrite(rewriting), warnings(), 10).await;
    mail("<alice@localhost>", &[BOB]).accept(&running.queue).await;
    running.until_queue_empty().await;
    assert_eq!((running.count(ALICE).await, running.count(BOB).await), (1, 1));
    let warning = fetch(&running, ALICE, 1).await;
    assert!(warning.contains(": delivered without what was infected as "), "{warning}");
    running.stop().await;

    let house = House::new();
    for (user, subject) in [(None, "for senders"), (Some(ALICE), "Your mail could not be delivered")] {
        let silent = Warnings { recipient: None, ..warnings() };
        let running = start(&house, InfectedAction::Delete, silent, 10).await;
        Mail { user, ..mail("<alice@localhost>", &[BOB]) }.accept(&running.queue).await;
        running.until_queue_empty().await;
        let count = u32::try_from(running.count(ALICE).await).unwrap();
        assert_eq!(count, if user.is_none() { 1 } else { 2 });
        assert!(fetch(&running, ALICE, count).await.contains(&format!("\r\nSubject: {subject}\r\n")));
        running.stop().await;
    }
}

#[tokio::test]
async fn no_warning_is_about_a_warning_and_an_hour_has_no_more_than_it_may() {
    let house = House::new();
    let infected = Template::new("s", "MARK").ok();
    let both = Warnings { recipient: infected.clone(), sender: infected };
    let running = start(&house, InfectedAction::Delete, both, 2).await;
    for _ in 0..5 {
        mail("<stranger@example.org>", &[ALICE]).accept(&running.queue).await;
    }
    mail("<>", &[BOB]).accept(&running.queue).await;
    running.until_queue_empty().await;
    assert_eq!((running.count(ALICE).await, running.count(BOB).await), (0, 0));
    let counters = running.stop().await;
    // Six mails, and two warnings that are infected themselves.
    assert_eq!(counters.of("gatepost_delivery_recipients_total", "deleted_by_policy"), 8.0);
}
