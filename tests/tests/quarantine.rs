//! Infected mail that is in the queue already: into the quarantine, out of it by the operator's hand, through kill -9, and
//! away for good where deletion is switched on.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use gatepost_tests::server::{Server, files_below};
use gatepost_tests::setup::Setup;
use gatepost_tests::{mail, wait_until};
use serde_json::Value;

/// Sessions do not wait for scans here, so that what is infected gets into the queue.
fn start(scan: &str) -> Server {
    Setup::new().sections(&format!("[scan]\nin_session = false\n{scan}")).start()
}

/// Sends the test string to me, attached, and says its queue id once delivery has done with it.
fn send_infected(server: &Server) -> (String, Vec<u8>) {
    let content = mail::with_attachment("infected", "eicar.com", mail::eicar().as_bytes());
    let mut smtp = server.smtp_as_me();
    let id = smtp.mail("me@localhost", &["me@localhost"], &content).must("250 2.0.0").queue_id();
    smtp.quit();
    server.wait_for_empty_queue();
    (id, content)
}

fn json<const N: usize>(server: &Server, args: [&str; N]) -> Value {
    let text = server.cli(args).arg("--json").succeed().text();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
}

fn look_around(server: &Server, id: &str) {
    let list = json(server, ["quarantine", "list"]);
    assert_eq!(list.as_array().expect("a list").len(), 1);
    let kept = &list[0];
    assert_eq!((&kept["id"], &kept["sender"]), (&id.into(), &"<me@localhost>".into()));
    assert_eq!(kept["recipients"], serde_json::json!(["<me@localhost>"]));
    let threat = kept["threat"].as_str().expect("a name");
    assert_eq!(json(server, ["quarantine", "list", "--threat", threat]).as_array().expect("a list").len(), 1);
    assert_eq!(json(server, ["quarantine", "list", "--domain", "else.example"]), serde_json::json!([]));
    let shown = json(server, ["quarantine", "show", id]);
    assert!(shown["item"].as_str().expect("an item").contains("eicar.com"), "{shown}");
    assert!(shown["stamp"].as_str().expect("a stamp").starts_with("yara/"), "{shown}");
    assert_eq!(shown["user"], "me@localhost");
    let text = server.cli(["quarantine", "show", id]).succeed().text();
    assert!(text.contains("header    Subject: infected") && text.contains(threat), "{text}");
    assert!(server.cli(["quarantine", "list"]).succeed().text().contains(id));
}

#[test]
fn infected_mail_in_the_queue_waits_for_the_operator_with_a_server_and_without() {
    let mut server = start("");
    let (id, content) = send_infected(&server);
    look_around(&server, &id);
    let file = server.data().join(format!("quarantine/{id}.eml"));
    assert_eq!(fs::metadata(&file).expect("the mail").permissions().mode() & 0o7777, 0o600);
    let kept = fs::read(&file).expect("the mail");
    assert!(kept.starts_with(b"Received: "), "the trace comes first");
    mail::assert_same_octets(&kept[kept.len() - content.len()..], &content);
    for counted in ["messages", "files"] {
        let name = format!("gatepost_virus_scan_{counted}_quarantined_total");
        assert_eq!(server.metric(&name), 1.0, "{name}");
    }
    // The sender has logged in, so he is told; his virus does not come back to him.
    let told = &server.inbox(1)[0];
    let told = String::from_utf8_lossy(told);
    assert!(told.contains("Status: 5.7.1") && !told.contains("eicar.com"), "{told}");

    server.stop();
    look_around(&server, &id);
    assert_eq!(server.cli(["quarantine", "release", &id]).outcome().status.code(), Some(69));
    server.restart();
    look_around(&server, &id);
    assert_eq!(server.cli(["quarantine", "delete"]).outcome().status.code(), Some(64));
    assert_eq!(json(&server, ["quarantine", "delete", &id])["messages"], 1);
    assert_eq!(json(&server, ["quarantine", "list"]), serde_json::json!([]));
    assert_eq!(files_below(&server.data().join("quarantine")).len(), 0);
    // Events are gathered before they are written.
    for part in ["was put into quarantine", "was looked at by uid", "was deleted from the quarantine by uid"]
    {
        wait_until(part, || server.cli(["explain", &id]).succeed().text().contains(part));
    }
}

#[test]
fn only_what_is_clean_or_overruled_is_released_and_then_it_can_be_read() {
    let server = start("");
    let (id, content) = send_infected(&server);
    let outcome = server.cli(["quarantine", "release", &id]).outcome();
    assert_eq!(outcome.code(), 1, "{outcome}");
    let answers = json(&server, ["quarantine", "release", &id, "--force"]);
    assert!(answers[0]["released_as"].is_string() && answers[0]["overruled"][0].is_string(), "{answers}");
    server.wait_for_empty_queue();
    let inbox = server.inbox(2);
    let released = inbox.iter().find(|it| mail::field(it, "Subject").as_deref() == Some("infected"));
    mail::assert_same_octets(mail::below_trace(released.expect("it was released")), &content);
    let shown = server.cli(["mailbox", "show", "me@localhost", "2"]).succeed();
    assert_eq!(mail::field(&shown.stdout, "Subject").as_deref(), Some("infected"));
    assert_eq!(json(&server, ["quarantine", "list"]), serde_json::json!([]));
}

#[test]
fn a_kill_at_any_time_neither_delivers_nor_loses_what_is_infected() {
    let mut server = start("");
    for round in 0..4_u64 {
        let content = mail::with_attachment("infected", "eicar.com", mail::eicar().as_bytes());
        let mut smtp = server.smtp_as_me();
        for _ in 0..3 {
            smtp.mail("me@localhost", &["me@localhost"], &content).must("250 2.0.0");
        }
        std::thread::sleep(std::time::Duration::from_millis(round * 3));
        server.kill();
        server.restart();
    }
    server.wait_for_empty_queue();
    let list = json(&server, ["quarantine", "list"]);
    assert_eq!(list.as_array().expect("a list").len(), 12);
    // Nothing but what tells the sender.
    for told in server.inbox(12) {
        assert!(!String::from_utf8_lossy(&told).contains("eicar.com"));
    }
}

#[test]
fn deletion_is_for_who_switches_it_on() {
    let server = start("infected = \"delete\"\ndeletion = true\n");
    send_infected(&server);
    assert_eq!(json(&server, ["quarantine", "list"]), serde_json::json!([]));
    wait_until("the deletion is counted", || {
        server.metric("gatepost_virus_scan_messages_deleted_total") >= 1.0
    });

    let server = start("infected = \"delete\"\n");
    send_infected(&server);
    assert_eq!(json(&server, ["quarantine", "list"]).as_array().expect("a list").len(), 1);
}
