//! New signatures find what was clean when it came: before anybody reads it, or when somebody does.

use std::fs;
use std::time::{Duration, Instant};

use gatepost_tests::mail;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use serde_json::Value;

#[test]
fn a_new_rule_finds_the_mail_of_yesterday_in_the_background() {
    let server = Server::start();
    let late = mail::message("late", format!("{MARKER}\r\n").as_bytes());
    receive(&server, &[mail::small("clean"), late, mail::small("clean too")]);
    server.pop3_as(server.me()).multi("RETR 2");
    add_rule(&server);
    let scan = finished(&server, |scan| scan["infected"] == 1);
    assert_eq!((&scan["reason"], &scan["messages"]), (&"new-signatures".into(), &3.into()));
    assert!(server.metric("gatepost_virus_scan_background_messages_total") >= 3.0);
    assert!(server.metric("gatepost_virus_scan_background_folders_total") >= 1.0);
    // Nobody has asked for it, and the mailbox knows.
    let list = json(&server, ["mailbox", "list", "me@localhost", "--json"]);
    let threats: Vec<_> = list.as_array().expect("a list").iter().map(|it| it["threat"].clone()).collect();
    assert_eq!(threats, [Value::Null, "late_rule".into(), Value::Null]);
    let trace = json(&server, ["scan", "trace", "LATE_RULE", "--json"]);
    assert_eq!(trace["copies"][0]["mailbox"], "me@localhost");
    assert_eq!(trace["readers"], serde_json::json!(["me@localhost"]), "he had read it before");
    let story: Vec<_> = trace["events"].as_array().expect("a list").iter().map(|it| &it["event"]).collect();
    assert_eq!(story, ["mail.accepted", "recipient.delivered", "mailbox.read", "mailbox.virus_found"]);
    assert_eq!((&trace["events"][3]["subject"], &trace["events"][3]["uid"]), (&"late".into(), &2.into()));
    for event in [&trace["events"][0], &trace["events"][3]] {
        let (sender, to) = (&event["sender"], &event["to"]);
        assert_eq!(
            (sender, to),
            (&"<me@localhost>".into(), &serde_json::json!(["<me@localhost>"])),
            "{event}"
        );
        assert_eq!((&event["recipients"], &event["protocol"]), (&1.into(), &"ESMTPSA".into()), "{event}");
    }
    assert_eq!(trace["events"][3]["database"], "default");
    for other in ["content", "queue_id"] {
        let name = trace["copies"][0][other].as_str().expect("a name");
        assert_eq!(json(&server, ["scan", "trace", name, "--json"]), trace, "{other}");
    }
    let told = server.cli(["scan", "trace", "late_rule"]).succeed().text();
    assert!(told.contains("is infected with late_rule") && told.contains("read by: me@localhost"), "{told}");
    let found = "in INBOX of me@localhost, database default, from <me@localhost>, subject \"late\", over ESMTPSA, \
                 to <me@localhost>";
    assert!(told.contains(found) && told.contains("octets, over ESMTPSA, to <me@localhost>"), "{told}");
    assert_eq!(server.cli(["scan", "trace", "no_such_threat"]).outcome().code(), 1);
    let mut pop3 = server.pop3_as(server.me());
    let answer = pop3.say("RETR 2");
    assert!(answer.starts_with("-ERR [SYS/PERM]"), "{answer}");
    assert!(pop3.say("RETR 1").starts_with("+OK"));
}

#[test]
fn a_new_rule_finds_the_mail_of_yesterday_when_it_is_read() {
    let server = Setup::new().sections("[scan.background]\nenabled = false\n").start();
    receive(&server, &[mail::message("late", format!("{MARKER}\r\n").as_bytes())]);
    add_rule(&server);
    let patience = Instant::now() + TAKEN_UP;
    let mut pop3 = server.pop3_as(server.me());
    while !pop3.say("TOP 1 0").starts_with("-ERR [SYS/PERM]") {
        while pop3.wire().line() != b"." {}
        assert!(Instant::now() < patience, "the rule is not taken up");
        std::thread::sleep(Duration::from_millis(300));
    }
    let status = json(&server, ["scan", "background", "status", "--json"]);
    assert_eq!(status[0]["scan"], Value::Null, "nothing ran in the background");
}

#[test]
fn it_is_begun_and_ended_on_order_and_goes_on_after_a_crash() {
    let slow = "[scan.background]\nenabled = false\nmessages_per_second = 2\nignore_stamps = true\n";
    let mut server = Setup::new().sections(slow).start();
    let mails: Vec<_> = (0..12).map(|number| mail::small(&number.to_string())).collect();
    receive(&server, &mails);
    let begun = json(&server, ["scan", "background", "start", "--json"]);
    assert_eq!((&begun[0]["database"], &begun[0]["scan"]["state"]), (&"default".into(), &"running".into()));
    // A position is kept every two seconds.
    std::thread::sleep(Duration::from_millis(4_500));
    server.kill();
    server.restart();
    let status = json(&server, ["scan", "background", "status", "--json"]);
    assert_eq!(status[0]["scan"]["started_at_ms"], begun[0]["scan"]["started_at_ms"]);
    assert!(status[0]["scan"]["messages"].as_u64().is_some_and(|messages| messages >= 2), "{status}");
    let stopped = json(&server, ["scan", "background", "stop", "--json"]);
    assert_eq!(stopped[0]["scan"]["state"], "stopped");
    let table = server.cli(["scan", "background", "status"]).succeed().text();
    assert!(table.contains("default") && table.contains("stopped"), "{table}");
    server.stop();
    let outcome = server.cli(["scan", "background", "status"]).outcome();
    assert_eq!(outcome.code(), 69, "{outcome}");
}

fn receive(server: &Server, mails: &[Vec<u8>]) {
    let mut smtp = server.smtp_as_me();
    for mail in mails {
        smtp.mail("me@localhost", &["me@localhost"], mail).must("250 2.0.0");
    }
    smtp.quit();
    server.wait_for_empty_queue();
}

fn add_rule(server: &Server) {
    let rules = server.data().join("rules");
    fs::create_dir_all(&rules).expect("the rules folder");
    let rule = format!("rule late_rule {{ strings: $a = \"{MARKER}\" condition: $a }}\n");
    fs::write(rules.join("late.yar"), rule).expect("a rule");
}

fn finished(server: &Server, holds: impl Fn(&Value) -> bool) -> Value {
    let patience = Instant::now() + TAKEN_UP;
    loop {
        let status = json(server, ["scan", "background", "status", "--json"]);
        let scan = &status[0]["scan"];
        if scan["state"] == "finished" && holds(scan) {
            return scan.clone();
        }
        assert!(Instant::now() < patience, "waited in vain: {status}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn json<const N: usize>(server: &Server, arguments: [&str; N]) -> Value {
    serde_json::from_str(&server.cli(arguments).succeed().text()).expect("JSON")
}

const MARKER: &str = "GATEPOST-KNOWN-ONLY-LATER";
/// Rules are looked at every few seconds.
const TAKEN_UP: Duration = Duration::from_secs(60);
