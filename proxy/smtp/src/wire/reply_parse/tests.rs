use proptest::prelude::*;

use super::*;

fn read_all(parts: &[&[u8]]) -> Result<Vec<ServerReply>, ReplyFault> {
    let mut reader = ReplyReader::default();
    let mut replies = Vec::new();
    for part in parts {
        let mut rest = *part;
        while !rest.is_empty() {
            let (taken, reply) = reader.read(rest)?;
            rest = &rest[taken..];
            replies.extend(reply);
        }
    }
    Ok(replies)
}

fn read(octets: &[u8]) -> Result<ServerReply, ReplyFault> {
    let mut replies = read_all(&[octets])?;
    assert_eq!(replies.len(), 1);
    Ok(replies.remove(0))
}

fn written(replies: &[(u16, Vec<String>)]) -> Vec<u8> {
    let mut octets = Vec::new();
    for (code, lines) in replies {
        let (last, others) = lines.split_last().unwrap();
        for line in others {
            octets.extend_from_slice(format!("{code}-{line}\r\n").as_bytes());
        }
        octets.extend_from_slice(format!("{code} {last}\r\n").as_bytes());
    }
    octets
}

proptest! {
    #[test]
    fn replies_are_read_as_they_were_written_however_they_are_split(
        replies in prop::collection::vec((200_u16..600, prop::collection::vec("[ -~]{0,20}", 1..4)), 1..5),
        cuts in prop::collection::vec(1_usize..9, 1..40),
    ) {
        let octets = written(&replies);
        let (mut parts, mut rest) = (Vec::new(), octets.as_slice());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (part, tail) = rest.split_at((*cut).min(rest.len()));
            parts.push(part);
            rest = tail;
        }
        let read = read_all(&parts).unwrap();
        let read: Vec<_> = read.iter().map(|reply| (reply.code(), reply.lines().to_vec())).collect();
        prop_assert_eq!(read, replies);
    }

    #[test]
    fn whatever_a_server_sends_is_harmless_and_bounded(
        octets in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b'-'), b'2'..=b'5'], 0..200),
        cut in 1_usize..50,
    ) {
        let parts: Vec<_> = octets.chunks(cut).collect();
        prop_assert_eq!(read_all(&parts), read_all(&[&octets]), "any split gives the same");
        for reply in read_all(&parts).unwrap_or_default() {
            prop_assert!((200..600).contains(&reply.code()) && !reply.lines().is_empty());
            prop_assert!(reply.to_string().bytes().all(|octet| matches!(octet, b' '..=b'~')));
            prop_assert!(reply.to_string().len() <= SHOWN_OCTETS);
        }
    }
}

#[test]
fn replies_of_every_form_are_read() {
    let table: [(&[u8], u16, &[&str]); 6] = [
        (b"220 mx.example ESMTP\r\n", 220, &["mx.example ESMTP"]),
        (b"250\r\n", 250, &[""]),
        (b"250 \r\n", 250, &[""]),
        (b"250-one\r\n250-\r\n250 three\r\n", 250, &["one", "", "three"]),
        (b"250-one\r\n250\r\n", 250, &["one", ""]),
        (b"599 a\tb\x1b[31m\xc3\xa4\r\n", 599, &["a b?[31m??"]),
    ];
    for (octets, code, lines) in table {
        let reply = read(octets).unwrap();
        assert_eq!(
            (reply.code(), reply.lines()),
            (code, lines.iter().map(|&l| l.to_owned()).collect::<Vec<_>>().as_slice())
        );
    }
}

#[test]
fn what_two_readers_could_take_for_different_replies_is_refused() {
    use line::Fault;
    let table: [(&[u8], ReplyFault); 14] = [
        (b"250 ok\n", ReplyFault::Framing(Fault::BareLf)),
        (b"250 ok\r250 ok\r\n", ReplyFault::Framing(Fault::BareCr)),
        (b"250 o\0k\r\n", ReplyFault::Framing(Fault::Nul)),
        (b"250-ok\r\n550 no\r\n", ReplyFault::MixedCodes),
        (b"250-ok\r\n\r\n", ReplyFault::NoReply),
        (b"\r\n", ReplyFault::NoReply),
        (b"25 ok\r\n", ReplyFault::NoReply),
        (b"2500 ok\r\n", ReplyFault::NoReply),
        (b"150 ok\r\n", ReplyFault::NoReply),
        (b"650 ok\r\n", ReplyFault::NoReply),
        (b" 250 ok\r\n", ReplyFault::NoReply),
        (b"250_ok\r\n", ReplyFault::NoReply),
        (b"+250 ok\r\n", ReplyFault::NoReply),
        (b"HTTP/1.1 400 Bad Request\r\n", ReplyFault::NoReply),
    ];
    for (octets, fault) in table {
        assert_eq!(read_all(&[octets]), Err(fault), "{}", octets.escape_ascii());
    }
}

#[test]
fn a_line_that_never_ends_is_an_error_before_it_is_memory() {
    let mut reader = ReplyReader::default();
    let mut fed = 0;
    let fault = loop {
        match reader.read(&[b'2'; 100]) {
            Ok(_) => fed += 100,
            Err(fault) => break fault,
        }
    };
    assert_eq!(fault, ReplyFault::LineTooLong);
    assert!(fed <= REPLY_LINE_OCTETS);
    let long = [b"250 ".as_slice(), &[b'x'; REPLY_LINE_OCTETS], b"\r\n"].concat();
    assert_eq!(read_all(&[&long]), Err(ReplyFault::LineTooLong));
    let longest = [b"250 ".as_slice(), &[b'x'; REPLY_LINE_OCTETS - 6], b"\r\n"].concat();
    assert_eq!(read(&longest).unwrap().lines()[0].len(), REPLY_LINE_OCTETS - 6);
}

#[test]
fn a_reply_that_never_ends_is_an_error_before_it_is_memory() {
    let lines = b"250-x\r\n".repeat(REPLY_LINES + 1);
    assert_eq!(read_all(&[&lines]), Err(ReplyFault::TooManyLines));
    let long = [b"250-".as_slice(), &[b'x'; 1_000], b"\r\n"].concat().repeat(REPLY_OCTETS / 1_000 + 1);
    assert_eq!(read_all(&[&long]), Err(ReplyFault::TooLong));
    let many = [b"250-x\r\n".repeat(REPLY_LINES - 1), b"250 y\r\n".to_vec()].concat();
    assert_eq!(read(&many).unwrap().lines().len(), REPLY_LINES);
    assert_eq!(read_all(&[&many, &many]).unwrap().len(), 2, "each reply has its own measure");
}

#[test]
fn an_enhanced_code_is_one_of_the_replys_class() {
    let enhanced = |text: &str| read(format!("{text}\r\n").as_bytes()).unwrap().enhanced().map(str::to_owned);
    assert_eq!(enhanced("550 5.1.1 no").as_deref(), Some("5.1.1"));
    assert_eq!(enhanced("550 5.7.123").as_deref(), Some("5.7.123"));
    for text in
        ["550 4.1.1 no", "550 5.1 no", "550 5.1.1.1 no", "550 5.x.1", "550 5.1234.1", "550", "550 5..1"]
    {
        assert_eq!(enhanced(text), None, "{text}");
    }
}

#[test]
fn a_reply_is_shown_on_one_bounded_line() {
    let reply = read(b"550-5.1.1 no such\r\n550-\r\n550  user \r\n").unwrap();
    assert_eq!(reply.to_string(), "550 5.1.1 no such user");
    assert_eq!(reply.to_line(9), "550 5.1.1");
}
