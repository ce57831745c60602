//! Infected parts are taken out or cleaned, and the rest of the mail arrives: octet by octet, once, and not before it was scanned
//! again.

use std::fs;

use gatepost_tests::repairer::Repairer;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::{mail, wait_until};
use serde_json::Value;

fn start(infected: &str, more: &str) -> Server {
    let scan = format!("[scan]\ninfected = \"{infected}\"\nrefuse_infected = false\n{more}");
    Setup::new().sections(&scan).start()
}

fn send(server: &Server, content: &[u8]) -> String {
    let mut smtp = server.smtp_as_me();
    let id = smtp.mail("me@localhost", &["me@localhost"], content).must("250 2.0.0").queue_id();
    smtp.quit();
    server.wait_for_empty_queue();
    id
}

fn quarantined(server: &Server) -> Vec<Value> {
    let text = server.cli(["quarantine", "list", "--json"]).succeed().text();
    serde_json::from_str(&text).expect("a list")
}

/// A mail whose attachment nobody minds until a rule does.
fn suspicious(subject: &str) -> Vec<u8> {
    mail::with_attachment(subject, "late.bin", b"GATEPOST-LATE-RULE-MARKER")
}

fn learn(server: &Server) {
    let rules = server.data().join("rules");
    fs::create_dir_all(&rules).expect("the rules folder");
    let rule = "rule late { strings: $a = \"GATEPOST-LATE-RULE-MARKER\" condition: $a }\n";
    fs::write(rules.join("late.yar"), rule).expect("a rule");
    server.cli(["scan", "reload"]).succeed();
}

/// The octets before and behind the attachment.
fn around(content: &[u8]) -> (&str, &str) {
    let text = std::str::from_utf8(content).expect("ASCII");
    let (before, rest) = text.split_once("--edge\r\nContent-Type: application/").expect("an attachment");
    assert!(rest.ends_with("--edge--\r\n"));
    (before, "--edge--\r\n")
}

#[test]
fn a_text_takes_the_place_of_an_infected_file_and_the_mail_as_it_was_is_kept() {
    let server = start("delete-part", "");
    let content = mail::with_attachment("infected", "eicar.com", mail::eicar().as_bytes());
    let id = send(&server, &content);
    let inbox = server.inbox(1);
    let stored = std::str::from_utf8(&inbox[0]).expect("ASCII");
    let (before, behind) = around(&content);
    let notice =
        stored.split_once(before).expect("all before it").1.strip_suffix(behind).expect("all behind it");
    assert!(notice.contains("\r\nFile:      eicar.com\r\n"), "{notice}");
    assert!(notice.contains(&format!("\r\nReference: {id}\r\n")), "{notice}");
    let field = mail::field(&inbox[0], "X-Gatepost-Rewritten").expect("a field that says so");
    assert!(field.contains(&format!("was={id}; removed=1; cleaned=0;")), "{field}");

    let kept = quarantined(&server);
    assert_eq!((kept.len(), &kept[0]["id"]), (1, &id.as_str().into()));
    for text in ["was rewritten as", "was replaced for <me@localhost>"] {
        wait_until(text, || server.cli(["explain", &id]).succeed().text().contains(text));
    }
    assert!(server.metric("gatepost_virus_scan_messages_cleaned_total") >= 1.0);
    assert!(server.metric("gatepost_virus_scan_files_removed_total") >= 1.0);
    // Nobody is told of a failure.
    assert_eq!(server.inbox(1).len(), 1);
}

#[test]
fn what_an_engine_can_clean_arrives_cleaned_and_nothing_is_kept_where_that_is_not_wanted() {
    let repairer = Repairer::start();
    let more = format!("deletion = true\n[scan.rewrite]\nkeep_original = false\n{}", repairer.engine());
    let server = start("clean", &more);
    server.wait_for_log("signatures=\"repair-1\"");
    let dirty = format!("begin {} end", mail::eicar());
    let content = mail::with_attachment("infected", "letter.doc", dirty.as_bytes());
    send(&server, &content);
    let inbox = server.inbox(1);
    let cleaned = mail::with_attachment("infected", "letter.doc", b"begin  end");
    let stored = &inbox[0];
    assert!(stored.ends_with(&cleaned), "{}", String::from_utf8_lossy(stored));
    let field = mail::field(stored, "X-Gatepost-Rewritten").expect("a field that says so");
    assert!(field.contains("removed=0; cleaned=1;") && field.contains("found=Repairable;"), "{field}");
    assert!(quarantined(&server).is_empty());
    assert!(server.metric("gatepost_virus_scan_files_cleaned_total") >= 1.0);
}

