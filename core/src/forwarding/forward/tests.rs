use gatepost_smtp::wire::params::MailParams;

use super::*;
use crate::delivery::testing::message;
use crate::directory::{Password, Scram};
use crate::forwarding::srs;

/// `me` lives here; `away` leads elsewhere, `team` to two servers, `both` to `me` and elsewhere.
fn directory() -> (Directory, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory::open(&folder.path().join("directory.sqlite")).unwrap();
    directory.add_domain("here.example").unwrap();
    let password = Password::prepare(b"pencil").unwrap();
    directory.add_user("me@here.example", &password, Scram::Off).unwrap();
    directory.add_alias("away@here.example", "b@other.example").unwrap();
    directory.add_aliases("team@here.example", &["a@other.example", "b@other.example"]).unwrap();
    directory.add_aliases("both@here.example", &["me@here.example", "c@other.example"]).unwrap();
    (directory, folder)
}

fn submit(recipients: &[(&str, &str)]) -> Submission {
    let (directory, _folder) = directory();
    let recipient = |(address, params): &(&str, &str)| Recipient {
        path: format!("<{address}>").parse().unwrap(),
        params: RcptParams::parse(params).unwrap(),
    };
    let envelope = Envelope {
        reverse_path: "<sender@example.org>".parse().unwrap(),
        params: MailParams::default(),
        recipients: recipients.iter().map(recipient).collect(),
    };
    forward(&directory, Submission::new(envelope, message(1, &[]).submission.origin), true, |_| false)
}

/// Each recipient, what it was asked for, and what it stands for.
fn expand(recipients: &[(&str, &str)]) -> Vec<String> {
    let Submission { envelope, forwards, .. } = submit(recipients);
    let line = |(index, recipient): (usize, &Recipient)| {
        let alias = forwards.of(index).map(|alias| format!(" for {alias}")).unwrap_or_default();
        format!("{}{}{alias}", recipient.path, recipient.params)
    };
    envelope.recipients.iter().enumerate().map(line).collect()
}

#[test]
fn mail_for_nobody_elsewhere_stays_as_it_is() {
    let submission = submit(&[("me@here.example", ""), ("x@other.example", ""), ("me@here.example", "")]);
    assert_eq!(submission.envelope.recipients.len(), 3);
    assert!(submission.forwards.is_empty());
}

#[test]
fn an_alias_is_replaced_by_its_targets_and_stays_for_mailboxes_here() {
    assert_eq!(
        expand(&[("AWAY@here.example", "")]),
        ["<b@other.example> ORCPT=rfc822;AWAY@here.example for <AWAY@here.example>"]
    );
    assert_eq!(
        expand(&[("both@here.example", ""), ("me@here.example", "")]),
        [
            "<c@other.example> ORCPT=rfc822;both@here.example for <both@here.example>",
            "<both@here.example>",
            "<me@here.example>",
        ]
    );
}

#[test]
fn nobody_gets_it_twice() {
    let expanded = expand(&[
        ("team@here.example", ""),
        ("away@here.example", ""),
        ("a@OTHER.example", ""),
        ("team@here.example", ""),
    ]);
    assert_eq!(
        expanded,
        ["<b@other.example> ORCPT=rfc822;team@here.example for <team@here.example>", "<a@OTHER.example>",]
    );
}

/// RFC 3461 section 5.2.7.
#[test]
fn what_the_sender_wants_to_hear_goes_along_as_the_alias_allows() {
    let asked = " NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x@first.example";
    assert_eq!(
        expand(&[("away@here.example", asked)]),
        ["<b@other.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x@first.example for <away@here.example>"]
    );
    assert_eq!(
        expand(&[("team@here.example", asked)]),
        [
            "<a@other.example> NOTIFY=FAILURE ORCPT=rfc822;x@first.example for <team@here.example>",
            "<b@other.example> NOTIFY=FAILURE ORCPT=rfc822;x@first.example for <team@here.example>",
            "<team@here.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x@first.example",
        ]
    );
    assert_eq!(
        expand(&[("both@here.example", " NOTIFY=SUCCESS")]),
        [
            "<c@other.example> NOTIFY=NEVER ORCPT=rfc822;both@here.example for <both@here.example>",
            "<both@here.example> NOTIFY=SUCCESS",
        ]
    );
    assert_eq!(
        expand(&[("away@here.example", " NOTIFY=NEVER")]),
        ["<b@other.example> NOTIFY=NEVER ORCPT=rfc822;away@here.example for <away@here.example>"]
    );
}

#[test]
fn senders_from_elsewhere_are_rewritten_for_whoever_gets_the_mail_by_way_of_us() {
    let (directory, _folder) = directory();
    let settings = srs::Settings {
        domain: "here.example".parse().unwrap(),
        days: 21,
        mac_characters: 6,
        bounces_only: true,
    };
    directory.rewrite_with(Some(settings));
    let forwarded = |sender: &str, to: &str| {
        let mut mail = message(1, &[to]).submission;
        mail.envelope.reverse_path = sender.parse().unwrap();
        forward(&directory, mail, true, |_| false)
    };
    let mail = forwarded("<ann@first.example>", "team@here.example");
    assert_eq!(mail.envelope.reverse_path.to_string(), "<ann@first.example>", "whom we tell of failures");
    let rewritten = mail.forwards.sender().unwrap().to_string();
    assert!(
        rewritten.starts_with("<SRS0=") && rewritten.ends_with("=first.example=ann@here.example>"),
        "{rewritten}"
    );
    for (sender, to) in [("<>", "team@here.example"), ("<me@here.example>", "team@here.example")] {
        assert_eq!(forwarded(sender, to).forwards.sender(), None, "{sender}");
    }
    let address = rewritten.trim_matches(['<', '>']);
    let bounce = forwarded("<>", address);
    let recipients: Vec<_> = bounce.envelope.recipients.iter().map(|to| to.path.to_string()).collect();
    assert_eq!(recipients, ["<ann@first.example>"]);
    assert_eq!(bounce.forwards.of(0).unwrap().to_string(), rewritten);
}

#[test]
fn the_server_behind_knows_its_own_addresses_better() {
    let (directory, _folder) = directory();
    let mail = message(1, &["away@here.example"]).submission;
    assert_eq!(forward(&directory, mail.clone(), true, |_| true), mail);
}

#[test]
fn where_no_mail_leaves_nobody_elsewhere_becomes_a_recipient() {
    let mail = message(1, &["both@here.example"]).submission;
    let (directory, _folder) = directory();
    assert_eq!(forward(&directory, mail.clone(), false, |_| false), mail);
    assert_eq!(forward(&directory, mail, true, |_| false).envelope.recipients.len(), 2);
}

#[test]
fn an_address_that_leads_elsewhere_late_is_expanded_without_those_who_have_the_mail() {
    let (directory, _folder) = directory();
    let mail = message(1, &["team@here.example", "b@other.example", "both@here.example"]).submission;
    let late = |recipients: &[usize]| {
        let late = forward_late(&directory, &mail, recipients, |_| false)?;
        Some(late.envelope.recipients.iter().map(|it| it.path.to_string()).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(late(&[0]).as_deref(), Some("<a@other.example>"));
    assert_eq!(late(&[2]).as_deref(), Some("<c@other.example> <both@here.example>"));
    assert_eq!(late(&[0, 2]).as_deref(), Some("<a@other.example> <c@other.example> <both@here.example>"));
    let mail = message(1, &["away@here.example", "b@other.example"]).submission;
    assert_eq!(forward_late(&directory, &mail, &[0], |_| false), None);
}
