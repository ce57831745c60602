//! What was clean when it came, and is infected by the rules of now, reaches nobody: no next hop, no mailbox, no sender, no
//! operator's file. Mail in mailboxes that is found in the background, or by POP3, is in `background`.

use std::fs;

use gatepost_tests::next_hop::{At, NextHop, Reaction};
use gatepost_tests::server::{Server, files_below};
use gatepost_tests::setup::Setup;
use gatepost_tests::{mail, wait_until};
use serde_json::Value;

const ME: &str = "me@localhost";
const YOU: &str = "you@localhost";
const ANN: &str = "ann@to.example";
const MARKER: &str = "GATEPOST-KNOWN-ONLY-LATER";

/// With everything that is not here sent to this hop.
fn start(hop: &NextHop) -> Server {
    start_with(&[hop], "")
}

/// With everything that is not here sent to the first of these hops that takes it.
fn start_with(hops: &[&NextHop], timeouts: &str) -> Server {
    let hops: Vec<String> = hops.iter().map(|hop| hop.address.to_string()).collect();
    let sections = format!(
        "[delivery.remote]\nenabled = true\n{timeouts}\n[[route]]\ndomains = [\"*\"]\nhops = {hops:?}\n\
         [scan.background]\nenabled = false\n",
    );
    Setup::new().user(YOU).sections(&sections).start()
}

/// Nobody minds it until a rule does.
fn late() -> Vec<u8> {
    mail::message("late", format!("{MARKER}\r\n").as_bytes())
}

fn write_rule(server: &Server) {
    let rules = server.data().join("rules");
    fs::create_dir_all(&rules).expect("the rules folder");
    let rule = format!("rule late_rule {{ strings: $a = \"{MARKER}\" condition: $a }}\n");
    fs::write(rules.join("late.yar"), rule).expect("a rule");
}

