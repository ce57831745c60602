use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost_smtp::client::scram::{Exporter, ITERATIONS_MAX, Means, Proof};
use gatepost_smtp::client::{Config, Failure, Fault, Login};
use gatepost_smtp::wire::auth::Secret;
use proptest::prelude::*;

use crate::dialog::{Dialog, config};

// RFC 7677 section 3.
const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const SERVER_FIRST: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn with_login(user: &str) -> Config {
    let login = Login::new(user.to_owned(), Secret::new(b"pencil".to_vec())).unwrap();
    Config { login: Some(login), ..config() }
}

fn means(exporter: Option<u8>) -> Means {
    let random = STANDARD.decode(NONCE).unwrap().try_into().unwrap();
    Means { random, exporter: exporter.map(|octet| Exporter([octet; 32])) }
}

fn proof() -> Proof {
    let octets = |text| STANDARD.decode(text).unwrap().try_into().unwrap();
    Proof {
        client: octets("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="),
        server: octets("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="),
    }
}

fn challenge(message: &str) -> String {
    format!("334 {}", STANDARD.encode(message))
}

/// Greeted by a server with these mechanisms; client-first is said.
fn begun(exporter: Option<u8>, mechanisms: &str) -> Dialog {
    Dialog::secured_with(with_login("user"), means(exporter))
        .hears("220 hello")
        .says("EHLO us.example")
        .hears(&format!("250-mx\n250 AUTH {mechanisms}"))
}

/// Client-final is said.
fn proved() -> Dialog {
    let dialog = begun(None, "SCRAM-SHA-256").hears(&challenge(SERVER_FIRST)).proves(&proof());
    dialog.says(&format!(
        "AUTH SCRAM-SHA-256 {}\n{}",
        STANDARD.encode(format!("n,,n=user,r={NONCE}")),
        STANDARD.encode(CLIENT_FINAL)
    ))
}

#[test]
fn the_dialog_of_rfc_7677_logs_in_and_shows_no_password() {
    let mut dialog = begun(None, "PLAIN LOGIN SCRAM-SHA-256").hears(&challenge(SERVER_FIRST));
    let asked = dialog.challenge.clone().unwrap();
    assert_eq!(STANDARD.encode(&asked.salt), "W22ZaJ0SNY7soEsUEjb6gQ==");
    assert_eq!(asked.iterations.get(), 4096);
    let signed = format!("n=user,r={NONCE},{SERVER_FIRST},{}", CLIENT_FINAL.split_once(",p=").unwrap().0);
    assert_eq!(String::from_utf8(asked.auth_message).unwrap(), signed);
    assert!(dialog.said().starts_with("AUTH SCRAM-SHA-256 "));
    proved().hears(&challenge(SERVER_FINAL)).says("").hears("235 2.7.0 welcome").gets_ready().says_nothing();
}

#[test]
fn the_strongest_mechanism_of_both_sides_is_taken() {
    let plus =
        format!("AUTH SCRAM-SHA-256-PLUS {}", STANDARD.encode(format!("p=tls-exporter,,n=user,r={NONCE}")));
    let could = format!("AUTH SCRAM-SHA-256 {}", STANDARD.encode(format!("y,,n=user,r={NONCE}")));
    let cannot = format!("AUTH SCRAM-SHA-256 {}", STANDARD.encode(format!("n,,n=user,r={NONCE}")));
    let plain = "AUTH PLAIN AHVzZXIAcGVuY2ls";
    for (exporter, mechanisms, said) in [
        (Some(1), "PLAIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS", plus.as_str()),
        (Some(1), "PLAIN scram-sha-256", &could),
        (None, "PLAIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS", &cannot),
        (None, "PLAIN SCRAM-SHA-256-PLUS", plain),
        (Some(1), "PLAIN SCRAM-SHA-1 SCRAM-SHA-1-PLUS", plain),
    ] {
        begun(exporter, mechanisms).says(said);
    }
    let unable = Dialog::secured(with_login("user")).hears("220 hello").says("EHLO us.example");
    unable.hears("250-mx\n250 AUTH PLAIN SCRAM-SHA-256").says(plain);
    begun(None, "SCRAM-SHA-256-PLUS").ends("no way to log in was offered inside TLS");
}

