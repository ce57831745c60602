//! Every refusal can be explained, and the way of every mail: by the token of a reply, by session, by queue id.

use std::thread;
use std::time::{Duration, Instant};

use gatepost_tests::mail;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::smtp::Reply;

fn edge() -> Server {
    Setup::new().open_listener().start()
}

/// The token in the brackets at a reply's end.
fn token(reply: &Reply) -> String {
    let line = reply.lines.last().expect("a line");
    let (_, token) = line.trim_end_matches(']').rsplit_once('[').unwrap_or_else(|| panic!("{reply:?}"));
    token.to_owned()
}

/// What `gatepost explain` says once it says this: events are written behind the reply.
fn explained(server: &Server, id: &str, text: &str) -> String {
    let start = Instant::now();
    loop {
        let outcome = server.cli(["explain", id]).outcome();
        if outcome.text().contains(text) {
            return outcome.text();
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{id} is not explained by {text:?}: {outcome}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_token_of_a_refusal_leads_to_its_rule_and_evidence() {
    let mut server = edge();
    let mut smtp = server.smtp_open();
    smtp.say("MAIL FROM:<someone@remote.example>").must("250 2.1.0");
    let refused = smtp.say("RCPT TO:<nobody@localhost>");
    let token = token(refused.must("550 5.1.1"));
    smtp.say("NOOP \x1b]0;title").must("501");
    smtp.say("HELP! \x1b").must("500");
    smtp.quit();
    let story = explained(&server, &token, "HELP!");
    assert!(
        story.contains(&format!(
            "refused at RCPT by rule rcpt.unknown: <nobody@localhost>; reply 550 [{token}]"
        )),
        "{story}"
    );
    assert!(!story.contains('\x1b'), "{story:?}");
    let session = story.lines().last().and_then(|line| line.strip_prefix("session ")).expect("its session");
    assert_eq!(explained(&server, session, "rcpt.unknown"), story);
    server.stop();
    assert_eq!(explained(&server, &token.to_lowercase(), "rcpt.unknown"), story, "without a server");
}

#[test]
fn a_queue_id_leads_to_the_way_of_its_mail() {
    let server = edge();
    let mut smtp = server.smtp_as_me();
    let id = smtp.mail("me@localhost", &["me@localhost"], &mail::small("traced")).queue_id();
    smtp.quit();
    let story = explained(&server, &id, "was delivered to <me@localhost>");
    assert!(story.contains(&format!("mail {id} was accepted from 127.0.0.1")), "{story}");
    let json = server.cli(["explain", &id, "--json"]).succeed().text();
    let events: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let names: Vec<_> = events.as_array().expect("an array").iter().map(|event| &event["event"]).collect();
    assert_eq!(names, ["mail.accepted", "recipient.delivered"]);
    let session = events[0]["session"].as_str().expect("its session");
    let story = explained(&server, session, "delivered");
    assert!(story.contains("authenticated as me@localhost"), "{story}");
}

#[test]
fn a_virus_is_explained_by_its_name() {
    let server = edge();
    let mut smtp = server.smtp_open();
    let infected = mail::message("x", mail::eicar().as_bytes());
    let token = token(smtp.mail("a@remote.example", &["me@localhost"], &infected).must("554 5.7.1"));
    let story = explained(&server, &token, "rule scan.infected: mail from <a@remote.example>");
    assert!(story.to_lowercase().contains("eicar"), "{story}");
}

#[test]
fn what_nobody_knows_is_said_with_the_reach_of_the_log() {
    let server = edge();
    let outcome = server.cli(["explain", "000000"]).outcome();
    assert_eq!(outcome.code(), 1);
    assert!(outcome.stderr.contains("nothing is known of 000000"), "{outcome}");
    assert_eq!(server.cli(["explain", "what?"]).outcome().code(), 64);
}
