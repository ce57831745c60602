use gatepost_smtp::client::{Content, Mail};
use gatepost_smtp::wire::params::BodyKind;

use crate::dialog::{Dialog, mail};

fn one(body: &[u8]) -> Mail {
    mail(&["b@mx.example"], body)
}

fn accepted(offered: &[&str], body: &[u8], part: usize) -> Dialog {
    let dialog = Dialog::offered(offered).in_parts_of(part).sends(one(body), body);
    let mut dialog = dialog.hears("250 ok").hears("250 ok");
    dialog.said();
    dialog
}

#[test]
fn dots_are_doubled_however_the_body_is_cut() {
    let body = b"..\r\n.\r\n\r\n.a.\r\n";
    for part in 1..=body.len() {
        accepted(&[], body, part)
            .hears("354 go")
            .says("...\n..\n\n..a.\n.")
            .hears("250 ok")
            .comes_to(&["accepted 250 ok"]);
    }
}

#[test]
fn an_empty_body_is_ended_at_once() {
    accepted(&[], b"", 1).hears("354 go").says(".").hears("250 ok").comes_to(&["accepted 250 ok"]);
    let dialog = Dialog::offered(&["CHUNKING"]).sends(one(b""), b"").hears("250 ok").hears("250 ok");
    let mut dialog = dialog.hears("250 taken").comes_to(&["accepted 250 taken"]);
    assert!(dialog.said().ends_with("BDAT 0 LAST\r\n"));
}

#[test]
fn a_body_goes_in_a_chunk_where_chunking_is_offered() {
    let body = b".a\r\n";
    for part in 1..=4 {
        let dialog = Dialog::offered(&["CHUNKING"]).in_parts_of(part).sends(one(body), body);
        let mut dialog = dialog.hears("250 ok").hears("250 ok");
        assert!(dialog.said().ends_with("BDAT 4 LAST\r\n.a\r\n"));
        dialog.hears("250 taken").comes_to(&["accepted 250 taken"]).gets_ready();
    }
}

#[test]
fn a_chunk_waits_for_the_recipients() {
    let dialog = Dialog::offered(&["CHUNKING", "PIPELINING"]).sends(one(b"x\r\n"), b"x\r\n");
    let dialog = dialog.says("MAIL FROM:<a@us.example>\nRCPT TO:<b@mx.example>").hears("250 ok\n550 no");
    dialog.says_nothing().comes_to(&["permanent 550 no"]).gets_ready();
}

#[test]
fn a_large_body_goes_in_chunks_one_by_one_or_not() {
    let body = b"0123456789abcd\r\n".repeat(150_000);
    let chunks = |dialog: &mut Dialog| -> Vec<String> {
        dialog.said().lines().filter(|line| line.starts_with("BDAT")).map(str::to_owned).collect()
    };
    let begun = |offered: &[&str]| Dialog::offered(offered).in_parts_of(65_536).sends(one(&body), &body);
    let mut dialog = begun(&["CHUNKING"]).hears("250 ok").hears("250 ok");
    assert_eq!(chunks(&mut dialog), ["BDAT 1048576"]);
    dialog = dialog.hears("250 taken");
    assert_eq!(chunks(&mut dialog), ["BDAT 1048576"]);
    dialog = dialog.hears("250 taken");
    assert_eq!(chunks(&mut dialog), ["BDAT 302848 LAST"]);
    dialog.hears("250 queued").comes_to(&["accepted 250 queued"]).gets_ready();
    let mut dialog = begun(&["CHUNKING", "PIPELINING"]).hears("250 ok\n250 ok");
    assert_eq!(chunks(&mut dialog), ["BDAT 1048576", "BDAT 1048576", "BDAT 302848 LAST"]);
    dialog.hears("250 taken\n250 taken").hears("250 queued").comes_to(&["accepted 250 queued"]).gets_ready();
}

#[test]
fn a_refused_chunk_is_the_bodys_refusal() {
    let body = b"0123456789abcd\r\n".repeat(150_000);
    for offered in [["CHUNKING", "X"], ["CHUNKING", "PIPELINING"]] {
        let dialog = Dialog::offered(&offered).sends(one(&body), &body).hears("250 ok").hears("250 ok");
        let dialog = dialog.hears("552 5.3.4 too large").comes_to(&["permanent 552 5.3.4 too large"]);
        dialog.ends("the body refused: 552 5.3.4 too large");
    }
}

#[test]
fn binary_content_goes_in_chunks_as_it_is() {
    let body = b"a\nb\0\r";
    let content = Content { octets: 5, kind: BodyKind::BinaryMime, has_utf8_header: false };
    let dialog = Dialog::offered(&["8BITMIME", "BINARYMIME", "CHUNKING"]);
    let dialog =
        dialog.sends(Mail { content, ..one(body) }, body).says("MAIL FROM:<a@us.example> BODY=BINARYMIME");
    let mut dialog = dialog.hears("250 ok").hears("250 ok");
    assert!(dialog.said().ends_with("BDAT 5 LAST\r\na\nb\0\r"));
}

#[test]
fn content_that_could_be_taken_for_an_end_of_data_is_broken_off() {
    for body in [b"a\n.\nb\r\n".as_slice(), b"a\r.\r\n", b"a\0\r\n", b"a\r\n.\r", b"a\r"] {
        for part in 1..=body.len() {
            let data = accepted(&[], body, part).hears("354 go");
            let mut data = data.comes_to(&["lost the message is not what was announced"]);
            assert!(!data.said().ends_with("\r\n.\r\n"));
            let chunked = Dialog::offered(&["CHUNKING"]).in_parts_of(part).sends(one(body), body);
            let mut chunked = chunked.hears("250 ok").hears("250 ok");
            assert!(chunked.said().len() < 90 + body.len(), "the chunk is not whole");
            chunked.ends("the message is not what was announced");
        }
    }
}

#[test]
fn a_body_that_is_shorter_than_announced_is_broken_off() {
    for (offered, octets) in [(["X"], 9), (["CHUNKING"], 9)] {
        let mut mail = one(b"short\r\n");
        mail.content.octets = octets;
        let dialog = Dialog::offered(&offered).sends(mail, b"short\r\n").hears("250 ok").hears("250 ok");
        let mut dialog = if offered == ["X"] { dialog.hears("354 go") } else { dialog };
        assert!(!dialog.said().ends_with("\r\n.\r\n"));
        dialog
            .comes_to(&["lost the message is not what was announced"])
            .ends("the message is not what was announced");
    }
}

#[test]
fn a_body_that_cannot_be_read_is_broken_off() {
    let mut dialog = Dialog::offered(&[]).sends(one(b"x\r\n"), b"x\r\n").hears("250 ok").hears("250 ok");
    dialog.said();
    let now = std::time::Instant::now();
    dialog.session().abort(now);
    dialog.receives(b"").says_nothing().comes_to(&["lost broken off at DATA"]).ends("broken off at DATA");
}

#[test]
fn a_mail_whose_last_chunk_was_sent_may_be_there_although_no_chunk_was_answered() {
    let body = b"0123456789abcd\r\n".repeat(100_000);
    for (offered, stage) in [(["CHUNKING", "X"], "the body"), (["CHUNKING", "PIPELINING"], "the end of data")]
    {
        let dialog = Dialog::offered(&offered).in_parts_of(65_536).sends(one(&body), &body);
        let dialog = dialog.hears("250 ok").hears("250 ok").cut();
        dialog.comes_to(&[&format!("lost connection lost at {stage}")]);
    }
}
