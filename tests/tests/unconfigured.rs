//! First contact: the real binary without any configuration, in the home of a new user, driven by the mail programs that
//! people have. Every test starts a server of its own on the default ports, so they run one after the other.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use base64::Engine;
use gatepost_tests::clients::{self, Tls};
use gatepost_tests::command::Run;
use gatepost_tests::mail;
use gatepost_tests::scram::Binding;
use gatepost_tests::server::Server;
use gatepost_tests::smtp::Smtp;

#[test]
fn the_first_start_makes_a_private_data_folder_a_certificate_and_one_user() {
    let server = Server::start_without_configuration();
    let mode = |path: &str| fs::metadata(server.data().join(path)).expect(path).permissions().mode() & 0o777;

    assert_eq!(mode(""), 0o700);
    assert_eq!(mode("tls/key.pem"), 0o600);
    assert_eq!(mode("first-user.txt"), 0o600);
    assert_eq!(server.me().name, "me@localhost");
    assert!(server.me().password.len() >= 16, "a generated password is long");
    assert!(server.log().contains("first-user.txt"), "the new user is told where the password is");
    server.assert_no_secret_is_visible_but_in("first-user.txt");
}

/// The lines for sending and reading a mail are meant to be pasted. They ask for the password, which a test has to add.
#[test]
fn a_terminal_is_shown_the_password_once_and_lines_that_work() {
    let (server, shown) = Server::start_on_a_terminal();
    assert!(!server.data().join("first-user.txt").exists(), "the password is on the screen only");
    let lines = pasteable_lines(&shown);
    assert_eq!(lines.len(), 2, "one to send, one to read: {shown}");
    let run = |line: &str| {
        let named = format!("--user {}", server.me().name);
        assert!(line.contains(&named), "{line}");
        let line = line.replace(&named, &format!("{named}:{}", server.me().password));
        Run::new("sh").env("HOME", server.folder()).args(["-c", &line]).succeed()
    };
    run(&lines[0]);
    let _ = server.inbox(1);
    let read = run(&lines[1]).text();
    assert!(read.contains("Subject: ") && read.contains("Delivered-To: me@localhost"), "{read}");
}

/// As above, but the README's: what it shows is the first thing that anybody tries.
#[test]
fn what_the_readme_says_to_try_works_as_it_stands_there() {
    let server = Server::start_without_configuration();
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = fs::read_to_string(readme).expect("the README");
    let mut blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let script = blocks.find(|block| block.contains("--upload-file")).expect("lines that send a mail");
    let named = format!("--user {}", server.me().name);
    assert_eq!(script.matches(&named).count(), 2, "one to send, one to read: {script}");
    let script = script.replace(&named, &format!("{named}:{}", server.me().password));
    // The mail may reach the mailbox a moment behind its 250.
    let script = script.replace("\n\ncurl", "\n\nsleep 1\ncurl");
    let read = Run::new("sh").env("HOME", server.folder()).args(["-ec", &script]).succeed().text();
    assert!(read.contains("Subject: hello") && read.contains("It works."), "{read}");
}

/// The indented lines that begin with a program, those that go on behind a backslash joined.
fn pasteable_lines(shown: &str) -> Vec<String> {
    let joined = shown.replace("\\\n", " ");
    let programs = ["curl ", "printf ", "swaks "];
    let lines = joined.lines().map(str::trim);
    lines.filter(|line| programs.iter().any(|program| line.starts_with(program))).map(str::to_owned).collect()
}

#[test]
fn the_second_start_keeps_user_certificate_and_mail() {
    let mut server = Server::start_without_configuration();
    let certificate = fs::read(server.certificate()).expect("a certificate");
    let content = mail::small("kept");
    server.smtp_as_me().mail("me@localhost", &["me@localhost"], &content).must("250 2.0.0");
    server.wait_for_empty_queue();
    server.stop();
    server.restart();

    assert_eq!(fs::read(server.certificate()).expect("a certificate"), certificate);
    assert_eq!(
        server.cli(["user", "list"]).succeed().text().matches('@').count(),
        1,
        "no second user is made"
    );
    mail::assert_same_octets(mail::below_trace(&server.inbox(1)[0]), &content);
}

#[test]
fn swaks_sends_by_plain_and_login_over_starttls_and_implicit_tls() {
    let server = Server::start_without_configuration();
    let mut sent = Vec::new();
    for tls in [Tls::StartTls, Tls::Implicit] {
        for mechanism in ["PLAIN", "LOGIN"] {
            let content = mail::small(&format!("swaks-{tls:?}-{mechanism}"));
            let outcome = clients::swaks(&server, tls, mechanism, "me@localhost", &content);
            assert!(outcome.status.success(), "{outcome}");
            sent.push(content);
        }
    }
    assert_delivered(&server, &sent);
}

