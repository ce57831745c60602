//! Scanning by a real clamd, with the sandbox around the server.

use std::fs;
use std::thread;
use std::time::Duration;

use gatepost_tests::clamd::{Clamd, test_files};
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::{mail, wait_until};
use rustix::process::Signal;

fn server(clamd: &Clamd, more: &str) -> Server {
    Setup::new().sections(&format!("{more}\n{}", clamd.engine())).start()
}

#[test]
fn what_clamd_knows_is_refused_and_the_rest_is_delivered_with_its_stamp() {
    let clamd = Clamd::start("");
    let server = server(&clamd, "");
    assert_eq!(server.metric("gatepost_virus_scan_engine_up"), 1.0);
    server.wait_for_log("signatures=\"1.4");
    let mut smtp = server.smtp_as_me();
    let infected = mail::with_attachment("infected", "eicar.com", mail::eicar().as_bytes());
    smtp.mail("me@localhost", &["me@localhost"], &infected).must("554 5.7.1");
    let archive = mail::zip("eicar.com", mail::eicar().as_bytes());
    let wrapped = mail::with_attachment("wrapped", "eicar.zip", &archive);
    smtp.mail("me@localhost", &["me@localhost"], &wrapped).must("554 5.7.1");
    let clean = mail::with_attachment("clean", "large.bin", &vec![7; 3_000_000]);
    smtp.mail("me@localhost", &["me@localhost"], &clean).must("250 2.0.0");
    smtp.quit();
    mail::assert_same_octets(mail::below_trace(&server.inbox(1)[0]), &clean);
    // Once in the session, and never again: the stamp was the current one.
    assert_eq!(server.metric("gatepost_virus_scan_messages_total"), 3.0);
    assert_eq!(server.metric("gatepost_virus_scan_infected_total"), 2.0);
    assert_eq!(server.metric("gatepost_sandbox_holes"), 0.0);

    let file = server.folder().join("suspect");
    fs::write(&file, &infected).expect("a file");
    let outcome = server.cli(["scan", file.to_str().expect("UTF-8")]).outcome();
    assert_eq!(outcome.code(), 1, "{outcome}");
    assert!(outcome.text().contains("infected: Test.Eicar.UNOFFICIAL"), "{outcome}");
    assert!(outcome.text().contains("scanned with clamd/1.4"), "{outcome}");
    let outcome = server.cli(["scan", "-"]).stdin(infected).outcome();
    assert_eq!(outcome.code(), 1, "{outcome}");
}

#[test]
fn the_command_line_tells_how_the_engines_do_and_has_them_look_for_new_signatures() {
    let mut clamd = Clamd::start("");
    let server = server(&clamd, "");
    let status = || {
        let outcome = server.cli(["scan", "status", "--json"]).outcome();
        let engines: serde_json::Value = serde_json::from_str(&outcome.text()).expect("JSON");
        (outcome.code(), engines[0].clone())
    };
    let (code, engine) = status();
    assert_eq!((code, &engine["name"], &engine["available"]), (0, &"clamd".into(), &true.into()), "{engine}");
    assert!(server.cli(["scan", "status"]).succeed().text().contains("ready"));

    clamd.update(5, "GATEPOST-LATER-MARKER");
    wait_until("a reload finds the new signatures", || {
        server.cli(["scan", "reload"]).succeed();
        status().1["signatures"].as_str().is_some_and(|signatures| signatures.contains("-5-"))
    });
    clamd.kill();
    let outcome = server.cli(["scan", "reload"]).outcome();
    assert_eq!(outcome.code(), 1, "{outcome}");
    let (code, engine) = status();
    assert_eq!((code, &engine["available"]), (1, &false.into()), "{engine}");
}

#[test]
fn every_wrapping_of_the_test_files_of_clamav_is_refused() {
    let clamd = Clamd::start("");
    let server = server(&clamd, "");
    let mut smtp = server.smtp_as_me();
    let files = test_files();
    assert!(files.len() > 40, "{files:?}");
    for path in files {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        let content = mail::with_attachment("file", &name, &fs::read(&path).expect("a file"));
        let reply = smtp.mail("me@localhost", &["me@localhost"], &content);
        assert!(reply.is("554 5.7.1"), "{name}: {reply:?}");
    }
    smtp.quit();
    server.assert_no_mail();
}

#[test]
fn a_clamd_that_is_killed_during_a_scan_delays_the_mail_and_loses_nothing() {
    let mut clamd = Clamd::start("");
    let server = server(&clamd, "[scan]\nsession_budget = \"30s\"\n");
    clamd.signal(Signal::STOP);
    let content = mail::small("held-up");
    thread::scope(|scope| {
        let sent = scope.spawn(|| server.smtp_as_me().mail("me@localhost", &["me@localhost"], &content));
        // Nothing tells from outside that clamd has the item; by now it has.
        thread::sleep(Duration::from_secs(2));
        clamd.kill();
        let reply = sent.join().expect("a session");
        assert!(reply.is("250 2.0.0"), "the queue scans it: {reply:?}");
    });
    server.wait_for_log("the scan engine is given up");
    wait_until("it is told", || server.metric("gatepost_virus_scan_engine_up") == 0.0);
    assert!(server.metric("gatepost_virus_scan_engine_failures_total") >= 1.0);
    assert_eq!(server.inbox(0), Vec::<Vec<u8>>::new(), "nothing unscanned is delivered");

    clamd.restart();
    wait_until("it is found again", || server.metric("gatepost_virus_scan_engine_up") == 1.0);
    server.cli(["queue", "retry", "--all"]).succeed();
    mail::assert_same_octets(mail::below_trace(&server.inbox(1)[0]), &content);
    let mut smtp = server.smtp_as_me();
    let infected = mail::with_attachment("infected", "eicar.com", mail::eicar().as_bytes());
    smtp.mail("me@localhost", &["me@localhost"], &infected).must("554 5.7.1");
}

