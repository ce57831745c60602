//! The verbs between servers, with and without the right to them.

use gatepost_smtp::server::{
    ClassRights, CloseReason, Config, Extensions, Notice, PeerClass, PeerFacts, Refusal, Right,
};
use gatepost_smtp::wire::verb::Verb;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::properties::split;
use crate::scenario::{Event, Scenario, config, submission, tls};

/// A peer of this class before a server that works on the verbs, on a listener with TLS and AUTH.
pub(crate) fn passing_through(class: PeerClass) -> Scenario {
    Scenario::from(pass_through(), PeerFacts { class, ..stranger() })
}

pub(crate) fn pass_through() -> Config {
    Config { extensions: Extensions::PassThrough { blob_octets: 1000 }, ..submission() }
}

pub(crate) fn stranger() -> PeerFacts {
    PeerFacts::anonymous("192.0.2.1:4711".parse().unwrap(), Some(tls()))
}

fn server() -> Scenario {
    passing_through(PeerClass::Server)
}

fn listed_relay() -> Scenario {
    Scenario::from(submission(), PeerFacts { may_xclient: true, ..stranger() })
}

/// MS03-046, CVE-2003-0714: the public check asks whether a stranger hears 354, the exploit sends sizes.
#[test]
fn xexch50_without_the_right_gets_the_same_answer_whatever_its_argument() {
    let mut open = config();
    open.extensions = Extensions::PassThrough { blob_octets: 1000 };
    for line in
        ["XEXCH50 2 2", "xexch50 -1 2", "XEXCH50 33554432 2", "XEXCH50", "XEXCH50 2 2 2", "XEXCH50 \u{e4}"]
    {
        let scenario = Scenario::on(open.clone()).say(line, "504 5.7.0 Need to authenticate first\r\n");
        let scenario = scenario.ready_for_body().say(line, "504 5.7.0 Need to authenticate first\r\n");
        assert_eq!(scenario.rules(), ["right.extension"; 2]);
        assert_eq!(scenario.attacks().len(), 2);
        assert_eq!(scenario.asked("Extension"), 0);
    }
}

#[test]
fn octets_behind_a_refused_xexch50_are_commands() {
    let scenario = Scenario::open().greeted().send(b"XEXCH50 2 2\r\nNOOP\r\nXEXCH50 -1 2\r\nNOOP\r\n");
    let (scenario, codes) = scenario.codes();
    assert_eq!(codes, ["504", "250", "504", "250"]);
    scenario.still_open();
}

#[test]
fn an_attack_is_noticed_with_what_was_said() {
    let scenario = Scenario::open().greeted().say("XEXCH50 -1 2", "504");
    let attack = scenario.events.iter().find_map(|event| match event {
        Event::Noticed(Notice::Attack { rule, verb, class, evidence }) => {
            Some((*rule, *verb, *class, evidence.to_string()))
        }
        _ => None,
    });
    assert_eq!(attack, Some(("right.extension", "XEXCH50", PeerClass::Anonymous, "XEXCH50 -1 2".to_owned())));
    let scenario = scenario.say("X-EXPS LOGIN c2VjcmV0", "530").say("XAUTH LOGIN c2VjcmV0", "500 5.5.1");
    assert_eq!(scenario.attacks()[1..], ["X-EXPS", "XAUTH"]);
    let long = format!("X-LINK2STATE CHUNK={}", "A".repeat(2000));
    assert_eq!(scenario.say(&long, "500 5.5.2").attacks()[3..], ["X-LINK2STATE"]);
}

#[test]
fn every_verb_that_is_for_nobody_is_an_unknown_command_and_an_attack() {
    for verb in Verb::all().filter(|verb| matches!(verb, Verb::Forbidden(_))) {
        let scenario =
            server().ready_for_body().say(&format!("{} x", verb.name()), "500 5.5.1 Unknown command");
        assert_eq!((scenario.rules(), scenario.attacks().len()), (vec!["verb.forbidden"], 1));
    }
}

