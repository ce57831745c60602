//! Who is warned of infected mail: recipients and senders who live here, by a text that names what was found, and nobody else.

use std::fs;

use gatepost_tests::clients::{self, Tls};
use gatepost_tests::next_hop::NextHop;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::{mail, wait_until};

const ME: &str = "me@localhost";
const YOU: &str = "you@localhost";
const STRANGER: &str = "stranger@remote.example";

/// With these settings of `[scan]` and of the listeners. A notification or a warning to a stranger would come to the hop.
fn start(scan: &str, listeners: &str, hop: &NextHop) -> Server {
    let sections = format!(
        "[scan]\nrefuse_infected = false\n{scan}[scan.warnings]\nrecipients = true\nsenders = true\n\
         [delivery.remote]\nenabled = true\n[[route]]\ndomains = [\"*\"]\nhops = [\"{}\"]\n",
        hop.address
    );
    Setup::new().open_listener().listener_keys(listeners).user(YOU).sections(&sections).start()
}

fn infected() -> Vec<u8> {
    mail::with_attachment("infected", "eicar.com", mail::eicar().as_bytes())
}

fn stranger_sends(server: &Server) -> String {
    let mut smtp = server.smtp_open();
    let id = smtp.mail(STRANGER, &[ME, YOU], &infected()).must("250 2.0.0").queue_id();
    smtp.quit();
    server.wait_for_empty_queue();
    id
}

/// A mail of ours without a sender, with this subject, that says all of this.
fn assert_warning(stored: &[u8], subject: &str, said: &[&str]) {
    assert_eq!(mail::field(stored, "Subject").as_deref(), Some(subject));
    assert_eq!(mail::field(stored, "Return-Path").as_deref(), Some("<>"));
    assert_eq!(mail::field(stored, "Auto-Submitted").as_deref(), Some("auto-generated"));
    let text = String::from_utf8_lossy(stored);
    for words in said {
        assert!(text.contains(words), "{words:?} is missing: {text}");
    }
    assert!(!text.contains("See attachment."), "nothing of the mail: {text}");
}

/// The name that the embedded engine has for the test string.
fn threat(server: &Server, id: &str) -> String {
    let shown = server.cli(["quarantine", "show", id, "--json"]).succeed().text();
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    shown["threat"].as_str().expect("a name").to_owned()
}

#[test]
fn recipients_hear_of_what_was_kept_from_them_and_the_stranger_who_sent_it_does_not() {
    for (scan, listeners) in [("", ""), ("", "scan = { infected = \"quarantine\" }")] {
        let hop = NextHop::start();
        let server = start(scan, listeners, &hop);
        let id = stranger_sends(&server);
        let said = [
            format!("<{STRANGER}> was put into quarantine on gatepost.test"),
            format!("a virus was found in \"eicar.com\": {}\r\n", threat(&server, &id)),
            id,
        ];
        let said = said.each_ref().map(String::as_str);
        for user in &server.users {
            assert_warning(&server.inbox_of(user, 1)[0], "A virus was found in a mail to you", &said);
        }
        assert_eq!(hop.connections(), 0, "no word to the outside: {:?}", hop.said());
        assert_eq!(server.metric("gatepost_delivery_warnings_total"), 1.0);
    }
}

#[test]
fn a_sender_here_hears_what_was_taken_out_and_his_recipient_has_the_rest() {
    let hop = NextHop::start();
    let server = start("infected = \"delete-part\"\n", "", &hop);
    let outcome = clients::swaks(&server, Tls::StartTls, "PLAIN", YOU, &infected());
    assert_eq!(outcome.code(), 0, "{outcome}");
    let left = server.inbox_of(&server.users[1], 1).remove(0);
    assert!(String::from_utf8_lossy(&left).contains("\r\nFile:      eicar.com\r\n"));
    let kept = server.cli(["quarantine", "list", "--json"]).succeed().text();
    let kept: serde_json::Value = serde_json::from_str(&kept).expect("JSON");
    let said = [
        format!("your address <{ME}>: {}", kept[0]["threat"].as_str().expect("a name")),
        "It was in \"eicar.com\". On gatepost.test the mail was delivered without what was infected."
            .to_owned(),
        format!("knows the mail as {}.", kept[0]["id"].as_str().expect("an id")),
    ];
    let said = said.each_ref().map(String::as_str);
    assert_warning(&server.inbox(1)[0], "A virus was found in your mail", &said);
    server.wait_for_empty_queue();
    assert_eq!((server.inbox(1).len(), hop.connections()), (1, 0));
}

