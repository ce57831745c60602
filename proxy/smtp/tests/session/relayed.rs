//! A server behind that decides on logins, and that offers less than we would.

use gatepost_smtp::client::Capabilities;
use gatepost_smtp::server::{Answer, AuthOffer, Config, Identity, Mechanism, PeerClass, PeerFacts, Refusal};
use gatepost_smtp::wire::reply_parse::{ReplyReader, ServerReply};

use crate::extension::{pass_through, stranger};
use crate::scenario::{Scenario, submission};

const OFFERED: [&str; 4] = ["AUTH NTLM LOGIN SCRAM-SHA-256-PLUS", "X-EXPS GSSAPI", "XEXCH50", "8BITMIME"];

fn offered() -> Capabilities {
    Capabilities::parse(OFFERED)
}

fn said(line: &str) -> ServerReply {
    ReplyReader::default().read(format!("{line}\r\n").as_bytes()).unwrap().1.unwrap()
}

/// A listener that relays logins, with every mechanism inside of TLS.
fn relaying(config: Config) -> Config {
    let inside_tls = Mechanism::ALL.to_vec();
    Config { auth: AuthOffer { inside_tls, outside_tls: Vec::new(), is_relayed: true }, ..config }
}

/// A stranger inside TLS, and what the server behind offers once it is asked.
fn before(offered: Capabilities) -> Scenario {
    let mut scenario = Scenario::inside_tls(relaying(submission())).before(Capabilities::default());
    scenario.behind = Answer::Behind(offered);
    scenario
}

#[test]
fn ehlo_offers_the_mechanisms_of_the_session_behind() {
    let (scenario, heard) = before(offered()).send(b"EHLO client.example\r\n").heard();
    assert!(heard.contains("250-AUTH NTLM LOGIN\r\n"), "{heard}");
    assert!(heard.contains("8BITMIME") && !heard.contains("X-EXPS"), "{heard}");
    assert_eq!(scenario.asked("Behind"), 1);
    let scenario = scenario.say("AUTH GSSAPI eA==", "504 5.5.4").say("AUTH PLAIN eA==", "504 5.5.4");
    scenario.say("AUTH SCRAM-SHA-256-PLUS eA==", "504 5.5.4");
}

#[test]
fn ehlo_in_the_clear_needs_nobody_behind() {
    let scenario = Scenario::on(relaying(submission())).before(offered());
    let (scenario, heard) = scenario.send(b"EHLO client.example\r\n").heard();
    assert!(!heard.contains("AUTH"), "{heard}");
    assert_eq!(scenario.asked("Behind"), 0);
    scenario.say("AUTH NTLM", "530 5.7.0");
}

#[test]
fn without_a_session_behind_there_is_no_ehlo() {
    let mut scenario = before(offered());
    scenario.behind = Answer::Refused(Refusal::BehindUnavailable);
    let mut scenario =
        scenario.say("EHLO client.example", "451 4.4.1").say("MAIL FROM:<a@b.example>", "530 5.7.0");
    scenario.behind = Answer::Behind(offered());
    let mut scenario = scenario.greeted().say("AUTH NTLM eA==", "535");
    // What it has said to this very client.
    scenario.behind = Answer::Said(said("554 5.7.1 not from there"));
    scenario
        .say("EHLO client.example", "554 5.7.1 not from there\r\n")
        .say("MAIL FROM:<a@b.example>", "530 5.7.0");
}

#[test]
fn what_comes_behind_ehlo_waits_for_its_reply() {
    let scenario = before(offered()).hold_answers().send(b"EHLO client.example\r\nNOOP\r\n");
    let (scenario, heard) = scenario.heard();
    assert_eq!(heard, "");
    let (_, codes) = scenario.answer_held().send(b"NOOP\r\n").codes();
    assert_eq!(codes, ["250", "250"]);
}

/// It has a connection behind, and is nobody yet.
#[test]
fn a_response_to_a_challenge_from_behind_must_come_soon() {
    let minute = std::time::Duration::from_secs(60);
    let mut scenario = before(offered()).greeted();
    scenario.login = Answer::Challenge(b"go on".to_vec());
    let scenario = scenario.say("AUTH NTLM", "334").wait(minute / 2).say("eA==", "334");
    assert_eq!(scenario.time_left(), minute);
    scenario.wait(minute).hears("421 4.4.2 Timeout, closing|");
}