#[test]
fn a_request_of_http_ends_the_session_before_its_body_is_read() {
    let body = "EHLO evil.example\r\nMAIL FROM:<a@b.example>\r\n";
    let long = format!("GET /{} HTTP/1.1", "x".repeat(2_000));
    for line in ["POST / HTTP/1.1", "GET /", "PRI * HTTP/2.0", "OPTIONS", &long] {
        let octets = format!("{line}\r\nHost: mail.example\r\n\r\n{body}");
        let scenario = Scenario::open().send(octets.as_bytes()).closed_by(CloseReason::ForeignProtocol);
        assert_eq!((scenario.rules(), scenario.attacks().len()), (vec!["verb.http"], 1), "{line}");
        let _ = scenario.hears("500 5.5.1 Not an HTTP server, closing|");
    }
    Scenario::open().say("get /", "500 5.5.1 Unknown command").still_open();
}

#[test]
fn with_the_right_a_blob_is_taken_to_its_last_octet_and_a_command_follows() {
    let scenario = server().ready_for_body().say("XEXCH50 5 2", "354 Send binary data\r\n");
    let scenario = scenario.send(b"\0\r\n.\rNOOP\r\n").hears("250 2.0.0 OK|250 2.0.0 OK|");
    assert_eq!(scenario.blob(), b"\0\r\n.\r");
    assert_eq!((scenario.asked("Extension(Exch50"), scenario.asked("ExtensionEnd")), (1, 1));
    let scenario = scenario.send(b"XEXCH50 0\r\n").hears("354 Send binary data|250 2.0.0 OK|");
    scenario.say("DATA", "354").send(b"x\r\n.\r\n").hears("250 2.0.0 Queued as 01Q|");
}

#[test]
fn a_blob_larger_than_allowed_is_refused_by_its_declaration() {
    let ready = || server().ready_for_body();
    ready().say("XEXCH50 1000 2", "354");
    ready().say("XEXCH50 1001 2", "552 5.3.4").say("NOOP", "250");
    ready().say("XEXCH50 18446744073709551615 2", "552 5.3.4").still_open();
    ready().say("XEXCH50 18446744073709551616 2", "501 5.5.4");
    ready().say("XEXCH50 -1 2", "501 5.5.4");
    let mut vast = pass_through();
    vast.extensions = Extensions::PassThrough { blob_octets: u64::MAX };
    let vast = || Scenario::from(vast.clone(), PeerFacts { class: PeerClass::Server, ..stranger() });
    vast().ready_for_body().say("XEXCH50 1073741824", "354");
    vast().ready_for_body().say("XEXCH50 1073741825", "552 5.3.4");
}

#[test]
fn octets_behind_a_blob_that_is_too_large_end_the_session() {
    let scenario =
        server().ready_for_body().send(b"XEXCH50 1001 2\r\nMAIL").hears("552 5.3.4 Blob too large|");
    assert_eq!(scenario.closed_by(CloseReason::EarlyTalker).asked("Abort"), 1);
    let scenario = server().ready_for_body().send(b"XEXCH50 2 2\r\nab").hears("554 5.5.0 Refused|");
    assert_eq!(scenario.closed_by(CloseReason::EarlyTalker).blob(), b"");
}

/// Its documentation allows 40 octets, and 20 for success.
#[test]
fn replies_to_xexch50_are_short() {
    let scenario = server().ready_for_body().refuse_extensions(Refusal::StorageFailed);
    let (_, heard) = scenario.send(b"XEXCH50 2 2\r\n").heard();
    assert_eq!(heard, "451 4.3.0 Refused\r\n");
    let scenario = server().ready_for_body().say("XEXCH50 2 2", "354");
    let scenario = scenario.refuse_extensions(Refusal::StorageFailed).send(b"ab");
    scenario.hears("451 4.3.0 Refused|").still_open();
    let (_, heard) = server().ready_for_body().send(b"XEXCH50 2 2\r\n").send(b"ab").heard();
    assert!(heard.lines().last().unwrap().len() <= 18, "{heard}");
}

#[test]
fn chunks_of_link_state_have_an_order() {
    let ready = || server().greeted();
    ready().say("X-LINK2STATE CHUNK=a", "503 5.5.1");
    ready().say("X-LINK2STATE NEXT CHUNK=a", "503 5.5.1");
    ready().say("X-LINK2STATE LAST CHUNK={00000001}a", "250").say("X-LINK2STATE CHUNK=a", "503");
    let begun = ready().say("X-LINK2STATE FIRST CHUNK=a", "250").say("X-LINK2STATE FIRST CHUNK=a", "503");
    let ended = begun.say("X-LINK2STATE NEXT CHUNK=a", "250").say("X-LINK2STATE LAST CHUNK=a", "250");
    assert_eq!(ended.say("X-LINK2STATE NEXT CHUNK=a", "503").asked("Extension(LinkState"), 3);
    let again = ready().say("X-LINK2STATE FIRST CHUNK=a", "250").greeted();
    again.say("X-LINK2STATE FIRST CHUNK=a", "503").say("X-LINK2STATE NEXT CHUNK=a", "250");
    let refused = ready().refuse_extensions(Refusal::LocalError).say("X-LINK2STATE FIRST CHUNK=a", "451");
    refused.say("X-LINK2STATE NEXT CHUNK=a", "503");
    ready().say("X-LINK2STATE FIRST CHUNK={00000002}a", "501 5.5.4");
    let line = |octets: usize| format!("X-LINK2STATE FIRST CHUNK={}", "a".repeat(octets - 27));
    ready().say(&line(1024), "250");
    ready().say(&line(1025), "500 5.5.2");
}

