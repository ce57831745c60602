//! What senders hear of their mail, read by a parser that is not ours.

use std::thread;
use std::time::{Duration, Instant};

use gatepost_tests::binary;
use gatepost_tests::command::Run;
use gatepost_tests::mail;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::smtp::stuffed;
use serde_json::Value;

/// He was there when his mail was accepted, and is gone before it is delivered.
#[test]
fn the_mail_of_a_removed_user_comes_back_to_its_sender() {
    let server = Setup::new().user("gone@localhost").start();
    let rcpt = "<gone@localhost> NOTIFY=FAILURE,DELAY ORCPT=rfc822;left+2Bbehind@localhost";
    send_to_a_user_who_vanishes(&server, "ENVID=order-66 RET=FULL", rcpt);
    let report = read(&server.inbox(1)[0]);
    assert_eq!(report["head"]["From"], format!("Mail Delivery System <MAILER-DAEMON@{HOSTNAME}>"));
    assert_eq!(report["head"]["To"], "me@localhost");
    assert_eq!(report["head"]["Return-Path"], "<>");
    assert_eq!(report["head"]["Auto-Submitted"], "auto-replied");
    assert_eq!(report["status"], "message/delivery-status");
    assert_eq!(report["message"]["Original-Envelope-Id"], "order-66");
    assert_eq!(report["message"]["Reporting-MTA"], format!("dns; {HOSTNAME}"));
    let [recipient] = report["recipients"].as_array().expect("recipients").as_slice() else {
        panic!("one recipient: {report}")
    };
    assert_eq!(recipient["Original-Recipient"], "rfc822; left+behind@localhost");
    assert_eq!(recipient["Final-Recipient"], "rfc822; gone@localhost");
    assert_eq!((&recipient["Action"], &recipient["Status"]), (&"failed".into(), &"5.1.1".into()));
    assert_eq!(report["returned"], "message/rfc822");
    let original = report["original"].as_str().expect("a text");
    assert!(original.contains("Subject: into the void\n"), "{original}");
    assert_eq!(server.metric("gatepost_delivery_notified_total"), 1.0);
    server.wait_for_empty_queue();
}

#[test]
fn headers_alone_come_back_where_no_more_is_wanted_and_nothing_where_nothing_is() {
    let server = Setup::new().user("gone@localhost").user("gone2@localhost").start();
    send_to_a_user_who_vanishes(&server, "RET=HDRS", "<gone@localhost> NOTIFY=FAILURE");
    let report = read(&server.inbox(1)[0]);
    assert_eq!(report["returned"], "text/rfc822-headers");
    let original = report["original"].as_str().expect("a text");
    assert!(original.contains("Subject: into the void") && !original.contains("body"), "{original}");

    send_to_a_user_who_vanishes(&server, "RET=HDRS", "<gone2@localhost> NOTIFY=NEVER");
    server.wait_for_empty_queue();
    assert_eq!(server.inbox(1).len(), 1);
}

#[test]
fn a_delivery_is_reported_once_to_who_asks_for_it() {
    let server = Setup::new().user("you@localhost").start();
    let mut smtp = server.smtp_as_me();
    smtp.say("MAIL FROM:<me@localhost> SMTPUTF8 BODY=8BITMIME").must("250 2.1.0");
    smtp.say("RCPT TO:<you@localhost> NOTIFY=SUCCESS").must("250 2.1.5");
    smtp.say("DATA").must("354");
    smtp.send(&stuffed("Subject: gr\u{fc}\u{df}e\r\n\r\nbody\r\n".as_bytes()));
    let reply = smtp.reply();
    let id = reply.must("250").queue_id();
    smtp.quit();
    let report = read(&server.inbox(1)[0]);
    assert_eq!(report["recipients"][0]["Action"], "delivered");
    assert_eq!(report["status"], "message/global-delivery-status");
    assert_eq!(report["returned"], "message/global-headers");
    server.wait_for_empty_queue();
    assert_eq!(server.inbox(1).len(), 1);
    let story = server.cli(["explain", &id]).succeed().text();
    assert!(story.contains("<me@localhost> is told of 1 recipient (delivered) in "), "{story}");
}

/// RCPT is answered while the user is there, and the body comes when he is not there any more.
fn send_to_a_user_who_vanishes(server: &Server, mail_params: &str, rcpt: &str) {
    let (user, _) = rcpt.trim_start_matches('<').split_once('>').expect("a path");
    let mut smtp = server.smtp_as_me();
    smtp.say(&format!("MAIL FROM:<me@localhost> {mail_params}")).must("250 2.1.0");
    smtp.say(&format!("RCPT TO:{rcpt}")).must("250 2.1.5");
    server.cli(["user", "remove", user]).succeed();
    let mut other = server.smtp_as_me();
    other.say("MAIL FROM:<me@localhost>").must("250 2.1.0");
    let start = Instant::now();
    while !other.say(&format!("RCPT TO:<{user}>")).is("550") {
        assert!(start.elapsed() < Duration::from_secs(30), "{user} is still there");
        thread::sleep(Duration::from_millis(300));
    }
    other.quit();
    smtp.say("DATA").must("354");
    smtp.send(&stuffed(&mail::message("into the void", b"body\r\n")));
    smtp.reply().must("250");
    smtp.quit();
}

/// By Python's email package.
fn read(report: &[u8]) -> Value {
    let script = binary::repository().join("tests/clients/read_report.py");
    let read = Run::new("python3").arg(script).stdin(report).succeed();
    serde_json::from_str(&read.text()).expect("JSON")
}

/// In the configuration of every server under test.
const HOSTNAME: &str = "gatepost.test";
