//! Reading by POP3, by scripted sockets; real clients read in `unconfigured`.

use gatepost_tests::mail;
use gatepost_tests::pop3::Pop3;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::smtp::plain_response;

#[test]
fn a_password_is_taken_inside_tls_only() {
    let server = Server::start();
    let me = server.me();
    let mut pop3 = Pop3::connect(server.ports.pop3);
    let capabilities = String::from_utf8(pop3.multi("CAPA")).expect("ASCII");
    assert!(capabilities.lines().any(|line| line == "STLS"), "{capabilities}");
    assert!(!capabilities.lines().any(|line| line == "USER" || line.starts_with("SASL")), "{capabilities}");
    for refused in
        [format!("USER {}", me.name), format!("AUTH PLAIN {}", plain_response("", &me.name, &me.password))]
    {
        let answer = pop3.say(&refused);
        assert!(answer.starts_with("-ERR"), "{answer}");
    }
    pop3.stls(server.trust());
    let capabilities = String::from_utf8(pop3.multi("CAPA")).expect("ASCII");
    assert!(!capabilities.lines().any(|line| line == "STLS"), "{capabilities}");
    for capability in ["USER", "UIDL", "TOP", "SASL PLAIN"] {
        assert!(
            capabilities.lines().any(|line| line == capability),
            "{capability} is missing: {capabilities}"
        );
    }
    pop3.login(me);
    assert_eq!(pop3.count(), 0);
    pop3.quit();
}

#[test]
fn sasl_plain_logs_in_with_and_without_an_initial_response() {
    let server = Server::start();
    let me = server.me();
    let response = plain_response("", &me.name, &me.password);
    let mut pop3 = Pop3::connect_tls(server.ports.pop3s, server.trust());
    pop3.must(&format!("AUTH PLAIN {response}"));
    pop3.quit();
    let mut pop3 = Pop3::connect_tls(server.ports.pop3s, server.trust());
    assert!(pop3.say("AUTH PLAIN").starts_with('+'));
    pop3.must(&response);
    pop3.quit();
    let mut pop3 = Pop3::connect_tls(server.ports.pop3s, server.trust());
    let wrong = pop3.say(&format!("AUTH PLAIN {}", plain_response("", &me.name, "wrong")));
    assert!(wrong.starts_with("-ERR"), "{wrong}");
    assert!(pop3.say("STAT").starts_with("-ERR"));
}

#[test]
fn plaintext_behind_stls_ends_the_session() {
    let server = Server::start();
    let mut pop3 = Pop3::connect(server.ports.pop3);
    pop3.wire().send(b"STLS\r\nCAPA\r\n");
    let said = String::from_utf8_lossy(&pop3.wire().rest()).into_owned();
    assert!(said.lines().count() <= 1, "the injected command was answered: {said:?}");
}

#[test]
fn mails_are_listed_read_topped_deleted_and_undeleted() {
    let server = Server::start();
    let sent: Vec<Vec<u8>> = ["one", "two", "three"].map(mail::small).to_vec();
    let mut smtp = server.smtp_as_me();
    for content in &sent {
        smtp.mail("me@localhost", &["me@localhost"], content).must("250 2.0.0");
        server.wait_for_empty_queue();
    }
    smtp.quit();
    let stored = server.inbox(3);

    let mut pop3 = server.pop3_as(server.me());
    let uids = String::from_utf8(pop3.multi("UIDL")).expect("ASCII");
    let listed = String::from_utf8(pop3.multi("LIST")).expect("ASCII");
    for (number, mail) in stored.iter().enumerate() {
        assert!(listed.lines().any(|line| line == format!("{} {}", number + 1, mail.len())), "{listed}");
    }
    let top = pop3.multi("TOP 2 1");
    assert!(stored[1].starts_with(&top[..top.len() - 2]) && top.ends_with(b"\r\n"), "header and one line");
    pop3.must("DELE 1");
    assert!(pop3.say("RETR 1").starts_with("-ERR"));
    pop3.must("RSET");
    assert_eq!(pop3.count(), 3);
    pop3.must("DELE 2");
    pop3.quit();

    let mut pop3 = server.pop3_as(server.me());
    assert_eq!(pop3.count(), 2);
    mail::assert_same_octets(mail::below_trace(&pop3.multi("RETR 2")), &sent[2]);
    let left = String::from_utf8(pop3.multi("UIDL")).expect("ASCII");
    let uid = |list: &str, line: usize| {
        list.lines().nth(line).expect("a line").split(' ').nth(1).expect("uid").to_owned()
    };
    assert_eq!(uid(&left, 0), uid(&uids, 0));
    assert_eq!(uid(&left, 1), uid(&uids, 2), "a message keeps its uid");
    pop3.quit();
}