#[test]
fn x_exps_is_auth_for_servers() {
    let scenario = server().greeted().say("X-EXPS LOGIN", "334").say("am9l", "334").say("c2VjcmV0", "235");
    // From now on the peer is what its account is.
    scenario.say("X-EXPS LOGIN", "550 5.7.1");
    passing_through(PeerClass::Anonymous).greeted().say("X-EXPS LOGIN", "530 5.7.0 Authentication required");
    passing_through(PeerClass::Partner).greeted().say("X-EXPS LOGIN", "550 5.7.1");
}

#[test]
fn extension_verbs_are_listed_for_those_who_may_use_them() {
    let listed = |scenario: Scenario| scenario.send(b"EHLO c\r\n").heard().1;
    let heard = listed(server());
    for keyword in ["XEXCH50", "X-LINK2STATE", "X-EXPS SCRAM", "ETRN", "ATRN", "XOORG"] {
        assert!(
            heard.contains(&format!("250-{keyword}")) || heard.contains(&format!("250 {keyword}")),
            "{heard}"
        );
    }
    assert!(!heard.contains("X-ANONYMOUSTLS") && !heard.contains("XCLIENT") && !heard.contains("TURN"));
    let heard = listed(passing_through(PeerClass::ExternallySecured));
    assert!(heard.ends_with("250 XEXCH50\r\n"), "{heard}");
    let embedded = Scenario::from(submission(), PeerFacts { class: PeerClass::Server, ..stranger() });
    for scenario in [embedded, passing_through(PeerClass::User), passing_through(PeerClass::Anonymous)] {
        let heard = listed(scenario);
        assert!(heard.lines().all(|line| !line[4..].starts_with('X')) && !heard.contains("TRN"), "{heard}");
    }
}

#[test]
fn xclient_begins_the_session_anew_for_listed_addresses() {
    let (scenario, heard) = listed_relay().send(b"EHLO c\r\n").heard();
    assert!(heard.ends_with("250 XCLIENT NAME ADDR PORT PROTO HELO DESTADDR DESTPORT\r\n"), "{heard}");
    let mut scenario =
        scenario.say("AUTH PLAIN AGpvZQBzZWNyZXQ=", "235").say("XCLIENT ADDR=198.51.100.7", "220 mx.example");
    assert!(scenario.session().helo().is_none() && scenario.session().identity().is_none());
    assert!(scenario.session().tls().is_some(), "the connection's own");
    scenario.say("MAIL FROM:<a@b>", "530").greeted().say("XCLIENT ADDR=198.51.100.8", "530 5.7.0");
}

/// Else whoever is behind a relay with a certificate would be that relay.
#[test]
fn the_certificate_of_a_relay_proves_nothing_of_its_client() {
    let relay = listed_relay().with_certificate().greeted();
    let (scenario, heard) =
        relay.say("XCLIENT ADDR=198.51.100.7", "220 mx.example").send(b"EHLO c\r\n").heard();
    assert!(heard.contains("250-AUTH ") && !heard.contains("EXTERNAL"), "{heard}");
    scenario.say("AUTH EXTERNAL =", "504 5.5.4");
}

#[test]
fn xclient_has_its_place_and_its_grammar() {
    listed_relay().say("XCLIENT ADDR=198.51.100.7", "503");
    let greeted = || listed_relay().greeted();
    greeted().say("XCLIENT ADDR=nonsense", "501 5.5.4").say("XCLIENT", "501").say("XCLIENT FOO=1", "501");
    greeted().say("XCLIENT NAME=a.example", "550 5.7.1").still_open();
    greeted().say("XFORWARD ADDR=198.51.100.7", "502 5.5.1");
    Scenario::open().greeted().say("XCLIENT ADDR=198.51.100.7", "530 5.7.0").say("XFORWARD", "530");
}

