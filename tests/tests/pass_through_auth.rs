//! Logins on their way through Gatepost: those that the server behind decides on, and our own there.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use gatepost_tests::authority::Authority;
use gatepost_tests::exchange::Exchange;
use gatepost_tests::next_hop::{At, NextHop, Reaction};
use gatepost_tests::pass_through::before_with;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::smtp::Smtp;
use gatepost_tests::trust;
use gatepost_tests::{mail, wait_until};
use tempfile::TempDir;

/// `nobody`, whom the stand-in for Exchange never lets in, and somebody else.
const NOBODY: &str = "bm9ib2R5";
const SOMEBODY: &str = "c29tZWJvZHk=";

/// A certificate for `hop.example`.
struct Certificate {
    folder: TempDir,
}

// === impl Certificate ===

impl Certificate {
    fn new() -> Self {
        let made = Self { folder: tempfile::tempdir().expect("a folder") };
        let path = |name: &str| made.folder.path().join(name);
        trust::write_certificate_for(&["hop.example"], &path("cert.pem"), &path("key.pem"));
        made
    }

    fn exchange(&self) -> Exchange {
        Exchange::start_tls(&self.folder.path().join("cert.pem"), &self.folder.path().join("key.pem"))
    }

    fn hop(&self) -> NextHop {
        NextHop::start_tls(&self.folder.path().join("cert.pem"), &self.folder.path().join("key.pem"))
    }

    fn keys(&self) -> String {
        let authorities = self.folder.path().join("cert.pem");
        format!("tls = \"verified\"\ntls_name = \"hop.example\"\nauthorities = {authorities:?}\n")
    }
}

/// A server before this one, which decides on logins.
fn relaying(exchange: &Exchange, upstream_keys: &str) -> Setup {
    before_with(exchange.address, upstream_keys, "").listener_keys("auth = \"upstream\"")
}

fn log_in(smtp: &mut Smtp, verb: &str, name: &str) -> u16 {
    smtp.say(&format!("{verb} LOGIN")).must("334");
    smtp.say(name).must("334");
    smtp.say("cGFzc3dvcmQ=").code
}

#[test]
fn the_server_behind_lets_users_in_and_they_are_users() {
    let certificate = Certificate::new();
    let exchange = certificate.exchange();
    let server = relaying(&exchange, &certificate.keys()).start();
    let mut smtp = server.smtp();
    smtp.starttls(server.trust());
    let hello = smtp.say("EHLO client.example");
    assert!(hello.offers("AUTH GSSAPI NTLM LOGIN"), "{hello:?}");
    assert!(hello.lines.iter().all(|line| !line.starts_with("X")), "{hello:?}");
    smtp.say("MAIL FROM:<a@b.example>").must("530 5.7.0");
    assert_eq!(log_in(&mut smtp, "AUTH", SOMEBODY), 235);
    smtp.say("XEXCH50 2 2").must("504 5.7.0");
    smtp.say("X-LINK2STATE FIRST CHUNK=a").must("504 5.7.0");
    let content = mail::small("as-a-user");
    for from in ["somebody@behind.example", "another@behind.example"] {
        smtp.mail(from, &["ann@anywhere.example"], &content).must("250");
    }
    smtp.quit();
    for arrived in exchange.mails(2) {
        mail::assert_same_octets(&arrived, &content);
    }
    let lines = exchange.lines();
    let of_login: Vec<_> = lines.iter().skip_while(|line| *line != "AUTH LOGIN").take(3).collect();
    assert_eq!(of_login, ["AUTH LOGIN", SOMEBODY, "cGFzc3dvcmQ="]);
    assert!(!exchange.has_heard_servers(), "{lines:?}");
    assert!(!server.log().contains("cGFzc3dvcmQ="), "no password is logged");
}

