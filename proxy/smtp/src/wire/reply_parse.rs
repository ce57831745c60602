//! Replies as a client reads them (RFC 5321 section 4.2).
//!
//! Strict where two readers could disagree on where a reply ends or what it says: lines end with CRLF alone, every line
//! of a reply has the same code, the code has three digits of which the first is 2 to 5. Lenient in what is only shown:
//! text may hold any octet, and all but printable ASCII is replaced. UTF-8, which RFC 6531 section 3.7.4.1 allows behind
//! SMTPUTF8, is replaced too, since notifications and logs carry ASCII.

use std::fmt;

use nom::branch::alt;
use nom::character::complete::{char, satisfy};
use nom::combinator::{all_consuming, map, opt, recognize, rest};
use nom::sequence::preceded;
use nom::{IResult, Parser};

use super::limits::AUTH_LINE_OCTETS;
use super::line::{self, LineReader, LineStep};

/// A whole reply, made harmless: printable ASCII, at most `REPLY_LINES` lines and `REPLY_OCTETS` octets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerReply {
    code: u16,
    lines: Vec<String>,
}

/// Why what a server sends is no reply. After any of them the stream cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ReplyFault {
    /// Not made of lines.
    #[error("{0} in a reply")]
    Framing(line::Fault),
    /// A line over `REPLY_LINE_OCTETS`, whether it ever ends or not.
    #[error("a reply line over {REPLY_LINE_OCTETS} octets")]
    LineTooLong,
    /// More lines than `REPLY_LINES`.
    #[error("a reply over {REPLY_LINES} lines")]
    TooManyLines,
    /// More text than `REPLY_OCTETS`.
    #[error("a reply over {REPLY_OCTETS} octets")]
    TooLong,
    /// Not three digits, 2 to 5 first, and a space, a hyphen or nothing behind them.
    #[error("a line that is no reply")]
    NoReply,
    /// The lines of one reply have different codes.
    #[error("a reply of two codes")]
    MixedCodes,
}

/// Cuts replies out of a stream. Holds at most `REPLY_OCTETS` and one line.
#[derive(Debug, Default)]
pub struct ReplyReader {
    lines: LineReader,
    expects_challenge: bool,
    begun: Option<ServerReply>,
    octets: usize,
    is_within: bool,
}

// === impl ReplyReader ===

impl ReplyReader {
    /// Reads to the end of a reply at most. Answers how many octets were taken, and the reply once it is whole.
    ///
    /// # Errors
    /// Where the stream is not made of replies. It must not be read on.
    pub fn read(&mut self, octets: &[u8]) -> Result<(usize, Option<ServerReply>), ReplyFault> {
        let mut rest = octets;
        self.is_within |= !octets.is_empty();
        while !rest.is_empty() {
            let octets_max = if self.expects_challenge { AUTH_LINE_OCTETS } else { REPLY_LINE_OCTETS };
            let (taken, step) = self.lines.read(rest, |_| octets_max);
            rest = rest.get(taken..).unwrap_or_default();
            match step {
                // A line that never ends must not be waited for.
                LineStep::Partial | LineStep::Fault(_) if self.lines.refused_octets() > 0 => {
                    return Err(ReplyFault::LineTooLong);
                }
                LineStep::Overlong { .. } => return Err(ReplyFault::LineTooLong),
                LineStep::Partial => {}
                LineStep::Fault(fault) => return Err(ReplyFault::Framing(fault)),
                LineStep::Line(line) => {
                    if let Some(reply) = self.line(&line)? {
                        self.is_within = false;
                        return Ok((octets.len().saturating_sub(rest.len()), Some(reply)));
                    }
                }
            }
        }
        Ok((octets.len(), None))
    }

    /// Whether a reply has begun and is not whole.
    #[must_use]
    pub const fn is_within_reply(&self) -> bool {
        self.is_within
    }

    /// What comes may be as long as a challenge may be (RFC 4954 section 4).
    pub const fn expect_challenge(&mut self) {
        self.expects_challenge = true;
    }

    /// What comes is no challenge any more.
    pub const fn expect_replies(&mut self) {
        self.expects_challenge = false;
    }

    fn line(&mut self, line: &[u8]) -> Result<Option<ServerReply>, ReplyFault> {
        let (_, (code, is_last, text)) = reply_line(line).map_err(|_| ReplyFault::NoReply)?;
        let mut reply = self.begun.take().unwrap_or(ServerReply { code, lines: Vec::new() });
        if reply.code != code {
            return Err(ReplyFault::MixedCodes);
        }
        self.octets = self.octets.saturating_add(text.len());
        if reply.lines.len() >= REPLY_LINES {
            return Err(ReplyFault::TooManyLines);
        }
        if self.octets > REPLY_OCTETS {
            return Err(ReplyFault::TooLong);
        }
        reply.lines.push(shown(text));
        if is_last {
            self.octets = 0;
            return Ok(Some(reply));
        }
        self.begun = Some(reply);
        Ok(None)
    }
}

