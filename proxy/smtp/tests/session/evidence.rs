use gatepost_smtp::server::{Config, Notice};
use gatepost_smtp::wire::token::Tokens;

use crate::scenario::{Event, Scenario, config, submission};

/// What each refusal left for its explanation: rule, evidence, limit, token.
fn refusals(scenario: &Scenario) -> Vec<(String, String, String, String)> {
    let refusal = |event: &Event| match event {
        Event::Noticed(Notice::Refused { rule, evidence, limit, token, .. }) => Some((
            (*rule).to_owned(),
            evidence.to_string(),
            limit.map_or_else(String::new, |limit| limit.to_string()),
            token.map_or_else(String::new, |token| token.to_string()),
        )),
        _ => None,
    };
    scenario.events.iter().filter_map(refusal).collect()
}

fn with_tokens(config: Config) -> Scenario {
    Scenario::on(config).with_tokens(Tokens::seeded(7))
}

#[test]
fn a_refusal_by_policy_carries_the_token_of_its_notice() {
    let (scenario, heard) =
        with_tokens(config()).greeted().send(b"MAIL FROM:<a@b>\r\nRCPT TO:<nobody@x>\r\n").heard();
    let token = Tokens::seeded(7).draw().to_string();
    assert!(heard.ends_with(&format!(" [{token}]\r\n")), "{heard}");
    assert_eq!(refusals(&scenario).last().map(|refusal| refusal.3.clone()), Some(token));
}

#[test]
fn tokens_go_on_inside_tls() {
    let scenario = with_tokens(submission()).greeted().say("MAIL FROM:<a@b>", "530 5.7.0");
    let scenario = scenario.say("STARTTLS", "220").secured().greeted().say("MAIL FROM:<a@b>", "530 5.7.0");
    let mut tokens = Tokens::seeded(7);
    let drawn = [tokens.draw().to_string(), tokens.draw().to_string()];
    assert_eq!(refusals(&scenario).into_iter().map(|refusal| refusal.3).collect::<Vec<_>>(), drawn);
}

#[test]
fn syntax_errors_have_their_words_as_evidence_and_no_token() {
    let scenario = with_tokens(config())
        .greeted()
        .say("MAIL FROM:nobody", "501")
        .say("XYZZY and more", "500")
        .say("NOOP", "250");
    let expected = [("syntax.reverse_path", "MAIL FROM:nobody"), ("verb.unknown", "XYZZY")];
    let found: Vec<_> =
        refusals(&scenario).into_iter().map(|(rule, evidence, ..)| (rule, evidence)).collect();
    assert_eq!(found, expected.map(|(rule, evidence)| (rule.to_owned(), evidence.to_owned())));
    assert!(refusals(&scenario).iter().all(|refusal| refusal.3.is_empty()));
}

#[test]
fn a_password_behind_a_refused_auth_is_no_evidence() {
    let scenario = with_tokens(submission())
        .greeted()
        .say("AUTH PLAIN AG1lAHNlY3JldA==", "530")
        .say("AG1lAHNlY3JldA==", "500");
    let evidence: Vec<_> = refusals(&scenario).into_iter().map(|refusal| refusal.1).collect();
    assert_eq!(evidence, ["AUTH", ""]);
}

#[test]
fn a_refusal_by_a_limit_tells_the_limit() {
    let scenario = with_tokens(config()).greeted().say("MAIL FROM:<a@b> SIZE=99999999999", "552");
    assert_eq!(refusals(&scenario).last().map(|refusal| refusal.2.as_str()), Some("52428800 octets"));
}