#[test]
fn a_refusal_of_the_server_behind_keeps_its_words_and_counts() {
    let mut scenario = before(offered()).greeted();
    scenario.login = Answer::Said(said("535 5.7.3 unsuccessful"));
    for _ in 0..3 {
        scenario = scenario.say("AUTH NTLM eA==", "535 5.7.3 unsuccessful\r\n");
    }
    scenario.say("AUTH NTLM eA==", "421 4.7.0");
    let mut scenario = before(offered()).greeted();
    scenario.login = Answer::Said(said("454 4.7.0 not now"));
    for _ in 0..5 {
        scenario = scenario.say("AUTH NTLM eA==", "454 4.7.0 not now\r\n");
    }
}

#[test]
fn who_is_let_in_behind_is_what_the_answer_says_and_stays_it() {
    let mut scenario = before(offered()).greeted();
    let identity = Identity::relayed(PeerClass::User);
    assert!(identity.is_relayed());
    scenario.login = Answer::Authenticated { identity, final_data: None };
    let scenario = scenario.say("AUTH NTLM eA==", "235 2.7.0").say("AUTH NTLM eA==", "503 5.5.1");
    let scenario = scenario.greeted();
    assert_eq!(scenario.asked("Behind"), 1, "a user has no use for another session behind");
    scenario.say("XEXCH50 2 2", "504 5.7.0");
}

#[test]
fn a_server_is_offered_the_verbs_of_the_session_behind_and_nothing_else() {
    let facts = PeerFacts { class: PeerClass::Server, ..stranger() };
    let mut scenario = Scenario::from(relaying(pass_through()), facts).before(offered());
    scenario.behind = Answer::Behind(Capabilities::parse(["X-EXPS GSSAPI", "X-LINK2STATE", "XRDST"]));
    let (scenario, heard) = scenario.send(b"EHLO server.example\r\n").heard();
    for keyword in ["X-LINK2STATE", "X-EXPS GSSAPI", "XRDST"] {
        assert!(heard.contains(keyword), "{keyword}: {heard}");
    }
    assert!(!heard.contains("XEXCH50") && !heard.contains("XOORG") && !heard.contains("ETRN"), "{heard}");
    let scenario = scenario.say("XOORG x", "502 5.5.1").say("XRDST x", "250 2.0.0");
    scenario.say("X-EXPS NTLM eA==", "504 5.5.4").say("AUTH NTLM eA==", "502 5.5.1");
}

/// A cancelled login ends the session behind, and the next one has heard of no series (MS05-021).
#[test]
fn a_series_does_not_outlive_the_session_behind() {
    let facts = PeerFacts { class: PeerClass::Server, ..stranger() };
    let mut scenario = Scenario::from(relaying(pass_through()), facts).before(offered());
    scenario.behind = Answer::Behind(Capabilities::parse(["X-EXPS GSSAPI", "X-LINK2STATE"]));
    scenario.login = Answer::Challenge(b"go on".to_vec());
    let scenario = scenario.greeted().say("X-LINK2STATE FIRST CHUNK=a", "250").say("X-EXPS GSSAPI", "334");
    let scenario = scenario.say("*", "501 5.7.0").say("X-LINK2STATE NEXT CHUNK=a", "503 5.5.1");
    scenario.say("X-LINK2STATE FIRST CHUNK=a", "250").say("X-LINK2STATE NEXT CHUNK=a", "250");
}

#[test]
fn what_the_server_behind_says_to_a_verb_is_told_within_bounds() {
    let facts = PeerFacts { class: PeerClass::Server, ..stranger() };
    let scenario = Scenario::from(pass_through(), facts).before(offered());
    let mut scenario = scenario;
    scenario.behind = Answer::Behind(Capabilities::parse(["XEXCH50", "X-LINK2STATE"]));
    let mut scenario = scenario.ready_for_body();
    scenario.extension = Answer::Said(said("550 5.7.1 a text that is longer than forty octets allow"));
    let (scenario, heard) = scenario.send(b"XEXCH50 2 2\r\n").heard();
    assert_eq!(heard, "550 5.7.1 Refused\r\n");
    let mut scenario = scenario.say("RSET", "250");
    scenario.extension = Answer::Said(said("200 LAST CHUNK={00000001}x"));
    scenario.say("X-LINK2STATE FIRST CHUNK=a", "250 2.0.0 LAST CHUNK={00000001}x\r\n");
}
