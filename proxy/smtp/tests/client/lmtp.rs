use gatepost_smtp::client::Protocol;

use crate::dialog::{Dialog, mail};

const BODY: &[u8] = b"x\r\n";

fn begun(offered: &[&str]) -> Dialog {
    let recipients = ["b@mx.example", "c@mx.example", "d@mx.example"];
    let dialog = Dialog::with(|config| config.protocol = Protocol::Lmtp).greeted(offered);
    dialog.sends(mail(&recipients, BODY), BODY)
}

#[test]
fn each_accepted_recipient_has_a_reply_of_its_own() {
    begun(&["PIPELINING"])
        .hears("250 ok\n250 ok\n550 5.1.1 no\n250 ok\n354 go")
        .hears("250 2.1.5 delivered")
        .hears("452 4.2.2 full")
        .comes_to(&["accepted 250 2.1.5 delivered", "permanent 550 5.1.1 no", "temporary 452 4.2.2 full"])
        .gets_ready();
}

#[test]
fn each_accepted_recipient_has_a_reply_to_the_last_chunk() {
    let mut dialog = begun(&["PIPELINING", "CHUNKING"]).hears("250 ok\n250 ok\n250 ok\n550 no");
    assert!(dialog.said().ends_with("BDAT 3 LAST\r\nx\r\n"));
    dialog
        .hears("250 one\n250 two")
        .comes_to(&["accepted 250 one", "accepted 250 two", "permanent 550 no"])
        .gets_ready();
}

#[test]
fn replies_that_do_not_come_leave_their_recipients_alone() {
    let sent = || begun(&["PIPELINING"]).hears("250 ok\n250 ok\n250 ok\n250 ok\n354 go").hears("250 one");
    let lost = "lost connection lost at the end of data";
    sent().cut().comes_to(&["accepted 250 one", lost, lost]);
    let closing = sent().hears("421 going down");
    closing.comes_to(&["accepted 250 one", "temporary 421 going down", "temporary 421 going down"]);
}
