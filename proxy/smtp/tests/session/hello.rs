use gatepost_smtp::server::TlsMode;

use crate::scenario::{Scenario, submission};

#[test]
fn ehlo_lists_what_the_listener_has() {
    Scenario::open().send(b"EHLO client.example\r\n").hears(
        "250-mx.example|250-PIPELINING|250-SIZE 52428800|250-ENHANCEDSTATUSCODES|250-8BITMIME|250-SMTPUTF8|250-CHUNKING|250 DSN|",
    );
}

#[test]
fn auth_is_offered_inside_tls_and_starttls_outside_only() {
    let (_, outside) = Scenario::on(submission()).send(b"EHLO c\r\n").heard();
    assert!(outside.contains("250-STARTTLS\r\n") && !outside.contains("AUTH"), "{outside}");
    let (_, inside) = Scenario::inside_tls(submission()).send(b"EHLO c\r\n").heard();
    assert!(inside.contains("250-AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN\r\n"), "{inside}");
    assert!(!inside.contains("STARTTLS"), "{inside}");
}

#[test]
fn verified_tls_on_the_whole_way_can_be_asked_for_inside_tls_only() {
    let (_, outside) = Scenario::on(submission()).send(b"EHLO c\r\n").heard();
    assert!(!outside.contains("REQUIRETLS"), "{outside}");
    let (_, inside) = Scenario::inside_tls(submission()).send(b"EHLO c\r\n").heard();
    assert!(inside.contains("250 REQUIRETLS\r\n"), "{inside}");
}

#[test]
fn a_mechanism_that_binds_to_tls_is_never_offered_outside_of_it() {
    let mut config = submission();
    config.tls = TlsMode::None;
    config.auth.outside_tls = config.auth.inside_tls[..3].to_vec();
    let (_, offer) = Scenario::on(config).send(b"EHLO c\r\n").heard();
    assert!(offer.contains("250-AUTH SCRAM-SHA-256\r\n"), "{offer}");
}

#[test]
fn channel_binding_is_offered_in_tls_1_3_only() {
    let scenario = Scenario::inside_tls_1_2(submission());
    let (scenario, offer) = scenario.send(b"EHLO c\r\n").heard();
    assert!(offer.contains("250-AUTH SCRAM-SHA-256 PLAIN LOGIN\r\n"), "{offer}");
    scenario.say("AUTH SCRAM-SHA-256-PLUS", "504 5.5.4");
}

#[test]
fn binarymime_is_listed_where_it_is_on() {
    let (_, offer) = Scenario::with(|config| config.binarymime = true).send(b"EHLO c\r\n").heard();
    assert!(offer.ends_with("250 BINARYMIME\r\n"), "{offer}");
}

#[test]
fn helo_has_one_line_and_no_enhanced_code() {
    Scenario::open().send(b"HELO client.example\r\n").hears("250 mx.example|");
}

#[test]
fn the_name_is_kept_only_if_it_is_one() {
    let mut scenario = Scenario::open().say("EHLO bad(name)", "501 5.5.4");
    assert_eq!(scenario.session().helo(), None);
    let mut scenario = scenario.say("HELO [127.0.0.1]", "250 mx.example");
    assert_eq!(scenario.session().helo(), Some("[127.0.0.1]"));
    assert!(!scenario.session().is_esmtp());
    assert!(scenario.greeted().session().is_esmtp());
}

#[test]
fn ehlo_and_rset_end_a_transaction() {
    for command in ["EHLO again.example", "RSET"] {
        let scenario = Scenario::open().ready_for_body().say(command, "250").say("DATA", "503 5.5.1");
        assert_eq!(scenario.asked("Abort"), 1);
    }
}

#[test]
fn commands_without_effect_are_answered_at_any_time() {
    Scenario::open()
        .say("NOOP", "250 2.0.0")
        .say("NOOP with words", "250 2.0.0")
        .say("HELP", "214 2.0.0")
        .say("VRFY joe", "252 2.0.0")
        .say("VRFY", "501 5.5.4")
        .say("RSET", "250 2.0.0")
        .say("EXPN list", "500 5.5.1")
        .say("", "500 5.5.1");
}