#[test]
fn a_verb_that_is_switched_off_is_unknown_and_not_listed() {
    let off = |verb| move |config: &mut Config| config.switched_off = vec![verb];
    Scenario::with(off(Verb::Vrfy)).greeted().say("VRFY joe", "500 5.5.1 Unknown command").say("HELP", "214");
    let (scenario, heard) = Scenario::with(off(Verb::Bdat)).send(b"EHLO c\r\n").heard();
    assert!(!heard.contains("CHUNKING"), "{heard}");
    let scenario = scenario.say("MAIL FROM:<a@b>", "250").say("RCPT TO:<joe@x>", "250");
    scenario.chunk("BDAT 6 LAST", "QUIT\r\n", "500 5.5.1").still_open();
}

#[test]
fn a_known_peer_without_the_right_to_submit_is_not_asked_for_a_password() {
    let rights = ClassRights::default().with(PeerClass::Partner, Default::default());
    let partner = PeerFacts { class: PeerClass::Partner, ..stranger() };
    Scenario::from(Config { rights, ..config() }, partner).greeted().say("MAIL FROM:<a@b>", "550 5.7.1");
}

/// RFC 4954 section 5: what a client says of the submitter is believed of servers alone.
#[test]
fn the_submitter_of_mail_is_believed_with_the_right_to_it() {
    let mail = "MAIL FROM:<a@b> AUTH=c@d";
    let asked = |scenario: &Scenario| scenario.asked("Mail { reverse_path: Mailbox") == 1;
    let trusted = server().greeted().say(mail, "250");
    let untrusted = Scenario::open().greeted().say(mail, "250");
    assert!(asked(&trusted) && asked(&untrusted));
    let is_believed = |scenario: &Scenario| format!("{:?}", scenario.events).contains("Submitter");
    assert!(is_believed(&trusted) && !is_believed(&untrusted));
    assert!(!ClassRights::default().of(PeerClass::User).contains(Right::AcceptAuthenticationFlag));
}

proptest! {
    #[test]
    fn without_the_right_nothing_reaches_a_server_behind_us(
        class in select(&[PeerClass::Anonymous, PeerClass::User, PeerClass::Partner][..]),
        parts in vec(prop_oneof![4 => select(LINES).prop_map(|line| line.as_bytes().to_vec()), 1 => vec(any::<u8>(), 0..20)], 0..20),
    ) {
        let mut config = pass_through();
        config.rights = ClassRights::default();
        let mut scenario = Scenario::from(config, PeerFacts { class, ..stranger() });
        for part in parts {
            scenario.feed(&part);
        }
        prop_assert_eq!((scenario.asked("Extension"), scenario.asked("Xclient"), scenario.blob().len()), (0, 0, 0));
    }

    /// Lines wait for their replies; a blob comes in pieces of any size.
    #[test]
    fn any_split_of_a_blob_is_the_same_blob(blob in vec(any::<u8>(), 0..300), cuts in vec(any::<Index>(), 0..9)) {
        let size = blob.len();
        let mut scenario = server().ready_for_body().send(format!("XEXCH50 {size} 2\r\n").as_bytes());
        let octets = [&blob[..], b"NOOP\r\n"].concat();
        for piece in split(&octets, &cuts) {
            scenario.feed(piece);
        }
        prop_assert_eq!(scenario.blob(), &blob[..]);
        scenario.hears("354 Send binary data|250 2.0.0 OK|250 2.0.0 OK|");
    }
}

const LINES: &[&str] = &[
    "EHLO c\r\n",
    "RSET\r\n",
    "MAIL FROM:<a@b>\r\n",
    "RCPT TO:<joe@x>\r\n",
    "BDAT 1\r\nx",
    "XEXCH50 2 2\r\n",
    "XEXCH50 0\r\n",
    "XEXCH50 2 2\r\nab",
    "xexch50 -1 2\r\n",
    "X-LINK2STATE LAST CHUNK=a\r\n",
    "X-EXPS LOGIN\r\n",
    "ETRN example.org\r\n",
    "XOORG example.org\r\n",
    "XCLIENT ADDR=198.51.100.7\r\n",
    "AUTH PLAIN AGpvZQBzZWNyZXQ=\r\n",
];