#[test]
fn plus_says_on_which_connection_it_is() {
    let mut dialog = begun(Some(7), "SCRAM-SHA-256-PLUS").hears(&challenge(SERVER_FIRST)).proves(&proof());
    let said = dialog.said();
    let last = STANDARD.decode(said.lines().last().unwrap()).unwrap();
    let binding = [b"p=tls-exporter,,".as_slice(), &[7; 32]].concat();
    assert!(String::from_utf8(last).unwrap().starts_with(&format!("c={},r=", STANDARD.encode(binding))));
}

#[test]
fn a_name_is_escaped() {
    let dialog = Dialog::secured_with(with_login("a,b=c"), means(None)).hears("220 hello");
    let first = STANDARD.encode(format!("n,,n=a=2Cb=3Dc,r={NONCE}"));
    dialog
        .hears("250-mx\n250 AUTH SCRAM-SHA-256")
        .says(&format!("EHLO us.example\nAUTH SCRAM-SHA-256 {first}"));
}

#[test]
fn a_challenge_that_no_honest_server_gives_is_not_answered() {
    let rounds = |count: &str| SERVER_FIRST.replace("4096", count);
    let too_many = format!("AUTH failed: an iteration count over {ITERATIONS_MAX}");
    for (message, ending) in [
        (
            rounds("1"),
            "AUTH failed: an iteration count under 4096, which would make the password easy to guess",
        ),
        (
            rounds("4095"),
            "AUTH failed: an iteration count under 4096, which would make the password easy to guess",
        ),
        (rounds("1000001"), too_many.as_str()),
        (rounds("4000000000"), &too_many),
        (rounds("99999999999999999999999"), &too_many),
        (rounds("0"), "AUTH failed: a message that is none of SCRAM"),
        (SERVER_FIRST.replacen('O', "P", 1), "AUTH failed: a nonce that is not for this login"),
        (format!("r={NONCE},s=W22Z,i=4096"), "AUTH failed: a nonce that is not for this login"),
        ("r=x,s=W22Z,i=4096".to_owned(), "AUTH failed: a nonce that is not for this login"),
        (format!("m=x,{SERVER_FIRST}"), "AUTH failed: a mandatory extension of SCRAM that is not known"),
        (format!("{SERVER_FIRST},m=x"), "AUTH failed: a mandatory extension of SCRAM that is not known"),
        (SERVER_FINAL.to_owned(), "AUTH failed: a message that is none of SCRAM"),
        (String::new(), "AUTH failed: a message that is none of SCRAM"),
    ] {
        let mut dialog = begun(None, "PLAIN SCRAM-SHA-256").hears(&challenge(&message));
        assert!(dialog.challenge.is_none(), "{message}");
        assert_eq!(dialog.said().lines().count(), 1, "client-first and no more: {message}");
        dialog.ends(ending);
    }
    for (reply, ending) in [
        ("334 !!!", "AUTH failed: a message that is none of SCRAM"),
        ("334 cj1h\u{e4}", "AUTH failed: a message that is none of SCRAM"),
        ("334-cj1h\n334 cj1h", "AUTH failed: a message that is none of SCRAM"),
        ("235 come in", "unexpected reply to AUTH: 235 come in"),
        ("535 5.7.8 no", "AUTH refused: 535 5.7.8 no"),
        ("504 5.5.4 what?", "AUTH refused: 504 5.5.4 what?"),
    ] {
        begun(None, "PLAIN SCRAM-SHA-256").hears(reply).ends(ending);
    }
    let endless = format!("334 {}", "A".repeat(4000));
    begun(None, "SCRAM-SHA-256").receives(endless.as_bytes()).ends("a reply line over 2000 octets at AUTH");
}

