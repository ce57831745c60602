//! What new signatures find where mail waits: in the queue before its time comes, and in quarantine before anybody releases it.
//! Mailboxes are in `background`.

use std::fs;

use gatepost_tests::next_hop::{At, NextHop, Reaction};
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::{mail, wait_until};
use serde_json::{Value, json};

const ME: &str = "me@localhost";
const YOU: &str = "you@localhost";
const ANN: &str = "ann@to.example";
const MARKER: &str = "GATEPOST-KNOWN-ONLY-LATER";

/// With everything that is not here sent to this hop.
fn start(hop: &NextHop) -> Server {
    let sections = format!(
        "[delivery.remote]\nenabled = true\n[[route]]\ndomains = [\"*\"]\nhops = [\"{}\"]\n",
        hop.address
    );
    Setup::new().user(YOU).sections(&sections).start()
}

/// Nobody minds it until a rule does.
fn late() -> Vec<u8> {
    mail::message("late", format!("{MARKER}\r\n").as_bytes())
}

fn learn(server: &Server) {
    let rules = server.data().join("rules");
    fs::create_dir_all(&rules).expect("the rules folder");
    let rule = format!("rule late_rule {{ strings: $a = \"{MARKER}\" condition: $a }}\n");
    fs::write(rules.join("late.yar"), rule).expect("a rule");
    server.cli(["scan", "reload"]).succeed();
}

fn send(server: &Server, to: &[&str], content: &[u8]) -> String {
    let mut smtp = server.smtp_as_me();
    let id = smtp.mail(ME, to, content).must("250 2.0.0").queue_id();
    smtp.quit();
    id
}

fn json<const N: usize>(server: &Server, args: [&str; N]) -> Value {
    let text = server.cli(args).arg("--json").succeed().text();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
}

/// The scan of one place.
fn scan_of(server: &Server, place: &str) -> Value {
    let status = json(server, ["scan", "background", "status"]);
    let scans = status.as_array().expect("a list").iter();
    scans.clone().find(|scan| scan["place"] == place).unwrap_or_else(|| panic!("{status}"))["scan"].clone()
}