/// The words of a login by a mechanism that nobody but the two ends understands.
#[test]
fn an_exchange_of_several_steps_is_handed_on_as_it_is() {
    let certificate = Certificate::new();
    let exchange = certificate.exchange();
    let server = relaying(&exchange, &certificate.keys()).start();
    let token = "T3BhcXVl".repeat(1_200);
    for (line, starts) in [("AUTH GSSAPI Zmlyc3Q=", 1), ("AUTH NTLM", 0)] {
        let mut smtp = server.smtp_in_tls();
        smtp.say(line).must("334");
        if starts == 0 {
            smtp.say("Zmlyc3Q=").must("334 Y2hhbGxlbmdlIG9uZQ==");
        }
        smtp.say(&token).must("334 Y2hhbGxlbmdlIHR3bw==");
        smtp.say("").must("235");
        smtp.mail("a@b.example", &["c@d.example"], &mail::small("in")).must("250");
        smtp.quit();
    }
    assert_eq!(exchange.lines().iter().filter(|line| **line == token).count(), 2);
}

#[test]
fn who_is_not_let_in_hears_why_and_may_try_again() {
    let certificate = Certificate::new();
    let exchange = certificate.exchange();
    let server = relaying(&exchange, &certificate.keys()).start();
    let mut smtp = server.smtp_in_tls();
    assert_eq!(log_in(&mut smtp, "AUTH", NOBODY), 535);
    wait_until("it is told what was refused", || {
        let is_told = |evidence: &str| evidence.starts_with("the login: 535");
        server.events(&["refused"]).iter().any(|event| event["evidence"].as_str().is_some_and(is_told))
    });
    smtp.say("MAIL FROM:<a@b.example>").must("530 5.7.0");
    smtp.say("AUTH NTLM").must("334");
    smtp.say("*").must("501 5.7.0");
    smtp.say("AUTH NTLM").must("334");
    smtp.say("not base64!").must("501 5.5.2");
    smtp.say("AUTH PLAIN AGEAYg==").must("504 5.5.4");
    smtp.say("AUTH SCRAM-SHA-256-PLUS eA==").must("504 5.5.4");
    assert_eq!(log_in(&mut smtp, "AUTH", SOMEBODY), 235);
    smtp.say("AUTH LOGIN").must("503 5.5.1");
    smtp.quit();
    let lines = exchange.lines();
    assert!(
        lines.iter().all(|line| line != "not base64!" && !line.contains("PLUS") && !line.contains("PLAIN"))
    );
    assert!(server.http("/metrics").1.contains("mechanism=\"LOGIN\",result=\"failed\"} 1"));
}

/// A user of the server behind is one there by X-EXPS as well, where he may say it: for us that makes no server of him.
#[test]
fn an_ordinary_users_x_exps_makes_no_server_of_him() {
    let certificate = Certificate::new();
    let exchange = certificate.exchange();
    let rights = "rights = { anonymous = [\"accept-server-auth\"] }";
    let server = relaying(&exchange, &certificate.keys()).listener_keys(rights).start();
    let mut smtp = server.smtp_in_tls();
    let hello = smtp.say("EHLO client.example");
    assert!(hello.offers("X-EXPS GSSAPI NTLM LOGIN"), "{hello:?}");
    assert_eq!(log_in(&mut smtp, "X-EXPS", SOMEBODY), 235);
    smtp.begin("a@b.example", &["c@d.example"]);
    smtp.say("XEXCH50 2 2").must("504 5.7.0");
    smtp.bdat(&mail::small("no-server"), true).must("250");
    smtp.say("X-LINK2STATE FIRST CHUNK=a").must("504 5.7.0");
    smtp.quit();
    assert_eq!(exchange.mails(1).len(), 1);
    let sent = |verb: &str| exchange.lines().iter().any(|line| line.starts_with(verb));
    assert!(sent("X-EXPS LOGIN") && !sent("XEXCH50") && !sent("X-LINK2STATE"));
}

