//! Who gets in, and as whom.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use gatepost_tests::scram::{self, Binding};
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::smtp::{Smtp, plain_response};
use gatepost_tests::user::User;
use gatepost_tests::{mail, wait_until};

#[test]
fn mail_without_auth_is_refused_before_and_inside_tls() {
    let server = Server::start();
    let mut smtp = server.smtp();
    smtp.say("EHLO client.example").must("250");
    smtp.say("MAIL FROM:<me@localhost>").must("530 5.7.0");
    smtp.starttls(server.trust());
    smtp.say("MAIL FROM:<me@localhost>").must("530 5.7.0");
    smtp.say("RCPT TO:<me@localhost>").must("530 5.7.0");
    smtp.quit();

    let mut smtp = Smtp::connect_tls(server.ports.implicit, server.trust());
    smtp.say("EHLO client.example").must("250");
    smtp.say("MAIL FROM:<me@localhost>").must("530 5.7.0");
    smtp.quit();
    server.assert_no_mail();
}

#[test]
fn auth_is_offered_and_taken_inside_tls_only() {
    let server = Server::start();
    let mut smtp = server.smtp();
    let offer = smtp.say("EHLO client.example");
    assert!(offer.offers("STARTTLS"), "{offer:?}");
    assert!(!offer.lines.iter().any(|line| line.starts_with("AUTH")), "{offer:?}");
    let me = server.me();
    let refusal = smtp.say(&format!("AUTH PLAIN {}", plain_response("", &me.name, &me.password)));
    assert!(matches!(refusal.code, 503 | 530 | 538), "{refusal:?}");

    smtp.starttls(server.trust());
    let offer = smtp.say("EHLO client.example");
    assert!(!offer.offers("STARTTLS"), "{offer:?}");
    assert!(offer.offers("AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"), "{offer:?}");
    smtp.auth(me);
    smtp.quit();
}