// === impl ServerReply ===

impl ServerReply {
    /// The three digits, 200 to 599.
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// What its first digit says.
    #[must_use]
    pub const fn class(&self) -> ReplyClass {
        match self.code {
            200..=299 => ReplyClass::Positive,
            300..=399 => ReplyClass::Intermediate,
            400..=499 => ReplyClass::Temporary,
            _ => ReplyClass::Permanent,
        }
    }

    /// The text of each line behind the code, printable ASCII; at least one, which may be empty.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The enhanced status code of its first line, `5.1.1`, where it has one of the class of its code (RFC 2034).
    #[must_use]
    pub fn enhanced(&self) -> Option<&str> {
        let line = self.lines.first()?;
        let word = line.get(..line.bytes().position(|octet| octet == b' ').unwrap_or(line.len()))?;
        let mut numbers = word.as_bytes().split(|octet| *octet == b'.');
        let class = Some(u32::from(self.code / 100));
        let is_class = matches!(numbers.next()?, [digit] if char::from(*digit).to_digit(10) == class);
        let mut is_number = |_: ()| {
            numbers.next().is_some_and(|n| matches!(n.len(), 1..=3) && n.iter().all(u8::is_ascii_digit))
        };
        (is_class && is_number(()) && is_number(()) && numbers.next().is_none()).then_some(word)
    }

    /// Code and text as one line of at most so many octets.
    #[must_use]
    pub fn to_line(&self, octets_max: usize) -> String {
        let mut line = self.code.to_string();
        for text in self.lines.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
            line.push(' ');
            line.push_str(text);
            if line.len() > octets_max {
                break;
            }
        }
        // All of it is ASCII: a character is an octet.
        line.truncate(octets_max);
        line
    }
}

/// The whole reply on one line of at most `SHOWN_OCTETS`.
impl fmt::Display for ServerReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_line(SHOWN_OCTETS))
    }
}

/// The first digit of a reply's code (RFC 5321 section 4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReplyClass {
    /// 2yz.
    Positive,
    /// 3yz: go on.
    Intermediate,
    /// 4yz.
    Temporary,
    /// 5yz.
    Permanent,
}

// === The grammar ===

/// Code, whether it is the last line, text.
type Line<'a> = (u16, bool, &'a [u8]);

/// `Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP [ textstring ] ] CRLF` (RFC 5321 section 4.2), one
/// of its lines without CRLF.
fn reply_line(input: &[u8]) -> IResult<&[u8], Line<'_>, ()> {
    let goes_on = map(preceded(char('-'), rest), |text| (false, text));
    let ends = map(opt(preceded(char(' '), rest)), |text: Option<&[u8]>| (true, text.unwrap_or_default()));
    map(all_consuming((reply_code, alt((goes_on, ends)))), |(code, (is_last, text))| (code, is_last, text))
        .parse(input)
}

/// `Reply-code = %x32-35 %x30-35 %x30-39`; some servers count beyond 5 in the middle, and only the first digit decides.
fn reply_code(input: &[u8]) -> IResult<&[u8], u16, ()> {
    let digits = recognize((
        satisfy(|c| matches!(c, '2'..='5')),
        satisfy(|c| c.is_ascii_digit()),
        satisfy(|c| c.is_ascii_digit()),
    ));
    digits
        .map(|digits: &[u8]| {
            digits.iter().fold(0_u16, |code, digit| {
                code.saturating_mul(10).saturating_add(u16::from(digit.saturating_sub(b'0')))
            })
        })
        .parse(input)
}

/// Nearly all replies can be shown as they came.
fn shown(text: &[u8]) -> String {
    let is_printable = text.iter().all(|octet| matches!(octet, b' '..=b'~'));
    match std::str::from_utf8(text) {
        Ok(text) if is_printable => text.to_owned(),
        Ok(_) | Err(_) => text.iter().map(|&octet| printable(octet)).collect(),
    }
}

/// What is not printable ASCII could write into a log or a terminal what the server did not mean to show.
fn printable(octet: u8) -> char {
    match octet {
        b' '..=b'~' => char::from(octet),
        b'\t' => ' ',
        _ => '?',
    }
}

/// Of a line with its CRLF: RFC 5321 section 4.5.3.1.5 has 512, and some servers put whole paragraphs there.
pub const REPLY_LINE_OCTETS: usize = 2_000;

/// Of a reply. No EHLO lists that many extensions.
pub const REPLY_LINES: usize = 100;

/// Of a reply's text, all lines together.
pub const REPLY_OCTETS: usize = 16 * 1024;

/// Of what `Display` shows: what a notification carries in one `Diagnostic-Code`.
pub const SHOWN_OCTETS: usize = 512;

#[cfg(test)]
mod tests {
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
        let enhanced =
            |text: &str| read(format!("{text}\r\n").as_bytes()).unwrap().enhanced().map(str::to_owned);
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
}
