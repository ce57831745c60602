use gatepost_smtp::client::{Config, StartTls};

use crate::dialog::{Dialog, PASSWORD, config, login};

fn required() -> Config {
    Config { starttls: StartTls::Required, ..config() }
}

fn with_login() -> Config {
    Config { login: Some(login()), ..required() }
}

#[test]
fn inside_tls_nothing_of_the_plaintext_is_known() {
    Dialog::new(required())
        .hears("220 hello")
        .says("EHLO us.example")
        .hears("250-mx\n250-STARTTLS\n250-PIPELINING\n250 SMTPUTF8")
        .says("STARTTLS")
        .hears("220 go")
        .says_nothing()
        .secures()
        .says("EHLO us.example")
        .hears("250-mx\n250 8BITMIME")
        .gets_ready()
        .says_nothing();
    let mut dialog = Dialog::new(required())
        .hears("220 a")
        .hears("250-mx\n250-STARTTLS\n250 PIPELINING")
        .hears("220 b")
        .secures();
    assert!(!dialog.session().capabilities().pipelining);
}

#[test]
fn starttls_that_is_offered_inside_tls_is_not_asked_for() {
    let dialog = Dialog::secured(required()).hears("220 hello").says("EHLO us.example");
    dialog.hears("250-mx\n250 STARTTLS").says_nothing().gets_ready();
}

#[test]
fn octets_behind_the_220_of_starttls_end_the_session() {
    let asked = || Dialog::new(required()).hears("220 hello").hears("250-mx\n250 STARTTLS").hears_nothing();
    asked().receives(b"220 go\r\n250 injected\r\n").says_nothing().ends("octets injected behind STARTTLS");
    asked().receives(b"220 go\r\n2").ends("octets injected behind STARTTLS");
    asked().receives(b"220 go\r\n").receives(b"\x16").ends("octets injected behind STARTTLS");
    asked().receives(b"220-go\r\n220 on\r\n").secures().says("EHLO us.example");
}

#[test]
fn where_tls_is_required_there_is_no_mail_without() {
    let none = Dialog::new(required()).hears("220 hello").hears("250 mx");
    none.ends("TLS is required and was not offered");
    let old = Dialog::new(required()).hears("220 hello").hears("500 what?").hears("250 mx");
    old.ends("TLS is required and was not offered");
    let broken = Dialog::new(required()).hears("220 hello").hears("250-mx\n250 STARTTLS").hears("454 no key");
    broken.ends("STARTTLS refused: 454 no key");
    let odd = Dialog::new(required()).hears("220 hello").hears("250-mx\n250 STARTTLS").hears("250 go");
    odd.ends("unexpected reply to STARTTLS: 250 go");
}

#[test]
fn where_tls_is_welcome_a_server_without_it_is_served_all_the_same() {
    Dialog::new(config()).hears("220 hello").hears("250-mx\n250 STARTTLS").hears("454 no key").gets_ready();
}

#[test]
fn a_failed_handshake_is_the_end() {
    let mut dialog = Dialog::new(required()).hears("220 hello").hears("250-mx\n250 STARTTLS").hears("220 go");
    let now = std::time::Instant::now();
    dialog.session().tls_failed(now);
    dialog.receives(b"").ends("the TLS handshake failed");
}

#[test]
fn a_machine_that_was_not_told_to_upgrade_gives_no_secured_one() {
    let mut dialog = Dialog::new(required()).hears("220 hello");
    let now = std::time::Instant::now();
    let session = std::mem::replace(dialog.session(), gatepost_smtp::client::Session::new(config(), now));
    *dialog.session() = session.into_secured(now);
    dialog.receives(b"").ends("the TLS handshake failed");
}

#[test]
fn plain_is_said_inside_tls() {
    Dialog::secured(with_login())
        .hears("220 hello")
        .says("EHLO us.example")
        .hears("250-mx\n250 AUTH LOGIN PLAIN")
        .says("AUTH PLAIN AHVzZXIAb3BlbiBzZXNhbWU=")
        .hears("235 2.7.0 welcome")
        .gets_ready();
}

#[test]
fn login_is_said_where_there_is_nothing_else() {
    Dialog::secured(with_login())
        .hears("220 hello")
        .hears("250-mx\n250 AUTH CRAM-MD5 LOGIN")
        .says("EHLO us.example\nAUTH LOGIN")
        .hears("334 VXNlcm5hbWU6")
        .says("dXNlcg==")
        .hears("334 UGFzc3dvcmQ6")
        .says("b3BlbiBzZXNhbWU=")
        .hears("235 welcome")
        .gets_ready();
}

#[test]
fn a_login_that_fails_is_told_with_the_servers_words() {
    let asked = || Dialog::secured(with_login()).hears("220 hello").hears("250-mx\n250 AUTH PLAIN");
    asked().hears("535 5.7.8 no").ends("AUTH refused: 535 5.7.8 no");
    asked().hears("454 4.7.0 later").ends("AUTH refused: 454 4.7.0 later");
    asked().hears("334 ").ends("unexpected reply to AUTH: 334");
    let none = Dialog::secured(with_login()).hears("220 hello").hears("250 mx");
    none.ends("no way to log in was offered inside TLS");
    let in_login = Dialog::secured(with_login()).hears("220 hello").hears("250-mx\n250 AUTH LOGIN");
    in_login.hears("334 ").hears("235 already?").ends("unexpected reply to AUTH: 235 already?");
}

#[test]
fn a_password_is_never_said_in_plaintext() {
    for starttls in [StartTls::Never, StartTls::IfOffered] {
        let config = Config { starttls, ..with_login() };
        let mut dialog = Dialog::new(config).hears("220 hello").hears("250-mx\n250 AUTH PLAIN LOGIN");
        assert!(!dialog.said().contains("AUTH"));
        dialog.ends("no way to log in was offered inside TLS");
    }
    assert!(!format!("{:?}", with_login()).contains(PASSWORD));
}

impl Dialog {
    fn hears_nothing(mut self) -> Self {
        assert_eq!(self.said(), "EHLO us.example\r\nSTARTTLS\r\n");
        self
    }
}