#[test]
fn a_server_that_does_not_prove_that_it_knows_the_password_gets_no_mail() {
    let wrong = SERVER_FINAL.replacen("6r", "7r", 1);
    for (reply, ending) in [
        (challenge(&wrong), "AUTH failed: no proof that it knows the password"),
        (challenge(&SERVER_FINAL[..20]), "AUTH failed: a message that is none of SCRAM"),
        (challenge("v="), "AUTH failed: a message that is none of SCRAM"),
        (challenge("e=other-error"), "AUTH failed: an error in place of the server's proof"),
        (
            challenge(&format!("{SERVER_FINAL},m=x")),
            "AUTH failed: a mandatory extension of SCRAM that is not known",
        ),
        ("334 ".to_owned(), "AUTH failed: a message that is none of SCRAM"),
        ("235 2.7.0 welcome".to_owned(), "AUTH failed: no proof that it knows the password"),
        ("535 5.7.8 no".to_owned(), "AUTH refused: 535 5.7.8 no"),
    ] {
        let dialog = proved().hears(&reply);
        let refused = matches!(dialog.ending, Some(Err(Failure::Refused { .. })));
        assert!(matches!(&dialog.ending, Some(Err(failure)) if failure.fault() == Fault::Server));
        let dialog = if refused { dialog.says("QUIT") } else { dialog.says_nothing() };
        dialog.ends(ending);
    }
}

#[test]
fn a_proof_of_the_server_is_not_yet_its_consent() {
    let shown = || proved().hears(&challenge(SERVER_FINAL)).says("");
    shown().hears("535 5.7.8 no").ends("AUTH refused: 535 5.7.8 no");
    shown().hears("334 ").ends("unexpected reply to AUTH: 334");
}

#[test]
fn nothing_is_listened_to_while_a_proof_is_computed() {
    let asked = || begun(None, "SCRAM-SHA-256").hears(&challenge(SERVER_FIRST));
    asked().hears("235 come in").ends("a reply without a command at AUTH");
    asked().hears("421 4.3.2 going down").ends("closed by the next hop at AUTH: 421 4.3.2 going down");
    asked().cut().ends("connection lost at AUTH");
    asked().waits(Duration::from_secs(5 * 60)).ends("timed out at AUTH");
    let mut dialog = asked();
    let now = std::time::Instant::now();
    dialog.session().abort(now);
    dialog.receives(b"").ends("broken off at AUTH");
    let early = format!("{}\r\n{}\r\n", challenge(SERVER_FIRST), challenge(SERVER_FINAL));
    let dialog = begun(None, "SCRAM-SHA-256").receives(early.as_bytes());
    assert!(dialog.challenge.is_none(), "what would come to nothing is not computed");
    dialog.ends("a reply without a command at AUTH");
}

#[test]
fn a_proof_that_nobody_asked_for_changes_nothing() {
    let mut dialog = begun(None, "SCRAM-SHA-256");
    let now = std::time::Instant::now();
    dialog.session().proved(now, &proof());
    dialog
        .hears(&challenge(SERVER_FIRST))
        .proves(&proof())
        .hears(&challenge(SERVER_FINAL))
        .hears("235 ok")
        .gets_ready();
}

#[test]
fn debug_output_shows_neither_proofs_nor_bindings() {
    assert_eq!(format!("{:?}", proof()), "Proof(..)");
    assert!(format!("{:?}", means(Some(77))).ends_with("exporter: Some(Exporter(..)) }"));
}

proptest! {
    #[test]
    fn only_the_one_proof_of_the_server_lets_a_mail_go(
        flips in prop::collection::vec((0..60_usize, 1..=255_u8), 0..3),
        cut in 0..=60_usize,
    ) {
        let mut message = SERVER_FINAL.as_bytes().to_vec();
        for (at, flip) in flips {
            let at = at % message.len();
            message[at] ^= flip;
        }
        message.truncate(message.len().saturating_sub(60 - cut));
        let is_right = message == SERVER_FINAL.as_bytes();
        let dialog = proved().hears(&format!("334 {}", STANDARD.encode(&message)));
        prop_assert_eq!(dialog.is_open(), is_right, "{:?}", dialog.ending);
    }
}
