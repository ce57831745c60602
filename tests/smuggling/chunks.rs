//! BDAT knows no end but its count, whatever stands in a chunk.

use gatepost_tests::setup::Setup;

use super::model::{SMUGGLED, has_fault};
use super::play::{assert_delivered, server, two_chunks};
use super::variants::VARIANTS;

#[test]
fn no_variant_ends_a_chunk_wherever_chunks_are_cut() {
    let server = server("");
    let mut mails = Vec::new();
    for variant in VARIANTS {
        let content = [b"Subject: outer\r\n\r\nouter", *variant, SMUGGLED].concat();
        for at in [22, 23, 24].into_iter().chain(23 + variant.len()..25 + variant.len()) {
            let mut smtp = server.smtp_open();
            smtp.begin("a@b.example", &["you@localhost"]);
            smtp.send(&two_chunks(&content, at));
            let said: Vec<String> = smtp.rest().lines().map(|line| line[..9].to_owned()).collect();
            let what = || format!("{} cut at {at}", variant.escape_ascii());
            if has_fault(&content) {
                assert!(said == ["554 5.6.0"] || said == ["250 2.0.0", "554 5.6.0"], "{}: {said:?}", what());
            } else {
                assert_eq!(said, ["250 2.0.0", "250 2.0.0", "221 2.0.0"], "{}", what());
                mails.push(content.clone());
            }
        }
    }
    assert_delivered(&server, mails.into_iter());
}

#[test]
fn data_ends_no_chunks_and_chunks_no_data() {
    let server = server("");
    let mut smtp = server.smtp_open();
    smtp.begin("a@b.example", &["you@localhost"]);
    smtp.bdat(b"Subject: x\r\n\r\n", false).must("250 2.0.0");
    smtp.say("DATA").must("503 5.5.1");
    smtp.bdat(b".\r\nMAIL FROM:<evil@b.example>\r\n", true).must("250 2.0.0");
    // Octets behind DATA ahead of its 354 are no body yet, and no commands either.
    smtp.begin("a@b.example", &["you@localhost"]);
    smtp.send(&[b"DATA\r\n", SMUGGLED, b".\r\n"].concat());
    smtp.reply().must("554 5.5.0");
    assert_eq!(smtp.rest(), "");
    let content = b"Subject: x\r\n\r\n.\r\nMAIL FROM:<evil@b.example>\r\n".to_vec();
    assert_delivered(&server, std::iter::once(content));
}

/// Binary content may hold any octets; what is stored is lines.
#[test]
fn no_variant_survives_in_binary_content() {
    let server = Setup::new().open_listener().listener_keys("binarymime = true").start();
    for variant in VARIANTS {
        let content = [
            b"Subject: binary\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n\
              Content-Transfer-Encoding: binary\r\n\r\nouter",
            *variant,
            SMUGGLED,
        ]
        .concat();
        let mut smtp = server.smtp_open();
        smtp.say("MAIL FROM:<a@b.example> BODY=BINARYMIME").must("250 2.1.0");
        smtp.say("RCPT TO:<me@localhost>").must("250 2.1.5");
        smtp.bdat(&content, true).must("250 2.0.0");
        smtp.quit();
    }
    for stored in server.inbox(VARIANTS.len()) {
        assert!(!has_fault(&stored), "{}", stored.escape_ascii());
        assert!(!stored.windows(12).any(|window| window == b"\r\nMAIL FROM:"), "{}", stored.escape_ascii());
    }
}