#[test]
fn swaks_sends_pipelined() {
    let server = Server::start_without_configuration();
    let content = mail::small("swaks-pipelined");
    let outcome = clients::swaks_pipelined(&server, "me@localhost", &content);
    assert!(outcome.status.success(), "{outcome}");
    assert_delivered(&server, &[content]);
}

#[test]
fn curl_sends_by_smtps_and_starttls_and_reads_by_pop3s_and_stls() {
    let server = Server::start_without_configuration();
    let sent = [Tls::StartTls, Tls::Implicit].map(|tls| {
        let content = mail::eight_bit(&format!("curl-{tls:?}"));
        clients::curl_send(&server, tls, &["me@localhost"], &content).succeed();
        content
    });
    assert_delivered(&server, &sent);
    for tls in [Tls::StartTls, Tls::Implicit] {
        let listing = clients::curl_read(&server, tls, 0).succeed().text();
        assert_eq!(listing.lines().count(), sent.len(), "{listing}");
        for (number, content) in (1..).zip(&sent) {
            let read = clients::curl_read(&server, tls, number).succeed().stdout;
            mail::assert_same_octets(mail::below_trace(&read), content);
        }
    }
}

#[test]
fn curl_sends_by_plain_and_login_as_told() {
    let server = Server::start_without_configuration();
    let sent = ["PLAIN", "LOGIN"].map(|mechanism| {
        let content = mail::small(&format!("curl-{mechanism}"));
        let run = clients::curl_send(&server, Tls::Implicit, &["me@localhost"], &content);
        run.args(["--login-options", &format!("AUTH={mechanism}")]).succeed();
        content
    });
    assert_delivered(&server, &sent);
}

#[test]
fn msmtp_sends_by_scram_plain_and_login_over_starttls_and_implicit_tls() {
    let server = Server::start_without_configuration();
    let mut sent = Vec::new();
    for tls in [Tls::StartTls, Tls::Implicit] {
        for mechanism in ["scram-sha-256", "plain", "login"] {
            let content = mail::small(&format!("msmtp-{tls:?}-{mechanism}"));
            let outcome = clients::msmtp(&server, tls, mechanism, &["me@localhost"], &content);
            assert!(outcome.status.success(), "{outcome}");
            sent.push(content);
        }
    }
    assert_delivered(&server, &sent);
}

#[test]
fn python_sends_by_starttls_and_implicit_tls_and_reads_by_both() {
    let server = Server::start_without_configuration();
    let mut sent = Vec::new();
    for (mode, port) in [("starttls", server.ports.starttls), ("implicit", server.ports.implicit)] {
        for mechanism in ["PLAIN", "LOGIN"] {
            let content = mail::eight_bit(&format!("python-{mode}-{mechanism}"));
            let run = clients::python(&server, "smtp_send.py", port, mode);
            run.args([mechanism, "ascii", "me@localhost"]).stdin(content.clone()).succeed();
            sent.push(content);
        }
    }
    assert_delivered(&server, &sent);
    for (mode, port) in [("starttls", server.ports.pop3), ("implicit", server.ports.pop3s)] {
        let read = clients::python(&server, "pop3_read.py", port, mode).succeed().stdout;
        let read: Vec<String> = serde_json::from_slice(&read).expect("JSON");
        assert_eq!(read.len(), sent.len());
        for (mail, content) in read.iter().zip(&sent) {
            let mail = base64::engine::general_purpose::STANDARD.decode(mail).expect("base64");
            mail::assert_same_octets(mail::below_trace(&mail), content);
        }
    }
}

#[test]
fn python_sends_smtputf8_with_utf8_in_address_and_header() {
    let mut server = Server::start_without_configuration();
    server.add_user("jürgen@localhost");
    server.wait_for_recipient("jürgen@localhost");
    let content = mail::message("Grüße-漢字", "Ein Text mit Umlauten: äöü\r\n".as_bytes());
    let run = clients::python(&server, "smtp_send.py", server.ports.starttls, "starttls");
    run.args(["PLAIN", "utf8", "jürgen@localhost"]).stdin(content.clone()).succeed();

    let stored = server.inbox_of(&server.users[1], 1).remove(0);
    mail::assert_same_octets(mail::below_trace(&stored), &content);
    assert!(
        mail::field(&stored, "Received").expect("a trace").contains("UTF8SMTPSA"),
        "RFC 6531 section 4.3"
    );
    assert_eq!(mail::field(&stored, "Delivered-To").as_deref(), Some("jürgen@localhost"));
}

