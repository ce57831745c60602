//! The two machines as a pair, as a session is passed through: a client before one, a server behind the other. Whatever the
//! client sends, however it is cut and however the replies come in, it hears what that server would have said to it, the server
//! has the same mails, and heard nothing but what it was asked.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

mod model;

use model::{Pair, Setup, codes};
use proptest::prelude::*;
use proptest::sample::select;

/// What clients say, and what they should not: each in one write of its own, or in one with those behind it.
fn dialogs() -> impl Strategy<Value = Vec<String>> {
    let line = select(vec![
        "EHLO client.example\r\n",
        "HELO client.example\r\n",
        "MAIL FROM:<a@b.example>\r\n",
        "MAIL FROM:<nobody@b.example>\r\n",
        "MAIL FROM:<> BODY=8BITMIME SIZE=100\r\n",
        "MAIL FROM:<a@b.example> BODY=BINARYMIME\r\n",
        "MAIL FROM:<a@b.example> RET=HDRS ENVID=x AUTH=<>\r\n",
        "MAIL FROM:<a@b.example> SIZE=999999\r\n",
        "MAIL FROM: <a@b.example>\r\n",
        "RCPT TO:<c@d.example>\r\n",
        "RCPT TO:<nobody@d.example>\r\n",
        "RCPT TO:<c@d.example> NOTIFY=NEVER\r\n",
        "RCPT TO:<e@f.example>\r\nRCPT TO:<g@h.example>\r\n",
        "RCPT TO:c@d.example\r\n",
        "DATA\r\n",
        "BDAT 3\r\na\r\n",
        "BDAT 5 LAST\r\n.\r\nb\n",
        "BDAT 7 LAST\r\n\r\n.\r\n\r\n",
        "BDAT 0 LAST\r\n",
        "RSET\r\n",
        "NOOP\r\n",
        "VRFY x\r\n",
        "XEXCH50 2 2\r\n",
        ".\r",
        "XOORG example\r\n",
        "X-LINK2STATE FIRST CHUNK=a\r\n",
        "X-LINK2STATE NEXT CHUNK=b\r\n",
        "X-LINK2STATE LAST CHUNK=c\r\n",
        "AUTH LOGIN\r\n",
        "X-EXPS PLAIN eA==\r\n",
        "bm8=\r\n",
        "eA==\r\n",
        "aXQ=\r\n",
        "*\r\n",
        "text\r\n..dots\r\n.\r\n",
        "bare\nline feed\r\n.\r\n",
        ".\r\n",
        "\r\n",
    ]);
    let whole = select(vec![
        "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n",
        "MAIL FROM:<nobody@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n",
        "RSET\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nRCPT TO:<bad\r\nBDAT 4 LAST\r\nab\r\n",
        "MAIL FROM:<a@b.example> BODY=BINARYMIME\r\nRCPT TO:<c@d.example>\r\nBDAT 4\r\n\0\r\n.BDAT 1 LAST\r\n\n",
        "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nXEXCH50 2 2\r\n",
    ]);
    let write = prop_oneof![4 => line.clone().prop_map(str::to_owned), 1 => whole.prop_map(str::to_owned),
        2 => prop::collection::vec(line, 1..5).prop_map(|lines| lines.concat())];
    prop::collection::vec(write, 1..20)
}

proptest! {
    #[test]
    fn whatever_a_client_sends_it_hears_what_the_server_behind_would_have_said(
        dialog in dialogs(),
        cut in prop_oneof![Just(1_usize), 2..40_usize, Just(usize::MAX)],
        choice in any::<u8>(),
        seed in any::<u64>(),
    ) {
        let mut pair = Pair::new(Setup::of(choice), seed);
        pair.says(b"EHLO client.example\r\n");
        pair.rest();
        for write in &dialog {
            write.as_bytes().chunks(cut).for_each(|piece| pair.says(piece));
            pair.rest();
        }
        pair.check();
    }
}

/// That the property above is about something: each of these mails goes through.
#[test]
fn mails_of_all_ways_go_through_one_behind_the_other() {
    for (cut, seed) in [(1, 1), (7, 2), (usize::MAX, 3)] {
        let mut pair = Pair::new(Setup::of(0b10), seed);
        let mut says = |octets: &[u8]| {
            octets.chunks(cut).for_each(|piece| pair.says(piece));
            pair.rest();
        };
        says(b"EHLO client.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n");
        says(
            b"one\r\n..two\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nBDAT 3\r\n.\r\nBDAT 1 LAST\r\nx",
        );
        says(b"MAIL FROM:<> BODY=BINARYMIME\r\nRCPT TO:<c@d.example>\r\nBDAT 2 LAST\r\n\0\rQUIT\r\n");
        let bodies: Vec<_> = pair.kept().iter().map(|kept| kept.octets()).collect();
        assert_eq!(bodies, [&b"one\r\n.two\r\n"[..], b".\r\nx\r\n", b"\0\r"]);
        let expected = [
            "220", "250", "250", "250", "354", "250", "250", "250", "250", "250", "250", "250", "250", "221",
        ];
        assert_eq!(codes(pair.front.said()), expected, "cut {cut}");
    }
}

/// What was not answered is tried again in another session behind; what was, stays answered.
#[test]
fn a_server_behind_that_goes_leaves_the_client_where_it_is() {
    let mut pair = Pair::new(Setup::of(0b10), 1);
    pair.says(b"EHLO client.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n");
    pair.rest();
    pair.says(b"half of it\r\n");
    pair.lose_behind();
    pair.says(b".\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nBDAT 1 LAST\r\nx");
    pair.rest();
    let expected = ["220", "250", "250", "250", "354", "451", "250", "250", "250"];
    assert_eq!(codes(pair.front.said()), expected);
    let bodies: Vec<_> = pair.kept().iter().map(|kept| kept.octets()).collect();
    assert_eq!(bodies, [b"x\r\n"]);
}