#[test]
fn a_deletion_without_quit_does_not_count() {
    let server = Server::start();
    server.smtp_as_me().mail("me@localhost", &["me@localhost"], &mail::small("kept")).must("250 2.0.0");
    let _ = server.inbox(1);
    let mut pop3 = server.pop3_as(server.me());
    pop3.must("DELE 1");
    drop(pop3);
    let start = std::time::Instant::now();
    loop {
        let mut pop3 = Pop3::connect_tls(server.ports.pop3s, server.trust());
        pop3.must(&format!("USER {}", server.me().name));
        // The server may not yet have seen that the other session has gone.
        if pop3.say(&format!("PASS {}", server.me().password)).starts_with("+OK") {
            assert_eq!(pop3.count(), 1);
            break;
        }
        assert!(start.elapsed().as_secs() < 20, "the mailbox stays locked");
    }
}

#[test]
fn a_mailbox_is_open_in_one_session_at_a_time() {
    let server = Server::start();
    let first = server.pop3_as(server.me());
    let mut second = Pop3::connect_tls(server.ports.pop3s, server.trust());
    second.must(&format!("USER {}", server.me().name));
    let answer = second.say(&format!("PASS {}", server.me().password));
    assert!(answer.starts_with("-ERR [IN-USE]"), "{answer}");
    first.quit();
    server.pop3_as(server.me()).quit();
}

#[test]
fn nobody_reads_another_users_mail() {
    let server = Setup::new().user("you@localhost").start();
    server.smtp_as_me().mail("me@localhost", &["me@localhost"], &mail::small("private")).must("250 2.0.0");
    let _ = server.inbox(1);
    let mut pop3 = server.pop3_as(&server.users[1]);
    assert_eq!(pop3.count(), 0);
    assert!(pop3.say("RETR 1").starts_with("-ERR"));
    pop3.quit();
    let mut pop3 = Pop3::connect_tls(server.ports.pop3s, server.trust());
    pop3.must("USER me@localhost");
    assert!(pop3.say(&format!("PASS {}", server.users[1].password)).starts_with("-ERR"));
}

#[test]
fn the_trace_says_how_the_mail_came() {
    let server = Server::start();
    let mut smtp = server.smtp_as_me();
    let reply = smtp.mail("me@localhost", &["me@localhost"], &mail::small("traced"));
    let stored = server.inbox(1).remove(0);
    let received = mail::field(&stored, "Received").expect("a trace");
    for part in [
        "from client.example",
        "127.0.0.1",
        "by gatepost.test",
        "with ESMTPSA",
        &reply.queue_id(),
        "for <me@localhost>",
    ] {
        assert!(received.contains(part), "{part} is missing: {received}");
    }
    assert_eq!(mail::field(&stored, "Return-Path").as_deref(), Some("<me@localhost>"));
}

#[test]
fn a_mailbox_is_exported_as_it_is_read() {
    let server = Server::start();
    server.smtp_as_me().mail("me@localhost", &["me@localhost"], &mail::small("export")).must("250 2.0.0");
    let stored = server.inbox(1).remove(0);
    let file = server.folder().join("export.mbox");
    server.cli(["mailbox", "export", "me@localhost", "--output", file.to_str().expect("UTF-8")]).succeed();
    let exported = std::fs::read(file).expect("the exported file");
    let unix = |octets: &[u8]| String::from_utf8_lossy(octets).replace("\r\n", "\n");
    assert!(unix(&exported).contains(&unix(&stored)), "{}", unix(&exported));
}