#[test]
fn new_signatures_find_in_the_mailbox_what_the_old_ones_let_pass() {
    let clamd = Clamd::start("");
    let server = server(&clamd, "");
    let content = mail::message("sleeper", b"the text GATEPOST-LATER-MARKER is harmless yet\r\n");
    let mut smtp = server.smtp_as_me();
    smtp.mail("me@localhost", &["me@localhost"], &content).must("250 2.0.0");
    mail::assert_same_octets(mail::below_trace(&server.inbox(1)[0]), &content);

    clamd.update(2, "GATEPOST-LATER-MARKER");
    wait_until("the server knows", || {
        let log = server.log();
        log.lines().any(|line| line.contains("the scan engine is loaded") && line.contains("-2-"))
    });
    let mut pop3 = server.pop3_as(server.me());
    let answer = pop3.say("RETR 1");
    assert!(answer.starts_with("-ERR"), "{answer}");
    pop3.quit();
    smtp.mail("me@localhost", &["me@localhost"], &content).must("554 5.7.1");
}

#[test]
fn new_signatures_find_in_the_background_whom_it_has_reached_and_who_has_read_it() {
    let clamd = Clamd::start("");
    let server = server(&clamd, "");
    let content = mail::message("sleeper", b"the text GATEPOST-LATER-MARKER is harmless yet\r\n");
    let mut smtp = server.smtp_as_me();
    smtp.mail("me@localhost", &["me@localhost"], &content).must("250 2.0.0");
    let _ = server.inbox(1);

    clamd.update(2, "GATEPOST-LATER-MARKER");
    wait_until("the background scan finds it", || {
        server.metric("gatepost_virus_scan_background_infected_total") >= 1.0
    });
    let trace = || server.cli(["scan", "trace", "Test.Update.UNOFFICIAL", "--json"]).outcome().text();
    wait_until("it is told", || trace().contains("mailbox.virus_found"));
    let traced: serde_json::Value = serde_json::from_str(&trace()).expect("JSON");
    assert_eq!(
        (&traced["copies"][0]["mailbox"], &traced["readers"][0]),
        (&"me@localhost".into(), &"me@localhost".into())
    );
    let found =
        traced["events"].as_array().expect("a list").iter().find(|it| it["event"] == "mailbox.virus_found");
    assert_eq!(found.expect("an event")["found_by"], "background");
    assert!(server.pop3_as(server.me()).say("RETR 1").starts_with("-ERR [SYS/PERM]"));
}

#[test]
fn a_size_limit_below_that_of_mail_is_told_at_the_start_and_what_exceeds_it_is_refused() {
    let clamd = Clamd::start("StreamMaxLength 1M");
    let server = server(&clamd, "");
    server.wait_for_log("raise StreamMaxLength");
    let mut smtp = server.smtp_as_me();
    smtp.mail("me@localhost", &["me@localhost"], &mail::small("small")).must("250 2.0.0");
    let reply = smtp.mail("me@localhost", &["me@localhost"], &mail::large("large", 2_000_000));
    assert!(reply.code >= 500, "{reply:?}");
    smtp.quit();
    let _ = server.inbox(1);
}

#[test]
fn with_the_policy_first_the_embedded_engine_stands_in() {
    let mut clamd = Clamd::start("");
    let yara = "[[scan.engine]]\ntype = \"yara\"\n";
    let sections = format!("[scan]\npolicy = \"first\"\n{}{yara}", clamd.engine());
    let server = Setup::new().sections(&sections).start();
    clamd.kill();
    wait_until("that clamd is gone is noticed", || server.log().contains("the scan engine is given up"));
    let mut smtp = server.smtp_as_me();
    smtp.mail("me@localhost", &["me@localhost"], &mail::small("by-yara")).must("250 2.0.0");
    let infected = mail::with_attachment("infected", "eicar.com", mail::eicar().as_bytes());
    smtp.mail("me@localhost", &["me@localhost"], &infected).must("554 5.7.1");
    smtp.quit();
    let _ = server.inbox(1);
}

#[test]
fn a_reader_is_told_to_come_again_while_no_scan_vouches_and_his_session_goes_on() {
    let clamd = Clamd::start("");
    let server = server(&clamd, "[scan]\nreader_budget = \"2s\"\n");
    let content = mail::small("patience");
    server.smtp_as_me().mail("me@localhost", &["me@localhost"], &content).must("250 2.0.0");
    let _ = server.inbox(1);
    clamd.update(2, "GATEPOST-LATER-MARKER");
    wait_until("the server knows", || server.log().contains("-2-"));
    clamd.signal(Signal::STOP);
    let mut pop3 = server.pop3_as(server.me());
    let answer = pop3.say("RETR 1");
    assert!(answer.starts_with("-ERR [SYS/TEMP]"), "{answer}");
    pop3.must("NOOP");
    pop3.quit();
    clamd.signal(Signal::CONT);
    wait_until("clamd answers again", || {
        let answer = server.pop3_as(server.me()).say("RETR 1");
        let is_given = answer.starts_with("+OK");
        assert!(is_given || answer.starts_with("-ERR [SYS/TEMP]"), "{answer}");
        is_given
    });
}