#[test]
fn a_wrong_password_and_an_unknown_user_get_the_same_answer() {
    let server = Server::start();
    let wrong = User { password: "wrong".to_owned(), ..server.me().clone() };
    let unknown = User::random("nobody@localhost");
    let answers = [&wrong, &unknown].map(|user| {
        let mut smtp = server.smtp_in_tls();
        let plain = smtp.say(&format!("AUTH PLAIN {}", plain_response("", &user.name, &user.password)));
        let scram = smtp.auth_scram(user, &Binding::None);
        smtp.say("MAIL FROM:<me@localhost>").must("530 5.7.0");
        [plain, scram].map(|reply| (reply.must("535 5.7.8").code, without_token(&reply)))
    });
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn an_unknown_user_is_shown_a_stable_salt_and_the_same_iteration_count() {
    let mut server = Server::start();
    let first = challenge(&server, "nobody@localhost");
    let real = challenge(&server, "me@localhost");
    assert_eq!(first, challenge(&server, "nobody@localhost"), "else two attempts tell that there is nobody");
    assert_ne!(first.0, challenge(&server, "somebody@localhost").0);
    assert_ne!(first.0, real.0);
    assert_eq!(first.1, real.1);
    server.stop();
    server.restart();
    assert_eq!(first, challenge(&server, "nobody@localhost"), "a restart must not tell either");
}

/// The salt and the iteration count that SCRAM shows before any proof.
fn challenge(server: &Server, name: &str) -> (String, String) {
    let mut smtp = server.smtp_in_tls();
    let client = scram::Client::new(name, "x", &Binding::None);
    let reply = smtp.say(&format!("AUTH SCRAM-SHA-256 {}", BASE64.encode(client.first_message())));
    reply.must("334");
    smtp.say("*").must("501");
    scram::salt_and_iterations(&BASE64.decode(&reply.lines[0]).expect("base64"))
}

#[test]
fn channel_binding_holds_to_this_very_connection() {
    let server = Server::start();
    let mut other = server.smtp_in_tls();
    let theirs = other.wire().tls_exporter();
    let mut smtp = server.smtp_in_tls();
    let ours = smtp.wire().tls_exporter();
    assert_ne!(ours, theirs);
    smtp.auth_scram(server.me(), &Binding::Exporter(theirs)).must("535 5.7.8");
    smtp.say("MAIL FROM:<me@localhost>").must("530 5.7.0");
    smtp.auth_scram(server.me(), &Binding::Exporter(ours)).must("235 2.7.0");
    smtp.say("MAIL FROM:<me@localhost>").must("250 2.1.0");
}

#[test]
fn a_mechanism_and_a_channel_binding_flag_that_do_not_belong_together_fail() {
    let server = Server::start();
    let attempts = [
        // -PLUS was offered: a client that could and says that we cannot has been lied to.
        ("SCRAM-SHA-256", Binding::NotOffered),
        ("SCRAM-SHA-256-PLUS", Binding::None),
        ("SCRAM-SHA-256-PLUS", Binding::NotOffered),
        ("SCRAM-SHA-256-PLUS", Binding::Other("tls-unique".to_owned(), vec![0; 32])),
        ("SCRAM-SHA-256-PLUS", Binding::Other("tls-server-end-point".to_owned(), vec![0; 32])),
    ];
    for (mechanism, binding) in attempts {
        let mut smtp = server.smtp_in_tls();
        let reply = smtp.auth_scram_as(mechanism, server.me(), &binding);
        assert!(matches!(reply.code, 501 | 535), "{mechanism} with {binding:?}: {reply:?}");
        smtp.say("MAIL FROM:<me@localhost>").must("530 5.7.0");
    }
    let mut smtp = server.smtp_in_tls();
    let binding = Binding::Exporter(smtp.wire().tls_exporter());
    let reply = smtp.auth_scram_as("SCRAM-SHA-256", server.me(), &binding);
    assert!(matches!(reply.code, 501 | 535), "a binding without -PLUS: {reply:?}");
}

#[test]
fn nobody_acts_for_somebody_else() {
    let server = Setup::new().user("you@localhost").alias("sales@localhost", "me@localhost").start();
    let me = server.me();
    let mut smtp = server.smtp_in_tls();
    smtp.say(&format!("AUTH PLAIN {}", plain_response("you@localhost", &me.name, &me.password)))
        .must("535 5.7.8");
    smtp.say("MAIL FROM:<me@localhost>").must("530 5.7.0");
    smtp.say(&format!("AUTH PLAIN {}", plain_response(&me.name, &me.name, &me.password))).must("235 2.7.0");

    for other in ["you@localhost", "nobody@localhost", "me@remote.example"] {
        smtp.say(&format!("MAIL FROM:<{other}>")).must("550 5.7.1");
    }
    for own in ["me@localhost", "ME@LOCALHOST", "sales@localhost", ""] {
        smtp.say(&format!("MAIL FROM:<{own}>")).must("250 2.1.0");
        smtp.say("RSET").must("250 2.0.0");
    }
}

#[test]
fn an_exchange_can_be_cancelled_and_begun_again() {
    let server = Server::start();
    let me = server.me();
    let mut smtp = server.smtp_in_tls();
    smtp.say("AUTH PLAIN").must("334");
    smtp.say("*").must("501");
    smtp.say("AUTH LOGIN").must("334");
    smtp.say(&BASE64.encode(&me.name)).must("334");
    smtp.say("*").must("501");
    smtp.say("MAIL FROM:<me@localhost>").must("530 5.7.0");
    smtp.auth(me);
    smtp.say(&format!("AUTH PLAIN {}", plain_response("", &me.name, &me.password))).must("503 5.5.1");
}

#[test]
fn malformed_responses_and_unknown_mechanisms_are_refused() {
    let server = Setup::new().sections("[limits]\nerrors = 100").start();
    let mut smtp = server.smtp_in_tls();
    smtp.say("AUTH CRAM-MD5").must("504 5.5.4");
    smtp.say("AUTH GSSAPI").must("504 5.5.4");
    smtp.say("AUTH").must("501 5.5.4");
    smtp.say("AUTH PLAIN !!!not-base64!!!").must("501 5.5.2");
    smtp.say("MAIL FROM:<me@localhost>").must("530 5.7.0");
}

#[test]
fn guessing_passwords_ends_the_session() {
    let server = Server::start();
    let mut smtp = server.smtp_in_tls();
    let guess = format!("AUTH PLAIN {}", plain_response("", "me@localhost", "guess"));
    let mut refused = 0;
    loop {
        let reply = smtp.say(&guess);
        if reply.code == 421 || smtp.wire().try_send(b"NOOP\r\n").is_err() {
            break;
        }
        reply.must("535 5.7.8");
        refused += 1;
        assert!(refused <= 3, "a fourth guess in one session");
        let Ok(noop) = smtp.try_reply() else { break };
        if noop.code == 421 {
            break;
        }
    }
    assert!(refused >= 2);
}

#[test]
fn a_new_password_and_a_removed_user_count_at_once() {
    let mut server = Setup::new().user("you@localhost").start();
    let old = server.users[1].clone();
    let new = User::random("you@localhost");
    let passwd = server.cli(["user", "passwd", "you@localhost", "--password-stdin"]);
    passwd.stdin(format!("{}\n", new.password)).succeed();
    server.users.push(new.clone());
    wait_until("the server notices", || accepts(&server, &new));
    assert!(!accepts(&server, &old));

    server.cli(["user", "remove", "you@localhost"]).succeed();
    wait_until("the server notices", || !accepts(&server, &new));
    server.smtp_as_me().say("MAIL FROM:<me@localhost>").must("250 2.1.0");
}

fn accepts(server: &Server, user: &User) -> bool {
    let mut smtp = server.smtp_in_tls();
    smtp.say(&format!("AUTH PLAIN {}", plain_response("", &user.name, &user.password))).code == 235
}

#[test]
fn a_listener_without_tls_takes_scram_where_that_is_allowed() {
    let [port] = gatepost_tests::ports::free();
    let server = Setup::new()
        .sections(&format!(
            "[[listener]]\nname = \"inside\"\naddress = \"127.0.0.1:{port}\"\nprotocol = \"smtp\"\ntls = \"none\"\n\
             auth_without_tls = \"scram\"\n"
        ))
        .start();
    let mut smtp = Smtp::connect(port);
    let offer = smtp.say("EHLO client.example");
    assert!(offer.offers("AUTH SCRAM-SHA-256"), "{offer:?}");
    assert!(!offer.offers("STARTTLS"), "{offer:?}");
    let me = server.me();
    let plain = smtp.say(&format!("AUTH PLAIN {}", plain_response("", &me.name, &me.password)));
    assert!(plain.code >= 500, "a password in the clear: {plain:?}");
    // Here nothing binds to a channel: `y` says what is true.
    smtp.auth_scram(me, &Binding::NotOffered).must("235 2.7.0");
    let content = mail::small("inside");
    smtp.mail("me@localhost", &["me@localhost"], &content).must("250 2.0.0");
    mail::assert_same_octets(mail::below_trace(&server.inbox(1)[0]), &content);
}

#[test]
fn tls_1_2_and_1_3_are_spoken_and_bound_to_where_that_is_safe() {
    let server = Server::start();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut smtp = server.smtp();
        smtp.starttls(gatepost_tests::trust::with_versions(&server.certificate(), &[version]));
        assert_eq!(smtp.wire().tls_version(), Some(version.version));
        let offer = smtp.say("EHLO client.example");
        let mechanisms =
            offer.lines.iter().find_map(|line| line.strip_prefix("AUTH ")).expect("AUTH is offered");
        // In TLS 1.2 the exporter is unique only with an extension that the other side may lack (RFC 9266 section 4.2).
        let offers_binding = mechanisms.split(' ').any(|mechanism| mechanism == "SCRAM-SHA-256-PLUS");
        assert!(offers_binding || version.version == rustls::ProtocolVersion::TLSv1_2, "{offer:?}");
        let binding =
            if offers_binding { Binding::Exporter(smtp.wire().tls_exporter()) } else { Binding::None };
        smtp.auth_scram(server.me(), &binding).must("235 2.7.0");
        smtp.quit();
    }
}

/// The reply's text but for the name of this one refusal.
fn without_token(reply: &gatepost_tests::smtp::Reply) -> Vec<String> {
    reply.lines.iter().map(|line| line.split(" [").next().unwrap_or_default().to_owned()).collect()
}
