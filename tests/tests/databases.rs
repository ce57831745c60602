//! A mailbox database that differs from the server in what becomes of infected mail.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use gatepost_tests::dns::{NameServer, Record};
use gatepost_tests::mail;
use gatepost_tests::next_hop::NextHop;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::wait_until;
use rustix::process::Signal;
use serde_json::Value;

const PARTNER: &str = "ann@to.example";

/// Infected mail for partners is kept, users here get what is left of it.
const PARTED: &str = "[scan]\ninfected = \"quarantine\"\nrefuse_infected = false\n\
    [[database]]\nname = \"default\"\ninfected = \"delete-part\"\ndeletion = true\nrewrite = { keep_original = false }\n";

/// Mail for `to.example` goes to this hop.
fn start(hop: &NextHop, dns: &NameServer, scan: &str) -> Server {
    let sections = format!(
        "[dns]\nservers = [\"{}\"]\n[delivery.remote]\nenabled = true\ninternal_addresses = true\nport = {}\n{scan}",
        dns.address,
        hop.address.port()
    );
    Setup::new().sections(&sections).start()
}

fn partner() -> (NextHop, NameServer) {
    let dns = NameServer::start_with([
        ("to.example", vec![Record::Mx(10, "hop.example")]),
        ("hop.example", vec![Record::A(Ipv4Addr::LOCALHOST)]),
    ]);
    (NextHop::start(), dns)
}

fn infected(subject: &str) -> Vec<u8> {
    mail::with_attachment(subject, "eicar.com", mail::eicar().as_bytes())
}

fn send(server: &Server, to: &[&str], content: &[u8]) -> String {
    let mut smtp = server.smtp_as_me();
    let id = smtp.mail("me@localhost", to, content).must("250 2.0.0").queue_id();
    smtp.quit();
    id
}

fn quarantined(server: &Server) -> Vec<Value> {
    let text = server.cli(["quarantine", "list", "--json"]).succeed().text();
    serde_json::from_str(&text).expect("a list")
}

fn is_rewritten(stored: &[u8]) -> bool {
    mail::field(stored, "X-Gatepost-Rewritten").is_some()
}

#[test]
fn of_one_mail_a_user_gets_the_rest_and_the_partners_copy_is_kept() {
    let (hop, dns) = partner();
    let server = start(&hop, &dns, PARTED);
    let id = send(&server, &["me@localhost", PARTNER], &infected("both"));
    send(&server, &["me@localhost", PARTNER], &mail::small("clean"));
    server.wait_for_empty_queue();
    // The rest, what is told of the partner's, and the clean one.
    let inbox = server.inbox(3);
    assert_eq!(inbox.iter().filter(|stored| is_rewritten(stored)).count(), 1);
    let told = inbox.iter().map(|stored| String::from_utf8_lossy(stored));
    let failed: Vec<_> = told.filter(|text| text.contains("\r\nAction: failed\r\n")).collect();
    assert!(failed.len() == 1 && failed[0].contains(PARTNER), "{failed:?}");
    assert!(!failed[0].contains("Final-Recipient: rfc822; me@localhost"), "{failed:?}");

    let kept = quarantined(&server);
    assert_eq!((kept.len(), &kept[0]["id"]), (1, &id.as_str().into()));
    assert_eq!(kept[0]["recipients"], serde_json::json!([format!("<{PARTNER}>")]));
    let taken = hop.taken(1);
    assert!(taken[0].is_for(PARTNER) && String::from_utf8_lossy(&taken[0].octets).contains("clean"));
    assert_eq!(hop.taken_so_far().len(), 1);
    for text in ["was replaced for <me@localhost>", &format!("<{PARTNER}>")] {
        wait_until(text, || server.cli(["explain", &id]).succeed().text().contains(text));
    }
}

#[test]
fn a_kill_at_any_time_leaves_each_of_both_with_his_one_end() {
    let (hop, dns) = partner();
    let mut server = start(&hop, &dns, PARTED);
    for round in 0..4_u64 {
        let mut smtp = server.smtp_as_me();
        for number in 0..3 {
            let content = infected(&format!("mail-{round}-{number}"));
            smtp.mail("me@localhost", &["me@localhost", PARTNER], &content).must("250 2.0.0");
        }
        std::thread::sleep(Duration::from_millis(round * 9));
        server.kill();
        server.restart();
    }
    server.wait_for_empty_queue();
    // A rest and a notification each.
    let inbox = server.inbox(24);
    let rests: Vec<_> = inbox.iter().filter(|stored| is_rewritten(stored)).collect();
    let mut subjects: Vec<_> = rests.iter().map(|stored| mail::field(stored, "Subject")).collect();
    subjects.sort_unstable();
    subjects.dedup();
    assert_eq!((rests.len(), subjects.len()), (12, 12), "{subjects:?}");
    let kept = quarantined(&server);
    assert_eq!(kept.len(), 12);
    assert!(kept.iter().all(|mail| mail["recipients"] == serde_json::json!([format!("<{PARTNER}>")])));
    assert!(hop.taken_so_far().is_empty());
}

