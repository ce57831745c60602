use gatepost_smtp::server::{ClassRights, CloseReason, Mechanism, Notice, TlsMode};

use crate::scenario::{Event, Scenario, config, submission};

const PLAIN: &str = "AGpvZQBzZWNyZXQ=";
const WRONG: &str = "AGpvZQB3cm9uZw==";

fn inside() -> Scenario {
    Scenario::inside_tls(submission()).greeted()
}

#[test]
fn plain_works_with_and_without_an_initial_response() {
    let mut scenario = inside().say(&format!("AUTH PLAIN {PLAIN}"), "235 2.7.0");
    assert_eq!(scenario.session().identity().unwrap().user, "joe@x.example");
    let notice = Notice::Authenticated { user: "joe@x.example".to_owned(), mechanism: Mechanism::Plain };
    assert!(scenario.events.contains(&Event::Noticed(notice)));
    inside().say("auth plain", "334 \r\n").say(PLAIN, "235 2.7.0").say("MAIL FROM:<a@b>", "250");
}

#[test]
fn external_is_for_peers_whose_certificate_was_verified() {
    let certified = || Scenario::inside_tls(submission()).with_certificate();
    let (scenario, heard) = certified().send(b"EHLO c\r\n").heard();
    assert!(heard.contains("250-AUTH EXTERNAL SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN\r\n"), "{heard}");
    scenario.say("AUTH EXTERNAL =", "235 2.7.0").say("AUTH EXTERNAL =", "503 5.5.1");
    inside().say("AUTH EXTERNAL =", "504 5.5.4");
    let mut config = submission();
    config.auth.inside_tls.retain(|mechanism| *mechanism != Mechanism::External);
    Scenario::inside_tls(config).with_certificate().greeted().say("AUTH EXTERNAL =", "504 5.5.4");
    // There is none outside of TLS, whatever the driver says.
    let outside = Scenario::on(submission()).with_certificate().greeted();
    outside.say("AUTH EXTERNAL =", "530 5.7.0 Must issue a STARTTLS");
}

#[test]
fn login_asks_for_name_and_password() {
    inside()
        .say("AUTH LOGIN", "334 VXNlcm5hbWU6")
        .say("am9l", "334 UGFzc3dvcmQ6")
        .say("c2VjcmV0", "235 2.7.0");
}

#[test]
fn the_final_data_of_scram_must_be_acknowledged_with_an_empty_line() {
    let dialog = || {
        inside()
            .say("AUTH SCRAM-SHA-256 Y2xpZW50LWZpcnN0", "334 c2VydmVyLWZpcnN0")
            .say("Y2xpZW50LWZpbmFs", "334 dj1maW5hbA==")
    };
    let mut scenario = dialog();
    assert!(scenario.session().identity().is_none(), "not before the acknowledgement");
    assert!(scenario.say("", "235 2.7.0").session().identity().is_some());
    assert!(dialog().say("=", "235 2.7.0").session().identity().is_some(), "as libcurl says it");
    assert!(dialog().say("Zm9v", "501 5.5.2").session().identity().is_none());
    assert!(dialog().say("*", "501 5.7.0").session().identity().is_none());
}

#[test]
fn a_cancelled_exchange_is_forgotten() {
    let scenario = inside().say("AUTH PLAIN", "334").say("*", "501 5.7.0");
    assert_eq!(scenario.asked("AuthenticateAbort"), 1);
    scenario.say(&format!("AUTH PLAIN {PLAIN}"), "235");
}

#[test]
fn what_is_not_base64_breaks_the_exchange_off() {
    for response in ["!", "AGp", "==", "AGpvZQBz ZWNyZXQ="] {
        let scenario = inside().say("AUTH PLAIN", "334").say(response, "501 5.5.2");
        assert_eq!(scenario.asked("AuthenticateAbort"), 1);
    }
    inside().say("AUTH PLAIN !", "501 5.5.2");
}

#[test]
fn commands_within_an_exchange_are_responses() {
    inside().say("AUTH PLAIN", "334").say("QUIT", "535 5.7.8").still_open();
}

#[test]
fn an_over_long_response_is_drained_and_refused_once() {
    let long = "A".repeat(13_000);
    let scenario = inside().say("AUTH PLAIN", "334").say(&long, "500 5.5.6").say("NOOP", "250");
    assert_eq!(scenario.asked("AuthenticateAbort"), 1);
    let longest = format!("AUTH PLAIN {}", "A".repeat(12_288 - 13));
    inside().say(&longest, "501 5.5.2");
    inside().say(&format!("{longest}A"), "500 5.5.2");
}

#[test]
fn after_three_failed_attempts_the_next_auth_ends_the_session() {
    let wrong = format!("AUTH PLAIN {WRONG}");
    inside()
        .say(&wrong, "535 5.7.8")
        .say(&wrong, "535 5.7.8")
        .say(&wrong, "535 5.7.8")
        .say("NOOP", "250")
        .say(&format!("AUTH PLAIN {PLAIN}"), "421 4.7.0")
        .closed_by(CloseReason::TooManyErrors);
}

#[test]
fn auth_has_its_place() {
    let plain = format!("AUTH PLAIN {PLAIN}");
    Scenario::open().greeted().say(&plain, "502 5.5.1");
    Scenario::on(submission()).greeted().say(&plain, "530 5.7.0");
    Scenario::inside_tls(submission()).say(&plain, "503 5.5.1").say("HELO c", "250").say(&plain, "503 5.5.1");
    inside().say(&plain, "235").say(&plain, "503 5.5.1");
    inside().say("AUTH CRAM-MD5", "504 5.5.4").say("AUTH", "501 5.5.4");
    let mut optional = submission();
    optional.rights = ClassRights::default();
    Scenario::inside_tls(optional).greeted().say("MAIL FROM:<a@b>", "250").say(&plain, "503 5.5.1");
}

#[test]
fn outside_of_tls_only_what_is_offered_there_is_taken() {
    let mut config = submission();
    config.tls = TlsMode::None;
    config.auth.outside_tls = vec![Mechanism::ScramSha256];
    Scenario::on(config.clone()).greeted().say(&format!("AUTH PLAIN {PLAIN}"), "538 5.7.11");
    Scenario::on(config.clone()).greeted().say("AUTH SCRAM-SHA-256-PLUS", "538 5.7.11");
    Scenario::on(config).greeted().say("AUTH SCRAM-SHA-256", "334");
}

#[test]
fn mail_without_authentication_is_refused_whatever_its_argument() {
    for line in ["MAIL FROM:<a@b>", "MAIL nonsense", "RCPT TO:<a@b>", "DATA"] {
        Scenario::on(submission()).greeted().say(line, "530 5.7.0 Must issue a STARTTLS command first");
        inside().say(line, "530 5.7.0 Authentication required");
    }
    Scenario::on(config()).greeted().say("MAIL FROM:<a@b>", "250");
}

#[test]
fn secrets_are_not_shown_by_debug() {
    let scenario = inside().say(&format!("AUTH PLAIN {PLAIN}"), "235");
    let text = format!("{:?}", scenario.events);
    assert!(!text.contains("secret") && !text.contains(PLAIN) && !text.contains("115, 101"), "{text}");
    let mut scenario = inside().say("AUTH PLAIN", "334").send(PLAIN.as_bytes());
    assert!(!format!("{:?}", scenario.session()).contains(PLAIN));
}