#[test]
fn a_sender_who_has_logged_in_hears_once_of_what_was_kept_back() {
    let hop = NextHop::start();
    let server = start("", "", &hop);
    let outcome = clients::swaks(&server, Tls::StartTls, "PLAIN", YOU, &infected());
    assert_eq!(outcome.code(), 0, "{outcome}");
    server.wait_for_empty_queue();
    let told = server.inbox(1).remove(0);
    assert_eq!(mail::field(&told, "Auto-Submitted").as_deref(), Some("auto-replied"), "a notification");
    assert_eq!(server.inbox_of(&server.users[1], 1).len(), 1);
}

#[test]
fn texts_are_the_operators_own() {
    let hop = NextHop::start();
    let own = "infected = \"delete\"\ndeletion = true\n[scan.warnings.recipient]\nsubject = \"Not for you\"\n\
               text = \"{outcome}: {threat}\"\n";
    let server = start(own, "", &hop);
    stranger_sends(&server);
    let warning = server.inbox(1).remove(0);
    assert_warning(&warning, "Not for you", &["\r\n\r\ndeleted: "]);
}

/// With an attachment that nobody minds until a rule does.
fn suspicious() -> Vec<u8> {
    mail::with_attachment("late", "late.bin", b"GATEPOST-LATE-RULE-MARKER")
}

fn learn(server: &Server) {
    let rules = server.data().join("rules");
    fs::create_dir_all(&rules).expect("the rules folder");
    let rule = "rule late { strings: $a = \"GATEPOST-LATE-RULE-MARKER\" condition: $a }\n";
    fs::write(rules.join("late.yar"), rule).expect("a rule");
    server.cli(["scan", "reload"]).succeed();
}

#[test]
fn owners_hear_once_of_what_the_background_scan_takes_out_of_their_mailboxes() {
    let hop = NextHop::start();
    let server = start("infected_in_mailbox = \"quarantine\"\n", "", &hop);
    let mut smtp = server.smtp_open();
    let id = smtp.mail(STRANGER, &[ME, YOU], &suspicious()).must("250 2.0.0").queue_id();
    smtp.quit();
    server.wait_for_empty_queue();
    learn(&server);
    server.cli(["scan", "background", "start"]).succeed();
    let told = ": <me@localhost> is told of 2 recipients (warned) in ";
    wait_until("the owners are warned", || server.cli(["explain", &id]).succeed().text().contains(told));
    server.wait_for_empty_queue();
    let kept = server.cli(["quarantine", "list", "--json"]).succeed().text();
    let kept: serde_json::Value = serde_json::from_str(&kept).expect("JSON");
    let said = [
        format!("<{STRANGER}> was taken out of the mailbox and put into quarantine on gatepost.test"),
        "a virus was found in \"late.bin\": late\r\n".to_owned(),
        format!("knows it as {}.", kept[0]["id"].as_str().expect("an id")),
    ];
    let said = said.each_ref().map(String::as_str);
    for user in &server.users {
        assert_warning(&server.inbox_of(user, 1)[0], "A virus was found in a mail to you", &said);
    }
    assert_eq!(hop.connections(), 0, "no word to the outside: {:?}", hop.said());
    assert_eq!(server.metric("gatepost_delivery_warnings_total"), 1.0);
}

#[test]
fn a_database_says_itself_whether_its_people_hear_of_what_a_reader_finds() {
    const ANN: &str = "ann@second.example";
    let sections = "[scan]\ninfected_in_mailbox = \"delete\"\ndeletion = true\n[scan.background]\nenabled = false\n\
        [scan.warnings]\nrecipients = true\nsenders = true\n\
        [[database]]\nname = \"default\"\n\
        warnings = { sender = { subject = \"Yours\", text = \"{item}: {outcome}\" } }\n\
        [[database]]\nname = \"second\"\ndomains = [\"second.example\"]\nwarnings = { recipients = false }\n";
    let mut server = Setup::new().user(YOU).sections(sections).start();
    server.cli(["domain", "add", "second.example"]).succeed();
    server.add_user(ANN);
    server.wait_for_recipient(ANN);
    let mut smtp = server.smtp_as_me();
    smtp.mail(ME, &[YOU, ANN], &suspicious()).must("250 2.0.0");
    smtp.quit();
    server.wait_for_empty_queue();
    learn(&server);

    let [_, you, ann] = &server.users[..] else { panic!("three users") };
    assert!(server.pop3_as(ann).say("RETR 1").starts_with("-ERR"));
    server.wait_for_empty_queue();
    assert_eq!(server.pop3_as(ann).count(), 0, "it is gone, and she hears nothing");
    let warning = server.inbox(1).remove(0);
    assert_warning(&warning, "Yours", &["\r\n\r\n\"late.bin\": deleted from the mailbox\r\n"]);

    assert!(server.pop3_as(you).say("RETR 1").starts_with("-ERR"));
    server.wait_for_empty_queue();
    let said =
        ["<me@localhost> was deleted from the mailbox on gatepost.test", "found in \"late.bin\": late"];
    assert_warning(&server.inbox_of(you, 1)[0], "A virus was found in a mail to you", &said);
}