fn learn(server: &Server) {
    write_rule(server);
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

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// The clean mail alone has arrived everywhere; the other one lies in quarantine for both, and its sender knows.
fn assert_kept_back(server: &Server, hop: &NextHop, id: &str, clean: &[u8]) {
    server.wait_for_empty_queue();
    assert!(hop.taken(1)[0].octets.ends_with(clean));
    let inbox = server.inbox_of(&server.users[1], 1);
    mail::assert_same_octets(mail::below_trace(&inbox[0]), clean);
    let kept = json(server, ["quarantine", "list"]);
    assert_eq!((&kept[0]["id"], &kept[0]["threat"]), (&id.into(), &"late_rule".into()));
    let recipients = [ANN, YOU].map(|address| format!("<{address}>"));
    assert_eq!((kept.as_array().map(Vec::len), &kept[0]["recipients"]), (Some(1), &recipients[..].into()));
    let told = text(&server.inbox(1)[0]);
    assert!(told.contains("Status: 5.7.1") && told.contains("text/rfc822-headers"), "{told}");
    assert!(told.contains("Subject: late") && !told.contains(MARKER), "{told}");
}

#[test]
fn what_was_held_is_scanned_again_before_it_goes_to_mailboxes_and_other_servers() {
    let hop = NextHop::start();
    let server = start(&hop);
    server.cli(["queue", "hold", "--all"]).succeed();
    let (id, clean) = (send(&server, &[ANN, YOU], &late()), mail::small("clean"));
    send(&server, &[ANN, YOU], &clean);
    assert_eq!(json(&server, ["queue", "stats"])["held"], 2);
    let scanned = server.metric("gatepost_virus_scan_messages_total");
    learn(&server);
    server.cli(["queue", "release", "--all"]).succeed();
    assert_kept_back(&server, &hop, &id, &clean);
    // Each anew, and the notification.
    assert_eq!(server.metric("gatepost_virus_scan_messages_total"), scanned + 3.0);
}

#[test]
fn rules_that_came_while_the_server_was_down_count_for_what_waits() {
    let hop = NextHop::start();
    let mut server = start(&hop);
    server.cli(["queue", "hold", "--all"]).succeed();
    let (id, clean) = (send(&server, &[ANN, YOU], &late()), mail::small("clean"));
    send(&server, &[ANN, YOU], &clean);
    server.kill();
    write_rule(&server);
    server.restart();
    server.cli(["queue", "release", "--all"]).succeed();
    assert_kept_back(&server, &hop, &id, &clean);
}

#[test]
fn a_mail_that_is_tried_again_is_not_relayed_by_the_verdict_of_its_first_attempt() {
    let hop = NextHop::start().times(1, At::Dot, Reaction::Say("451 4.3.0 later"));
    let server = start(&hop);
    let id = send(&server, &[ANN], &late());
    server.wait_for_log("recipient put off");
    learn(&server);
    server.cli(["queue", "retry", "--all"]).succeed();
    server.wait_for_empty_queue();
    assert_eq!(hop.taken_so_far(), []);
    assert_eq!(json(&server, ["quarantine", "list"])[0]["id"], id);
}

#[test]
fn rules_that_come_while_a_mail_is_on_its_way_keep_it_from_the_next_server() {
    let (dead, hop) = (NextHop::start().always(At::Greeting, Reaction::Stall), NextHop::start());
    let server = start_with(&[&dead, &hop], "[delivery.remote.timeouts]\ngreeting = \"10s\"");
    let id = send(&server, &[ANN], &late());
    wait_until("it is with a server that does not answer", || dead.connections() == 1);
    learn(&server);
    server.wait_for_log("setback=4.7.1 waiting for a virus scan");
    server.cli(["queue", "retry", "--all"]).succeed();
    server.wait_for_empty_queue();
    assert_eq!(hop.taken_so_far(), []);
    assert_eq!(json(&server, ["quarantine", "list"])[0]["id"], id);
}

#[test]
fn a_notification_returns_a_mail_whole_that_is_clean_by_the_rules_of_now_and_of_another_its_header_alone() {
    let hop = NextHop::start().always(At::Rcpt, Reaction::Say("451 4.2.1 later"));
    let server = start(&hop);
    let bounced = |content: &[u8]| {
        let mut smtp = server.smtp_as_me();
        smtp.say(&format!("MAIL FROM:<{ME}> RET=FULL")).must("250 2.1.0");
        smtp.say(&format!("RCPT TO:<{ANN}>")).must("250 2.1.5");
        smtp.say("DATA").must("354");
        smtp.send(&gatepost_tests::smtp::stuffed(content));
        let reply = smtp.reply();
        reply.must("250 2.0.0").queue_id()
    };
    let give_up = |id: &str| server.cli(["queue", "delete", "--bounce", "--yes", "--id", id]).succeed();
    give_up(&bounced(&late()));
    let told = text(&server.inbox(1)[0]);
    assert!(told.contains("Content-Type: message/rfc822") && told.contains(MARKER), "{told}");
    let mut pop3 = server.pop3_as(server.me());
    pop3.must("DELE 1");
    pop3.quit();

    let (waiting, clean) = (bounced(&late()), bounced(&mail::small("still clean")));
    learn(&server);
    let scanned = server.metric("gatepost_virus_scan_messages_total");
    give_up(&clean);
    let told = text(&server.inbox(1)[0]);
    assert!(told.contains("Content-Type: message/rfc822") && told.contains("Subject: still clean"), "{told}");
    assert!(server.metric("gatepost_virus_scan_messages_total") > scanned, "its stamp was stale");
    let mut pop3 = server.pop3_as(server.me());
    pop3.must("DELE 1");
    pop3.quit();

    give_up(&waiting);
    let told = text(&server.inbox(1)[0]);
    assert!(told.contains("text/rfc822-headers") && told.contains("Subject: late"), "{told}");
    assert!(!told.contains(MARKER), "{told}");
    server.wait_for_empty_queue();
}

#[test]
fn the_command_line_shows_and_exports_nothing_infected_beside_a_server_and_without_one() {
    let hop = NextHop::start();
    let mut server = start(&hop);
    for content in [mail::small("first"), late(), mail::small("last")] {
        send(&server, &[ME], &content);
        server.wait_for_empty_queue();
    }
    assert!(text(&server.cli(["mailbox", "show", ME, "2"]).succeed().stdout).contains(MARKER));
    learn(&server);
    for is_running in [true, false] {
        let shown = server.cli(["mailbox", "show", ME, "2"]).outcome();
        assert_eq!((shown.code(), shown.text()), (1, String::new()), "{shown}");
        assert!(shown.stderr.contains("message 2 is infected (late_rule) and is not shown"), "{shown}");

        let mbox = server.folder().join(format!("{is_running}.mbox"));
        let eml = server.folder().join(format!("{is_running}.eml"));
        for (format, path) in [("mbox", &mbox), ("eml", &eml)] {
            let path = path.to_str().expect("UTF-8");
            let told = server.cli(["mailbox", "export", ME, "--format", format, "--output", path]).outcome();
            assert_eq!(told.code(), 1, "{told}");
            assert!(told.text().contains("exported: 2") && told.stderr.contains("left out: 1"), "{told}");
            assert!(told.stderr.contains("message 2 is infected (late_rule) and is not shown"), "{told}");
        }
        let exported = text(&fs::read(mbox).expect("a file"));
        assert!(exported.contains("Subject: first") && exported.contains("Subject: last"), "{exported}");
        assert!(!exported.contains(MARKER));
        let mut files = files_below(&eml);
        files.sort();
        assert_eq!(files, [eml.join("1.eml"), eml.join("3.eml")]);

        let listed = json(&server, ["mailbox", "list", ME]);
        assert_eq!((listed[1]["uid"].as_u64(), &listed[1]["threat"]), (Some(2), &"late_rule".into()));
        if is_running {
            server.stop();
        }
    }
}
