use crate::dialog::Dialog;

#[test]
fn a_recipient_is_asked_for_without_a_mail_behind() {
    for (reply, outcome) in [
        ("250 2.1.5 ok", "accepted 250 2.1.5 ok"),
        ("550 5.1.1 no such user", "permanent 550 5.1.1 no such user"),
        ("450 4.2.1 later", "temporary 450 4.2.1 later"),
    ] {
        Dialog::offered(&["SIZE 1000"])
            .verifies("b@mx.example")
            .says("MAIL FROM:<>")
            .hears("250 ok")
            .says("RCPT TO:<b@mx.example>")
            .hears(reply)
            .comes_to(&[outcome])
            .gets_ready()
            .says_nothing()
            .quits()
            .says("QUIT");
    }
}

#[test]
fn in_a_group_there_is_no_data_either() {
    Dialog::offered(&["PIPELINING", "CHUNKING", "SMTPUTF8"])
        .verifies("b\u{fc}@mx.example")
        .says("MAIL FROM:<> SMTPUTF8\nRCPT TO:<b\u{fc}@mx.example>")
        .hears("250 ok\n250 ok")
        .comes_to(&["accepted 250 ok"])
        .gets_ready();
}

#[test]
fn a_refused_sender_says_nothing_of_the_recipient() {
    for group in [&[][..], &["PIPELINING"]] {
        let dialog = Dialog::offered(group).verifies("b@mx.example").hears("550 5.7.1 no notifications");
        dialog.comes_to(&["lost MAIL refused: 550 5.7.1 no notifications"]);
    }
}

#[test]
fn a_server_that_goes_away_says_nothing_of_the_recipient() {
    let dialog = Dialog::offered(&[]).verifies("b@mx.example").hears("250 ok").hears("421 4.3.2 closing");
    dialog.comes_to(&["temporary 421 4.3.2 closing"]);
}