#[test]
fn a_password_goes_to_no_server_that_has_not_proved_who_it_is() {
    let exchange = Exchange::start();
    for keys in ["tls = \"none\"", "tls = \"opportunistic\""] {
        let server = relaying(&exchange, keys).start();
        let mut smtp = server.smtp_in_tls();
        let hello = smtp.say("EHLO client.example");
        assert!(hello.offers("AUTH GSSAPI NTLM"), "{keys}: {hello:?}");
        smtp.say("AUTH LOGIN").must("504 5.5.4");
        smtp.quit();
        let mut smtp = server.smtp();
        let hello = smtp.say("EHLO client.example");
        assert!(hello.lines.iter().all(|line| !line.starts_with("AUTH")), "{hello:?}");
        smtp.quit();
    }
    assert!(exchange.lines().iter().all(|line| !line.starts_with("AUTH")), "{:?}", exchange.lines());
}

#[test]
fn nobody_is_offered_a_login_that_nobody_decides_on() {
    let certificate = Certificate::new();
    let hop = certificate.hop().always(At::Greeting, Reaction::Drop);
    let server =
        before_with(hop.address, &certificate.keys(), "").listener_keys("auth = \"upstream\"").start();
    let mut smtp = server.smtp();
    smtp.say("EHLO client.example").must("250");
    smtp.say("STARTTLS").must("220");
    smtp.wire().secure(server.trust());
    smtp.say("EHLO client.example").must("451 4.4.1");
    smtp.say("AUTH PLAIN AGEAYg==").must("502 5.5.1");
    hop.mend();
    smtp.say("EHLO client.example").must("250");
    smtp.say("AUTH PLAIN AGEAYg==").must("235");
    smtp.quit();
}

/// The session behind is who he is there. Without it he is nobody, and another one is not his.
#[test]
fn a_lost_session_behind_is_not_replaced_by_one_without_a_login() {
    let certificate = Certificate::new();
    let hop = certificate.hop().times(1, At::Mail, Reaction::Drop);
    let server =
        before_with(hop.address, &certificate.keys(), "").listener_keys("auth = \"upstream\"").start();
    let mut smtp = server.smtp_in_tls();
    smtp.say("AUTH PLAIN AGEAYg==").must("235");
    for _ in 0..2 {
        smtp.say("MAIL FROM:<a@b.example>").must("451 4.4.2");
    }
    smtp.quit();
    let mut smtp = server.smtp_in_tls();
    smtp.say("MAIL FROM:<a@b.example>").must("530 5.7.0");
    smtp.say("AUTH PLAIN AGEAYg==").must("235");
    smtp.mail("a@b.example", &["c@d.example"], &mail::small("again")).must("250");
    smtp.quit();
    let mails = hop.said().iter().filter(|line| line.starts_with("MAIL")).count();
    assert_eq!(mails, 2, "{:?}", hop.said());
}

/// Anybody can say EHLO. Who is nobody yet holds no connection behind, and neither does who was not let in.
#[test]
fn who_has_not_logged_in_takes_nobodys_place_behind() {
    let certificate = Certificate::new();
    let exchange = certificate.exchange();
    let keys = format!("{}connections = 2\n", certificate.keys());
    let server = relaying(&exchange, &keys).start();
    let mut strangers: Vec<Smtp> = (0..8).map(|_| server.smtp_in_tls()).collect();
    for smtp in &mut strangers {
        assert!(smtp.say("EHLO client.example").offers("AUTH GSSAPI NTLM LOGIN"));
    }
    for smtp in strangers.iter_mut().take(3) {
        assert_eq!(log_in(smtp, "AUTH", NOBODY), 535);
    }
    let mut smtp = server.smtp_in_tls();
    assert_eq!(log_in(&mut smtp, "AUTH", SOMEBODY), 235);
    smtp.mail("a@b.example", &["c@d.example"], &mail::small("among-strangers")).must("250");
    smtp.quit();
    assert_eq!(exchange.mails(1).len(), 1);
}