/// The names of the events that `scan trace` puts together.
fn story(server: &Server, subject: &str) -> Vec<String> {
    let trace = json(server, ["scan", "trace", subject]);
    let events = trace["events"].as_array().expect("a list").iter();
    events.map(|event| event["event"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn what_was_put_off_goes_into_quarantine_before_its_time_comes_and_its_sender_knows() {
    let hop = NextHop::start().always(At::Rcpt, Reaction::Say("451 4.2.1 later"));
    let server = start(&hop);
    let id = send(&server, &[ANN, YOU], &late());
    server.wait_for_log("recipient put off");
    assert_eq!(json(&server, ["queue", "stats"])["deferred"], 1);
    let asked = hop.connections();
    learn(&server);
    server.wait_for_empty_queue();
    assert_eq!((hop.taken_so_far(), hop.connections()), (Vec::new(), asked));
    let kept = json(&server, ["quarantine", "list"]);
    assert_eq!((&kept[0]["id"], &kept[0]["threat"]), (&id.as_str().into(), &"late_rule".into()));
    assert_eq!(kept[0]["recipients"], json!([format!("<{ANN}>")]));
    let told = String::from_utf8_lossy(&server.inbox(1)[0]).into_owned();
    assert!(told.contains("Status: 5.7.1") && !told.contains(MARKER), "{told}");

    wait_until("its end is an event", || !server.events(&["recipient.quarantined"]).is_empty());
    let found = server.events(&["queue.virus_found"]);
    assert_eq!(
        (found.len(), &found[0]["queue_id"], &found[0]["state"]),
        (1, &id.as_str().into(), &"deferred".into())
    );
    assert_eq!((&found[0]["threat"], &found[0]["sender"]), (&"late_rule".into(), &format!("<{ME}>").into()));
    assert_eq!(found[0]["waiting_for"], json!([format!("<{ANN}>")]));
    assert_eq!(found[0]["ended_for"], json!([format!("<{YOU}>")]));
    let story = story(&server, "LATE_RULE");
    for part in ["recipient.delivered", "recipient.deferred", "queue.virus_found", "recipient.quarantined"] {
        assert!(story.iter().any(|event| event == part), "{part}: {story:?}");
    }
    assert_eq!(scan_of(&server, "queue")["infected"], 1);
    assert!(server.metric("gatepost_virus_scan_background_elsewhere_infected_total") >= 1.0);
}

#[test]
fn what_is_held_is_told_once_and_stays_until_it_is_released() {
    let server = start(&NextHop::start());
    server.cli(["queue", "hold", "--all"]).succeed();
    let id = send(&server, &[YOU], &late());
    learn(&server);
    wait_until("it is told", || !server.events(&["queue.virus_found"]).is_empty());
    server.cli(["scan", "background", "start"]).succeed();
    wait_until("it is found again", || {
        let scan = scan_of(&server, "queue");
        scan["reason"] == "command" && scan["state"] == "finished" && scan["infected"] == 1
    });
    let found = server.events(&["queue.virus_found"]);
    assert_eq!((found.len(), &found[0]["state"]), (1, &"held".into()));
    assert_eq!(json(&server, ["queue", "stats"])["held"], 1);
    assert_eq!(json(&server, ["quarantine", "list"]), json!([]));
    assert_eq!(story(&server, "late_rule"), ["mail.accepted", "queue.virus_found"]);
    let words = server.cli(["scan", "trace", &id]).succeed().text();
    assert!(words.contains("waits in the queue (held, for ") && words.contains(YOU), "{words}");

    server.cli(["queue", "release", "--all"]).succeed();
    server.wait_for_empty_queue();
    assert_eq!(json(&server, ["quarantine", "list"])[0]["id"], id);
}

#[test]
fn what_lies_in_quarantine_for_something_else_is_told_and_shows_what_it_is() {
    let server = Setup::new().listener_keys("scan = { infected = \"quarantine\" }").start();
    let fragment = format!(
        "Subject: half\r\nMIME-Version: 1.0\r\nContent-Type: message/partial; id=\"a@b\"; number=1; total=2\r\n\r\n{MARKER}\r\n"
    );
    let id = send(&server, &[ME], fragment.as_bytes());
    let before = json(&server, ["quarantine", "show", &id]);
    assert!(before["threat"].as_str().is_some_and(|threat| threat.starts_with("unscannable.")), "{before}");
    assert_eq!(before["found_later"], Value::Null);
    learn(&server);
    wait_until("it is told", || !server.events(&["quarantine.virus_found"]).is_empty());
    server.cli(["scan", "background", "start"]).succeed();
    wait_until("it is scanned again", || {
        let scan = scan_of(&server, "quarantine");
        scan["reason"] == "command" && scan["state"] == "finished"
    });
    let found = server.events(&["quarantine.virus_found"]);
    assert_eq!((found.len(), &found[0]["queue_id"]), (1, &id.as_str().into()));
    assert_eq!((&found[0]["threat"], &found[0]["before"]), (&"late_rule".into(), &before["threat"]));
    let after = json(&server, ["quarantine", "list", "--threat", "late_rule"]);
    assert_eq!(
        (&after[0]["threat"], &after[0]["found_later"]["threat"]),
        (&before["threat"], &"late_rule".into())
    );
    assert!(server.cli(["quarantine", "show", &id]).succeed().text().contains("later     late_rule at "));
    assert!(story(&server, "late_rule").iter().any(|event| event == "quarantine.virus_found"));
    let outcome = server.cli(["quarantine", "release", &id]).outcome();
    assert_eq!(outcome.code(), 1, "{outcome}");
    let table = server.cli(["scan", "background", "stop"]).succeed().text();
    assert!(table.contains("quarantine") && table.contains("queue") && table.contains("default"), "{table}");
}