#[test]
fn exim_sends_by_bdat_over_starttls_and_implicit_tls() {
    let server = Server::start_without_configuration();
    let mut sent = Vec::new();
    for tls in [Tls::StartTls, Tls::Implicit] {
        let content =
            mail::message(&format!("exim-{tls:?}"), "Grüße\r\n.\r\n..two dots\r\nend\r\n".as_bytes());
        let delivery = clients::exim(&server, tls, "me@localhost", &content);
        assert!(delivery.contains(" K ") || delivery.contains(" K\t"), "Exim used CHUNKING: {delivery}");
        assert!(delivery.contains("250 2.0.0"), "{delivery}");
        sent.push(content);
    }
    for (stored, content) in server.inbox(sent.len()).iter().zip(&sent) {
        // Exim puts its own Received on top.
        let below = mail::below_trace(stored);
        let own = mail::field(below, "Received").expect("Exim's trace");
        assert!(own.contains("sender.example"), "{own}");
        mail::assert_same_octets(&below[below.len() - content.len()..], content);
    }
}

#[test]
fn a_scripted_client_sends_by_scram_with_and_without_channel_binding() {
    let server = Server::start_without_configuration();
    let mut smtp = server.smtp_in_tls();
    let binding = Binding::Exporter(smtp.wire().tls_exporter());
    smtp.auth_scram(server.me(), &binding).must("235 2.7.0");
    let first = mail::small("scram-plus");
    smtp.mail("me@localhost", &["me@localhost"], &first).must("250 2.0.0");
    smtp.quit();

    let mut smtp = Smtp::connect_tls(server.ports.implicit, server.trust());
    smtp.say("EHLO client.example").must("250");
    smtp.auth_scram(server.me(), &Binding::None).must("235 2.7.0");
    let second = mail::small("scram");
    smtp.mail("me@localhost", &["me@localhost"], &second).must("250 2.0.0");
    smtp.quit();
    assert_delivered(&server, &[first, second]);
}

#[test]
fn a_mail_of_20_mib_comes_through_curl_python_and_bdat() {
    let server = Server::start_without_configuration();
    let content = mail::large("large", 20 * 1024 * 1024);
    clients::curl_send(&server, Tls::StartTls, &["me@localhost"], &content).succeed();
    let run = clients::python(&server, "smtp_send.py", server.ports.implicit, "implicit");
    run.args(["PLAIN", "ascii", "me@localhost"]).stdin(content.clone()).succeed();
    let mut smtp = server.smtp_as_me();
    smtp.begin("me@localhost", &["me@localhost"]);
    for chunk in content.chunks(1_000_000) {
        smtp.bdat(chunk, false).must("250 2.0.0");
    }
    smtp.bdat(b"", true).must("250 2.0.0");

    assert_delivered(&server, &[content.clone(), content.clone(), content.clone()]);
    let read = clients::curl_read(&server, Tls::Implicit, 1).succeed().stdout;
    mail::assert_same_octets(mail::below_trace(&read), &content);
}

#[test]
fn a_mail_reaches_100_recipients() {
    let mut server = Server::start_without_configuration();
    for number in 1..100 {
        server.add_user(&format!("user{number}@localhost"));
    }
    server.wait_for_recipient("user99@localhost");
    let to: Vec<&str> = server.users.iter().map(|user| user.name.as_str()).collect();
    let content = mail::small("hundred");
    let outcome = clients::msmtp(&server, Tls::StartTls, "plain", &to, &content);
    assert!(outcome.status.success(), "{outcome}");

    for user in &server.users {
        mail::assert_same_octets(mail::below_trace(&server.inbox_of(user, 1)[0]), &content);
    }
}

#[test]
fn an_administrator_lists_shows_and_exports_the_mailbox() {
    let server = Server::start_without_configuration();
    let content = mail::small("by-hand");
    server.smtp_as_me().mail("me@localhost", &["postmaster"], &content).must("250 2.0.0");
    let stored = server.inbox(1).remove(0);

    let listing = server.cli(["mailbox", "list", "me@localhost"]).succeed().text();
    assert!(listing.contains(&stored.len().to_string()), "the size is listed: {listing}");
    let uid = listing.split_whitespace().find(|word| word.parse::<u32>().is_ok()).expect("a uid").to_owned();
    let shown = server.cli(["mailbox", "show", "me@localhost", &uid]).succeed().stdout;
    mail::assert_same_octets(mail::below_trace(&shown), &content);
}

/// `me@localhost` has exactly these mails, octet for octet below the trace.
fn assert_delivered(server: &Server, sent: &[Vec<u8>]) {
    let stored = server.inbox(sent.len());
    // Delivery is concurrent: the order of arrival is not the order of sending.
    let mut unseen: Vec<&Vec<u8>> = sent.iter().collect();
    for mail in &stored {
        let below = mail::below_trace(mail);
        let subject = mail::field(below, "Subject");
        let same = unseen.iter().position(|content| mail::field(content, "Subject") == subject);
        let same = same.unwrap_or_else(|| panic!("a mail that was not sent: {subject:?}"));
        mail::assert_same_octets(below, unseen.swap_remove(same));
    }
}
