//! An infected mail is refused in the session, however it is wrapped. The test string is put together at run time.

use std::fs;

use base64::Engine;
use gatepost_tests::server::{Server, files_below};
use gatepost_tests::setup::Setup;
use gatepost_tests::{mail, wait_until};

#[test]
fn eicar_is_refused_in_every_wrapping_and_leaves_nothing_behind() {
    let server = Server::start();
    let mut smtp = server.smtp_as_me();
    for (name, content) in infected() {
        let reply = smtp.mail("me@localhost", &["me@localhost"], &content);
        assert!(reply.is("554 5.7.1"), "{name}: {reply:?}");
    }
    let clean = mail::small("clean");
    smtp.mail("me@localhost", &["me@localhost"], &clean).must("250 2.0.0");
    smtp.quit();
    server.wait_for_empty_queue();
    mail::assert_same_octets(mail::below_trace(&server.inbox(1)[0]), &clean);
}

#[test]
fn eicar_is_refused_by_bdat_as_by_data() {
    let server = Server::start();
    let mut smtp = server.smtp_as_me();
    for (name, content) in infected() {
        smtp.begin("me@localhost", &["me@localhost"]);
        let (first, second) = content.split_at(content.len() / 2);
        smtp.bdat(first, false).must("250 2.0.0");
        let reply = smtp.bdat(second, true);
        assert!(reply.is("554 5.7.1"), "{name}: {reply:?}");
    }
    smtp.quit();
    server.assert_no_mail();
}

#[test]
fn eicar_is_refused_without_auth_and_counted() {
    let server = Setup::new().open_listener().start();
    let mut smtp = server.smtp_open();
    smtp.mail("someone@remote.example", &["me@localhost"], &mail::message("x", &with_crlf(&mail::eicar())))
        .must("554 5.7.1");
    assert!(server.metric("gatepost_virus_scan_infected_total") >= 1.0);
    server.assert_no_mail();
    // It never was a mail of this server, and yet is told.
    let traced = || server.cli(["scan", "trace", "eicar_test_file"]).outcome().text();
    wait_until("the event is written", || traced().contains(" on listener "));
    let told = "infected: EICAR_Test_File, from <someone@remote.example>, subject \"x\", over ESMTP, to <me@localhost>";
    assert!(traced().contains(told), "{}", traced());
}

#[test]
fn a_rule_of_the_operator_takes_effect_without_a_restart() {
    let server = Server::start();
    let content = mail::message("ours", b"the text GATEPOST-OPERATOR-RULE-MARKER is forbidden here\r\n");
    let mut smtp = server.smtp_as_me();
    smtp.mail("me@localhost", &["me@localhost"], &content).must("250 2.0.0");
    let rules = server.data().join("rules");
    fs::create_dir_all(&rules).expect("the rules folder");
    fs::write(
        rules.join("ours.yar"),
        "rule operator_marker { strings: $a = \"GATEPOST-OPERATOR-RULE-MARKER\" condition: $a }\n",
    )
    .expect("a rule");
    let start = std::time::Instant::now();
    while smtp.mail("me@localhost", &["me@localhost"], &content).code != 554 {
        assert!(start.elapsed().as_secs() < 60, "the rule is not taken up");
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    // The first mail was clean when it came: the rules that hold now decide what is read.
    let mut pop3 = server.pop3_as(server.me());
    assert!(pop3.count() >= 1);
    let answer = pop3.say("RETR 1");
    assert!(answer.starts_with("-ERR"), "{answer}");
    pop3.quit();
}

#[test]
fn rules_that_are_taken_up_and_rules_that_are_faulty_are_in_the_event_log() {
    let server = Server::start();
    let events = || -> String {
        let files = files_below(&server.data().join("events"));
        files
            .iter()
            .map(|file| String::from_utf8_lossy(&fs::read(file).expect("events")).into_owned())
            .collect()
    };
    let rules = server.data().join("rules");
    fs::create_dir_all(&rules).expect("the rules folder");
    fs::write(rules.join("ours.yar"), "rule a { condition: nonsense }\n").expect("a rule");
    let _outcome = server.cli(["scan", "reload"]).outcome();
    wait_until("the faulty rule is told", || {
        let told = events();
        told.contains("scan.engine_misconfigured") && told.contains("ours.yar")
    });
    let loads = || events().matches("scan.engine_loaded").count();
    let before = loads();
    fs::write(rules.join("ours.yar"), "rule a { condition: false }\n").expect("a rule");
    let _outcome = server.cli(["scan", "reload"]).outcome();
    wait_until("the rule is taken up", || loads() > before);
}

#[test]
fn the_command_line_scans_files() {
    let server = Server::start();
    let file = server.folder().join("suspect");
    for (name, content) in infected() {
        fs::write(&file, content).expect("a file");
        let outcome = server.cli(["scan", file.to_str().expect("UTF-8")]).outcome();
        assert_eq!(outcome.code(), 1, "{name}: {outcome}");
    }
    fs::write(&file, mail::small("clean")).expect("a file");
    server.cli(["scan", file.to_str().expect("UTF-8")]).succeed();
}

/// The test string, each time in another wrapping.
fn infected() -> Vec<(&'static str, Vec<u8>)> {
    let eicar = mail::eicar();
    let archive = mail::zip("eicar.com", eicar.as_bytes());
    let nested = mail::zip("inner.zip", &archive);
    let mut forwarded = b"From: me@localhost\r\nSubject: fwd\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed; boundary=out\r\n\r\n--out\r\nContent-Type: message/rfc822\r\n\r\n"
        .to_vec();
    forwarded.extend(mail::with_attachment("inner", "eicar.com", eicar.as_bytes()));
    forwarded.extend_from_slice(b"--out--\r\n");
    let quoted: String = eicar.bytes().map(|octet| format!("={octet:02X}")).collect::<Vec<_>>().concat();
    let quoted = quoted
        .as_bytes()
        .chunks(60)
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect::<Vec<_>>();
    let whole_body = base64::engine::general_purpose::STANDARD.encode(&eicar);
    vec![
        ("plain", mail::message("plain", &with_crlf(&eicar))),
        ("base64 attachment", mail::with_attachment("base64", "eicar.com", eicar.as_bytes())),
        (
            "base64 body",
            format!("Subject: b\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\n{whole_body}\r\n").into_bytes(),
        ),
        (
            "quoted-printable body",
            format!(
                "Subject: q\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n{}\r\n",
                quoted.join("=\r\n")
            )
            .into_bytes(),
        ),
        ("zip", mail::with_attachment("zip", "invoice.zip", &archive)),
        ("zip in zip", mail::with_attachment("zip-zip", "invoice.zip", &nested)),
        ("forwarded message", forwarded),
    ]
}

fn with_crlf(text: &str) -> Vec<u8> {
    format!("{text}\r\n").into_bytes()
}
