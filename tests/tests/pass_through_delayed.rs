//! MAIL that waits for the first RCPT (`delay_mail`): one round trip less to the server behind, which has its say all the same.

use gatepost_tests::mail;
use gatepost_tests::next_hop::{At, NextHop, Reaction};
use gatepost_tests::pass_through::{before, wait_for_offer};
use gatepost_tests::server::Server;

fn front(behind: &NextHop) -> Server {
    before(behind.address).listener_keys("delay_mail = true").start()
}

/// What the server behind has heard of mails.
fn heard(behind: &NextHop) -> Vec<String> {
    let is_of_mail =
        |line: &String| ["MAIL", "RCPT", "DATA", "RSET"].iter().any(|verb| line.starts_with(verb));
    behind.said().into_iter().filter(is_of_mail).collect()
}

#[test]
fn a_sender_goes_to_the_server_behind_with_the_first_recipient() {
    let behind = NextHop::start();
    let server = front(&behind);
    let mut smtp = server.smtp_open();
    for _ in 0..2 {
        smtp.say("MAIL FROM:<a@b.example> BODY=8BITMIME").must("250 2.1.0");
        smtp.say("RCPT TO:<ann@to.example>").must("250 2.1.5");
        smtp.say("RCPT TO:<bob@to.example>").must("250 2.1.5");
        smtp.say("DATA").must("354");
        smtp.send(b"Subject: x\r\n\r\n.\r\n");
        smtp.reply().must("250 2.0.0");
    }
    smtp.mail("a@b.example", &["ann@to.example"], &mail::small("group")).must("250");
    smtp.quit();
    let taken = behind.taken(3);
    assert_eq!(taken[1].sender, "<a@b.example> BODY=8BITMIME");
    assert_eq!(taken[1].recipients, ["<ann@to.example>", "<bob@to.example>"]);
    let senders = heard(&behind).iter().filter(|line| line.starts_with("MAIL")).count();
    assert_eq!(senders, 3, "{:?}", heard(&behind));
}

#[test]
fn a_sender_without_recipients_is_never_told_to_the_server_behind() {
    let behind = NextHop::start();
    let server = front(&behind);
    let mut smtp = server.smtp_open();
    smtp.say("MAIL FROM:<a@b.example>").must("250 2.1.0");
    smtp.say("RCPT TO:<bob@other.example>").must("550 5.7.1");
    smtp.say("RSET").must("250");
    smtp.say("MAIL FROM:<c@b.example>").must("250 2.1.0");
    smtp.say("EHLO again.example").must("250");
    smtp.say("MAIL FROM:<d@b.example>").must("250 2.1.0");
    smtp.say("DATA").must("503");
    smtp.quit();
    assert_eq!(heard(&behind), [""; 0]);
}

#[test]
fn what_the_server_behind_has_against_a_sender_is_the_reply_to_each_recipient() {
    let behind = NextHop::start().times(1, At::Mail, Reaction::Say("550 5.7.1 not you"));
    let server = front(&behind);
    let mut smtp = server.smtp_open();
    smtp.say("MAIL FROM:<a@b.example>").must("250 2.1.0");
    smtp.say("RCPT TO:<ann@to.example>").must("550 5.7.1 not you");
    smtp.say("RCPT TO:<bob@to.example>").must("550 5.7.1 not you");
    smtp.say("DATA").must("554 5.5.1");
    smtp.say("RSET").must("250");
    smtp.mail("c@b.example", &["ann@to.example"], &mail::small("after")).must("250");
    smtp.quit();
    assert_eq!(behind.taken(1)[0].sender, "<c@b.example>");
    assert_eq!(heard(&behind).iter().filter(|line| line.contains("bob")).count(), 0, "{:?}", heard(&behind));
}

#[test]
fn a_group_of_recipients_behind_a_refused_sender_is_refused_as_one() {
    let behind = NextHop::start().times(1, At::Mail, Reaction::Say("452 4.2.2 full"));
    let server = front(&behind);
    let mut smtp = server.smtp_open();
    smtp.say("MAIL FROM:<a@b.example>").must("250 2.1.0");
    smtp.send(b"RCPT TO:<ann@to.example>\r\nRCPT TO:<bob@to.example>\r\nDATA\r\n");
    for expected in ["452 4.2.2 full", "452 4.2.2 full", "554 5.5.1"] {
        smtp.reply().must(expected);
    }
    smtp.say("RSET").must("250");
    smtp.mail("c@b.example", &["ann@to.example"], &mail::small("after")).must("250");
    smtp.quit();
    assert_eq!(behind.taken(1).len(), 1);
}

/// Nothing has to wait there: the replies are those of the server behind.
#[test]
fn a_sender_in_one_group_with_its_recipients_has_the_reply_of_the_server_behind() {
    let behind = NextHop::start().times(1, At::Mail, Reaction::Say("550 5.7.1 not you"));
    let server = front(&behind);
    let mut smtp = server.smtp_open();
    smtp.send(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<ann@to.example>\r\nDATA\r\n");
    for expected in ["550 5.7.1 not you", "503", "503"] {
        smtp.reply().must(expected);
    }
    smtp.quit();
}

#[test]
fn what_the_server_behind_lacks_or_does_not_answer_is_told_at_once() {
    let behind = NextHop::start().without("8BITMIME").always(At::Rcpt, Reaction::Drop);
    let server = front(&behind);
    wait_for_offer(&server, "PIPELINING");
    let mut smtp = server.smtp_open();
    smtp.say("MAIL FROM:<a@b.example> BODY=8BITMIME").must("5");
    smtp.say("MAIL FROM:<a@b.example>").must("250 2.1.0");
    smtp.say("RCPT TO:<ann@to.example>").must("451 4.4.2");
    smtp.say("RCPT TO:<bob@to.example>").must("451 4.4.2");
    smtp.say("MAIL FROM:<a@b.example>").must("503");
    smtp.say("RSET").must("250");
    drop(behind);
    smtp.quit();
}

#[test]
fn before_a_server_that_takes_no_groups_each_command_has_its_reply() {
    let behind =
        NextHop::start().without("PIPELINING").times(1, At::Mail, Reaction::Say("550 5.7.1 not you"));
    let server = front(&behind);
    let mut smtp = server.smtp_open();
    smtp.say("MAIL FROM:<a@b.example>").must("550 5.7.1 not you");
    smtp.mail("c@b.example", &["ann@to.example"], &mail::small("after")).must("250");
    smtp.quit();
}