#[test]
fn a_database_has_its_own_way_with_what_lies_in_it_and_its_own_warnings_and_a_reload_changes_both() {
    let own = "[scan]\ninfected = \"delete\"\ndeletion = true\nrefuse_infected = false\n\
        infected_in_mailbox = \"delete\"\nproactive = false\n[scan.background]\nenabled = false\n\
        [[database]]\nname = \"default\"\ndeletion = false\n\
        warnings = { recipients = true, recipient = { subject = \"kept back\", text = \"{threat} was {outcome}\" } }\n";
    let server = Setup::new().open_listener().sections(own).start();
    let receive = |content: &[u8]| {
        let mut smtp = server.smtp_open();
        smtp.mail("stranger@remote.example", &["me@localhost"], content).must("250 2.0.0");
        smtp.quit();
        server.wait_for_empty_queue();
    };
    receive(&infected("new"));
    let warning = String::from_utf8_lossy(&server.inbox(1)[0]).into_owned();
    assert!(warning.contains("Subject: kept back\r\n") && warning.contains(" was put into quarantine\r\n"));
    assert_eq!(quarantined(&server).len(), 1, "nothing may be deleted here");

    let late = |subject| mail::with_attachment(subject, "late.bin", b"GATEPOST-LATE-RULE-MARKER");
    receive(&late("first"));
    receive(&late("second"));
    let rules = server.data().join("rules");
    fs::create_dir_all(&rules).expect("the rules folder");
    let rule = "rule late { strings: $a = \"GATEPOST-LATE-RULE-MARKER\" condition: $a }\n";
    fs::write(rules.join("late.yar"), rule).expect("a rule");
    server.cli(["scan", "reload"]).succeed();
    assert!(server.pop3_as(server.me()).say("RETR 2").starts_with("-ERR"));
    wait_until("it lies in quarantine", || quarantined(&server).len() == 2);

    let text = fs::read_to_string(server.config()).expect("the configuration");
    fs::write(server.config(), text.replace("deletion = false", "deletion = true")).expect("written");
    server.signal(Signal::HUP);
    server.wait_for_log("the configuration was reloaded");
    server.wait_for_empty_queue();
    let mut pop3 = server.pop3_as(server.me());
    assert_eq!(pop3.count(), 3, "a warning of what was taken out stands behind what is left");
    assert!(pop3.say("RETR 2").starts_with("-ERR"));
    pop3.quit();
    server.wait_for_empty_queue();
    let warnings = server.inbox(3);
    for (warning, outcome) in warnings
        .iter()
        .skip(1)
        .zip(["taken out of the mailbox and put into quarantine", "deleted from the mailbox"])
    {
        let warning = String::from_utf8_lossy(warning);
        assert!(warning.ends_with(&format!("\r\n\r\nlate was {outcome}\r\n")), "{warning}");
    }
    assert_eq!(quarantined(&server).len(), 2, "it was deleted");
}

const ANN: &str = "ann@second.example";

/// The mailboxes of `second.example` lie in a database of their own, and infected mail ends otherwise there.
const TWO: &str = "[scan]\nrefuse_infected = false\n[scan.background]\nenabled = false\n\
    [[database]]\nname = \"default\"\ninfected = \"delete-part\"\ndeletion = true\nrewrite = { keep_original = false }\n\
    [[database]]\nname = \"second\"\ndomains = [\"second.example\"]\ninfected_in_mailbox = \"quarantine\"\n";

fn start_two() -> Server {
    let mut server = Setup::new().open_listener().sections(TWO).start();
    server.cli(["domain", "add", "second.example"]).succeed();
    server.add_user(ANN);
    server.wait_for_recipient(ANN);
    server
}

fn receive(server: &Server, to: &[&str], content: &[u8]) {
    let mut smtp = server.smtp_open();
    smtp.mail("stranger@remote.example", to, content).must("250 2.0.0");
    smtp.quit();
}

fn listed(server: &Server, mailbox: &str) -> usize {
    let text = server.cli(["mailbox", "list", mailbox, "--json"]).succeed().text();
    serde_json::from_str::<Value>(&text).expect("a list").as_array().expect("an array").len()
}