#[test]
fn a_mail_that_cannot_be_divided_goes_into_the_quarantine_whole() {
    let server = start("delete-part", "");
    let id = send(&server, &mail::message("whole", format!("{}\r\n", mail::eicar()).as_bytes()));
    let kept = quarantined(&server);
    assert_eq!((kept.len(), &kept[0]["id"]), (1, &id.as_str().into()));
    let told = &server.inbox(1)[0];
    assert!(String::from_utf8_lossy(told).contains("Status: 5.7.1"));
}

#[test]
fn a_kill_at_any_time_delivers_what_is_left_once_and_nothing_else() {
    let mut server = start("delete-part", "");
    for round in 0..4_u64 {
        let mut smtp = server.smtp_as_me();
        for number in 0..3 {
            let subject = format!("mail-{round}-{number}");
            let content = mail::with_attachment(&subject, "eicar.com", mail::eicar().as_bytes());
            smtp.mail("me@localhost", &["me@localhost"], &content).must("250 2.0.0");
        }
        std::thread::sleep(std::time::Duration::from_millis(round * 7));
        server.kill();
        server.restart();
    }
    server.wait_for_empty_queue();
    let inbox = server.inbox(12);
    let mut subjects: Vec<_> = inbox.iter().map(|stored| mail::field(stored, "Subject")).collect();
    subjects.sort_unstable();
    subjects.dedup();
    assert_eq!(subjects.len(), 12, "{subjects:?}");
    for stored in inbox {
        assert!(mail::field(&stored, "X-Gatepost-Rewritten").is_some());
    }
}

#[test]
fn what_new_signatures_find_is_taken_out_on_reading_and_comes_anew_in_the_next_session() {
    let server =
        start("quarantine", "infected_in_mailbox = \"delete-part\"\n[scan.background]\nenabled = false\n");
    let content = suspicious("late");
    let id = send(&server, &content);
    learn(&server);
    let mut pop3 = server.pop3_as(server.me());
    let before = pop3.multi("UIDL");
    let answer = pop3.say("RETR 1");
    assert!(answer.starts_with("-ERR [SYS/TEMP] a virus was taken out"), "{answer}");
    // The session goes on, and its mailbox is as it was opened.
    assert!(pop3.say("RETR 1").starts_with("-ERR [SYS/PERM]"));
    assert_eq!(pop3.count(), 1);
    pop3.quit();
    let mut pop3 = server.pop3_as(server.me());
    assert_ne!(pop3.multi("UIDL"), before);
    pop3.quit();
    let inbox = server.inbox(1);
    let stored = std::str::from_utf8(&inbox[0]).expect("ASCII");
    let (all_before, behind) = around(&content);
    let notice =
        stored.split_once(all_before).expect("all before it").1.strip_suffix(behind).expect("all behind");
    assert!(notice.contains("\r\nFile:      late.bin\r\nFound:     late\r\n"), "{notice}");

    let kept = quarantined(&server);
    assert_eq!(
        (kept.len(), &kept[0]["threat"], &kept[0]["sender"]),
        (1, &"late".into(), &"<me@localhost>".into())
    );
    let kept_as = kept[0]["id"].as_str().expect("an id").to_owned();
    wait_until("the end of it is told", || {
        let told = server.cli(["explain", &id]).succeed().text();
        told.contains("was rewritten, since it is infected with late") && told.contains(&kept_as)
    });
    let traced = server.cli(["scan", "trace", "late"]).succeed().text();
    assert!(traced.contains(&id), "{traced}");
    // What an operator lets go comes back whole.
    server.cli(["quarantine", "release", &kept_as, "--force"]).succeed();
    server.wait_for_empty_queue();
    assert!(server.inbox(2).iter().any(|stored| stored.ends_with(&content)));
}

#[test]
fn the_background_scan_acts_before_anybody_reads_and_the_command_line_does_not() {
    let server =
        start("quarantine", "infected_in_mailbox = \"quarantine\"\n[scan.background]\nenabled = false\n");
    for number in 0..3 {
        send(&server, &suspicious(&format!("late-{number}")));
    }
    send(&server, &mail::small("clean"));
    learn(&server);
    // It shows nothing, and leaves what becomes of the message to the server.
    assert_eq!(server.cli(["mailbox", "show", "me@localhost", "1"]).outcome().code(), 1);
    assert!(quarantined(&server).is_empty());
    server.cli(["scan", "background", "start"]).succeed();
    wait_until("all of them are in quarantine", || quarantined(&server).len() == 2);
    let mut pop3 = server.pop3_as(server.me());
    assert_eq!(pop3.count(), 2);
    assert!(pop3.say("RETR 1").starts_with("-ERR"));
    pop3.quit();
    assert_eq!(quarantined(&server).len(), 3);
    assert_eq!(mail::field(&server.inbox(1)[0], "Subject").as_deref(), Some("clean"));
    assert_eq!(server.metric("gatepost_remedies_total"), 3.0);
}