#[test]
fn no_two_clients_share_a_session_that_somebody_has_logged_in_to() {
    let certificate = Certificate::new();
    let hop = certificate.hop();
    let server =
        before_with(hop.address, &certificate.keys(), "").listener_keys("auth = \"upstream\"").start();
    for _ in 0..3 {
        let mut user = server.smtp_in_tls();
        user.say("AUTH PLAIN AGEAYg==").must("235");
        user.mail("a@b.example", &["c@d.example"], &mail::small("mine")).must("250");
        let mut stranger = server.smtp_open();
        stranger.mail("a@b.example", &["c@to.example"], &mail::small("strange")).must("250");
        stranger.quit();
        user.mail("a@b.example", &["c@d.example"], &mail::small("mine")).must("250");
        user.quit();
    }
    let taken = hop.taken(9);
    let mut of_users = std::collections::HashSet::new();
    for mail in &taken {
        if mail.is_for("c@d.example") {
            of_users.insert(mail.connection);
        } else {
            assert!(!of_users.contains(&mail.connection), "a stranger's mail as a user");
        }
    }
    assert_eq!(of_users.len(), 3);
}

/// EXTERNAL speaks of a certificate that was shown to us. With one of a server, a login behind is that of a server.
#[test]
fn a_servers_certificate_makes_a_server_of_who_is_let_in_behind() {
    let certificate = Certificate::new();
    let exchange = certificate.exchange();
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new();
    authority.write(&folder.path().join("clients.pem"));
    let clients = format!(
        "client_certificates = {{ authorities = {:?}, peers = [{{ class = \"server\", names = [\"mx2.example.org\"] }}] }}",
        folder.path().join("clients.pem")
    );
    let server = relaying(&exchange, &certificate.keys()).listener_keys(&clients).start();
    let open = |server: &Server, name: &str| {
        let mut smtp = server.smtp();
        smtp.starttls(authority.issue(name).client(&server.certificate()));
        smtp
    };
    let mut smtp = open(&server, "mx2.example.org");
    let hello = smtp.say("EHLO mx2.example.org");
    assert!(hello.offers("AUTH EXTERNAL GSSAPI NTLM LOGIN"), "{hello:?}");
    assert_eq!(log_in(&mut smtp, "AUTH", SOMEBODY), 235);
    smtp.begin("a@b.example", &["c@d.example"]);
    smtp.say("XEXCH50 4 2").must("354");
    smtp.send(b"blob");
    smtp.reply().must("250 2.0.0");
    smtp.bdat(&mail::small("of-a-server"), true).must("250");
    smtp.quit();
    let mut smtp = open(&server, "mx3.example.org");
    assert_eq!(log_in(&mut smtp, "AUTH", SOMEBODY), 235);
    smtp.say("XEXCH50 4 2").must("504 5.7.0");
    smtp.quit();
    assert_eq!(exchange.blobs(), [b"blob"]);
}

#[test]
fn we_log_in_ourselves_where_the_server_behind_wants_to_know_us() {
    let certificate = Certificate::new();
    let hop = certificate.hop();
    let secret = certificate.folder.path().join("credentials");
    fs::write(&secret, "gatepost\npassword\n").expect("a file");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("a mode");
    let keys = format!("{}credentials = {secret:?}\n", certificate.keys());
    let server = before_with(hop.address, &keys, "").start();
    let mut smtp = server.smtp_open();
    smtp.mail("a@b.example", &["ann@to.example"], &mail::small("ours")).must("250");
    smtp.quit();
    let taken = hop.taken(1).remove(0);
    assert!(taken.in_tls);
    // gatepost and password, as PLAIN has them.
    assert!(hop.said().contains(&"AUTH PLAIN AGdhdGVwb3N0AHBhc3N3b3Jk".to_owned()), "{:?}", hop.said());
    let hop = certificate.hop().always(At::Auth, Reaction::Say("535 5.7.8 no"));
    let server = before_with(hop.address, &keys, "").start();
    server.smtp_open().say("MAIL FROM:<a@b.example>").must("451 4.4.1");
}