#[test]
fn two_who_live_here_in_two_databases_are_treated_each_as_it_is_said_there() {
    let server = start_two();
    assert!(server.data().join("store/second.sqlite").is_file());
    let ann = &server.users[1];
    receive(&server, &["me@localhost", ANN], &mail::small("clean"));
    receive(&server, &["me@localhost", ANN], &infected("infected"));
    server.wait_for_empty_queue();
    let (mine, hers) = (server.inbox(2), server.inbox_of(ann, 1));
    assert_eq!(mine.iter().filter(|stored| is_rewritten(stored)).count(), 1);
    assert!(String::from_utf8_lossy(&hers[0]).contains("Subject: clean\r\n"));
    let kept = quarantined(&server);
    assert_eq!((kept.len(), &kept[0]["recipients"]), (1, &serde_json::json!([format!("<{ANN}>")])));
    assert_eq!((listed(&server, "me@localhost"), listed(&server, ANN)), (2, 1));

    // What newer signatures find goes out of the one and stays in the other, where nobody gets it.
    let late = mail::with_attachment("late", "late.bin", b"GATEPOST-LATE-RULE-MARKER");
    receive(&server, &["me@localhost", ANN], &late);
    server.wait_for_empty_queue();
    let rules = server.data().join("rules");
    fs::create_dir_all(&rules).expect("the rules folder");
    let rule = "rule late { strings: $a = \"GATEPOST-LATE-RULE-MARKER\" condition: $a }\n";
    fs::write(rules.join("late.yar"), rule).expect("a rule");
    server.cli(["scan", "reload"]).succeed();
    server.cli(["scan", "background", "start"]).succeed();
    wait_until("hers lies in quarantine", || quarantined(&server).len() == 2);
    wait_until("both were walked", || {
        let text = server.cli(["scan", "background", "status", "--json"]).succeed().text();
        let scans: Value = serde_json::from_str(&text).expect("JSON");
        let scans = scans.as_array().expect("an array").iter().filter(|it| it["place"] == "mailboxes");
        let names: Vec<_> =
            scans.filter(|it| it["scan"]["infected"] == 1).map(|it| it["database"].clone()).collect();
        names == ["default", "second"]
    });
    assert_eq!((listed(&server, "me@localhost"), listed(&server, ANN)), (3, 1));
    let mut pop3 = server.pop3_as(server.me());
    assert!(pop3.say("RETR 3").starts_with("-ERR"));
    pop3.quit();
    let traced = server.cli(["scan", "trace", "late"]).succeed().text();
    assert!(traced.contains("me@localhost") && traced.contains(ANN), "{traced}");
    assert_eq!(quarantined(&server).len(), 2);
}

#[test]
fn a_kill_at_any_time_has_each_mail_once_in_both_databases() {
    let mut server = start_two();
    server.cli(["alias", "add", "both@localhost", "me@localhost"]).succeed();
    server.cli(["alias", "add", "both@localhost", ANN]).succeed();
    server.wait_for_recipient("both@localhost");
    for round in 0..4_u64 {
        let mut smtp = server.smtp_open();
        for number in 0..4 {
            let to: &[&str] = if number % 2 == 0 { &["both@localhost"] } else { &["me@localhost", ANN] };
            let content = mail::small(&format!("mail-{round}-{number}"));
            smtp.mail("stranger@remote.example", to, &content).must("250 2.0.0");
        }
        std::thread::sleep(Duration::from_millis(round * 9));
        server.kill();
        server.restart();
    }
    server.wait_for_empty_queue();
    let subjects = |inbox: Vec<Vec<u8>>| {
        let mut subjects: Vec<_> = inbox.iter().map(|stored| mail::field(stored, "Subject")).collect();
        subjects.sort_unstable();
        subjects.dedup();
        subjects.len()
    };
    assert_eq!((subjects(server.inbox(16)), subjects(server.inbox_of(&server.users[1], 16))), (16, 16));
}

/// Its mail is kept, and the log says why nobody sees it.
#[test]
fn a_start_tells_of_mail_that_lies_in_another_database_than_its_domain_has() {
    let mut server = start_two();
    receive(&server, &[ANN], &mail::small("left"));
    server.wait_for_empty_queue();
    server.stop();
    let text = fs::read_to_string(server.config()).expect("the configuration");
    let moved = text.replace("domains = [\"second.example\"]", "domains = [\"third.example\"]");
    fs::write(server.config(), moved).expect("written");
    server.restart();
    server.wait_for_log("mailboxes lie here whose domains belong to other databases");
    assert_eq!(listed(&server, ANN), 0);
    server.stop();
    fs::write(server.config(), &text).expect("written");
    server.restart();
    assert_eq!(server.inbox_of(&server.users[1], 1).len(), 1);
}
