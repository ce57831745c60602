//! Replies (RFC 5321 section 4.2) with enhanced status codes (RFC 3463, RFC 2034).
//!
//! No field takes a peer's octets: what is not fixed text is ours and typed. What a server behind us has said goes by a
//! `ServerReply`, which only `ReplyReader` makes, out of printable ASCII; here its text is bounded once more, so that a line
//! of it is a line of ours (RFC 5321 section 4.5.3.1.5).

use super::auth::encode_challenge;
use super::reply_parse::ServerReply;
use super::token::Token;

/// One reply of one or more lines; it is written whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply<'a> {
    code: u16,
    enhanced: Option<Enhanced>,
    text: Text<'a>,
    token: Option<Token>,
}

/// `class "." subject "." detail` (RFC 3463 section 2); the class is the first digit of the reply's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enhanced {
    subject: u16,
    detail: u16,
}

/// The text behind the codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text<'a> {
    Fixed(&'static str),
    Named(&'a str, &'static str),
    Queued(&'a str),
    Challenge(&'a [u8]),
    Hello(&'a str, &'a [String]),
    Said(&'a ServerReply),
}

// === impl Reply ===

impl<'a> Reply<'a> {
    /// A reply without an enhanced code: 354 alone of the fixed ones (RFC 2034 section 4).
    #[must_use]
    pub const fn plain(code: u16, text: &'static str) -> Self {
        Self { code, enhanced: None, text: Text::Fixed(text), token: None }
    }

    /// A reply with `subject.detail` of its enhanced code.
    #[must_use]
    pub const fn fixed(code: u16, subject: u16, detail: u16, text: &'static str) -> Self {
        Self { code, enhanced: Some(Enhanced { subject, detail }), text: Text::Fixed(text), token: None }
    }

    /// The greeting, the reply to HELO, or the first 421: our name, then fixed text.
    #[must_use]
    pub const fn named(code: u16, hostname: &'a str, text: &'static str) -> Self {
        Self { code, enhanced: None, text: Text::Named(hostname, text), token: None }
    }

    /// The reply to EHLO: our name, then a line a keyword.
    #[must_use]
    pub const fn hello(hostname: &'a str, keywords: &'a [String]) -> Self {
        Self { code: 250, enhanced: None, text: Text::Hello(hostname, keywords), token: None }
    }

    /// `250 2.0.0` with the queue id; an id that is not `1*32(ALPHA / DIGIT)` is left out.
    #[must_use]
    pub fn queued(queue_id: &'a str) -> Self {
        let is_id =
            matches!(queue_id.len(), 1..=32) && queue_id.bytes().all(|octet| octet.is_ascii_alphanumeric());
        let text = if is_id { Text::Queued(queue_id) } else { Text::Fixed("Queued") };
        Self { code: 250, enhanced: Some(Enhanced { subject: 0, detail: 0 }), text, token: None }
    }

    /// `334` with a challenge, never an enhanced code (RFC 4954 section 4).
    #[must_use]
    pub const fn challenge(octets: &'a [u8]) -> Self {
        Self { code: 334, enhanced: None, text: Text::Challenge(octets), token: None }
    }

    /// What a server behind us has said: its code and its enhanced code, `X.0.0` where it has none, since we promise one
    /// (RFC 2034 section 4). Its 421 is the end of its session and not of ours: 451. A positive code that our client could
    /// not place is 250.
    #[must_use]
    pub fn relayed(said: &'a ServerReply) -> Self {
        let code = match said.code() {
            code @ (250..=252 | 400..=420 | 422..) => code,
            200..=299 => 250,
            _ => 451,
        };
        let (subject, detail) = said.enhanced().and_then(subject_and_detail).unwrap_or_default();
        Self { code, enhanced: Some(Enhanced { subject, detail }), text: Text::Said(said), token: None }
    }

    /// With a token behind its fixed text: `550 5.1.1 No such mailbox here [7K3F9Q]`.
    #[must_use]
    pub const fn with_token(mut self, token: Option<Token>) -> Self {
        self.token = token;
        self
    }

    /// The same codes, with a shorter text where this one is longer than so many octets with its CRLF.
    #[must_use]
    pub fn within(self, octets_max: usize) -> Self {
        let mut written = Vec::new();
        self.write(&mut written);
        if written.len() <= octets_max { self } else { Self { text: Text::Fixed("Refused"), ..self } }
    }

    /// The three digits.
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// Appends the reply as it goes onto the wire.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self.text {
            Text::Fixed(text) => match self.token {
                Some(token) => self.line(out, b' ', &[text, " [", &token.to_string(), "]"]),
                None => self.line(out, b' ', &[text]),
            },
            Text::Named(hostname, text) => self.line(out, b' ', &[hostname, text]),
            Text::Queued(queue_id) => self.line(out, b' ', &["Queued as ", queue_id]),
            Text::Challenge(octets) => self.line(out, b' ', &[&encode_challenge(octets)]),
            Text::Hello(hostname, keywords) => {
                let Some((last, others)) = keywords.split_last() else {
                    return self.line(out, b' ', &[hostname]);
                };
                self.line(out, b'-', &[hostname]);
                for keyword in others {
                    self.line(out, b'-', &[keyword]);
                }
                self.line(out, b' ', &[last]);
            }
            Text::Said(said) => self.said(said, out),
        }
    }

    /// Its lines, without the enhanced code that each of ours has.
    fn said(&self, said: &ServerReply, out: &mut Vec<u8>) {
        let status = said.enhanced();
        let mut lines = said.lines().iter().take(SAID_LINES_MAX).peekable();
        while let Some(line) = lines.next() {
            let text = status.and_then(|status| line.strip_prefix(status)).unwrap_or(line).trim();
            // All of it is ASCII: a character is an octet.
            let text = text.get(..SAID_OCTETS_MAX).unwrap_or(text);
            self.line(out, if lines.peek().is_some() { b'-' } else { b' ' }, &[text]);
        }
    }

    fn line(&self, out: &mut Vec<u8>, separator: u8, texts: &[&str]) {
        put_decimal(out, self.code);
        out.push(separator);
        if let Some(Enhanced { subject, detail }) = self.enhanced {
            put_decimal(out, self.code / 100);
            for number in [subject, detail] {
                out.push(b'.');
                put_decimal(out, number);
            }
            out.push(b' ');
        }
        for text in texts {
            out.extend_from_slice(text.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// By hand: every command has a reply, and `write!` takes four times as long for one.
fn put_decimal(out: &mut Vec<u8>, number: u16) {
    if number >= 10 {
        put_decimal(out, number / 10);
    }
    let digit = u8::try_from(number % 10).unwrap_or_default();
    out.push(b'0'.saturating_add(digit));
}

/// Of an enhanced status code, `5.1.1`.
fn subject_and_detail(status: &str) -> Option<(u16, u16)> {
    let (_class, rest) = status.split_once('.')?;
    let (subject, detail) = rest.split_once('.')?;
    Some((subject.parse().ok()?, detail.parse().ok()?))
}

/// With code, enhanced code and CRLF a line has 512 octets at most (RFC 5321 section 4.5.3.1.5).
const SAID_OCTETS_MAX: usize = 480;
/// More is not for programs, and nobody reads it.
const SAID_LINES_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(reply: &Reply<'_>) -> String {
        let mut out = Vec::new();
        reply.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn replies_are_written_with_their_codes() {
        assert_eq!(written(&Reply::fixed(501, 5, 4, "Syntax error")), "501 5.5.4 Syntax error\r\n");
        assert_eq!(written(&Reply::plain(354, "Go on")), "354 Go on\r\n");
        let unknown = Reply::fixed(550, 1, 1, "No such mailbox here").with_token("7K3F9Q".parse().ok());
        assert_eq!(written(&unknown), "550 5.1.1 No such mailbox here [7K3F9Q]\r\n");
        assert_eq!(written(&Reply::queued("01ABC")), "250 2.0.0 Queued as 01ABC\r\n");
        assert_eq!(written(&Reply::queued("a\r\n250 b")), "250 2.0.0 Queued\r\n");
        assert_eq!(written(&Reply::challenge(b"")), "334 \r\n");
        assert_eq!(written(&Reply::challenge(b"x")), "334 eA==\r\n");
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_ever(number: u16) {
            let mut out = Vec::new();
            put_decimal(&mut out, number);
            prop_assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }

    fn said(octets: &[u8]) -> ServerReply {
        crate::wire::reply_parse::ReplyReader::default().read(octets).unwrap().1.unwrap()
    }

    #[test]
    fn a_reply_of_a_server_behind_keeps_its_codes_and_is_bounded() {
        for (theirs, ours) in [
            ("250 2.1.5 Ok\r\n", "250 2.1.5 Ok\r\n"),
            ("250 Ok\r\n", "250 2.0.0 Ok\r\n"),
            ("250\r\n", "250 2.0.0 \r\n"),
            ("550-5.7.999 a\r\n550 5.7.999 b\r\n", "550-5.7.999 a\r\n550 5.7.999 b\r\n"),
            ("421 4.3.2 closing\r\n", "451 4.3.2 closing\r\n"),
            ("221 2.0.0 what?\r\n", "250 2.0.0 what?\r\n"),
            ("354 go\r\n", "451 4.0.0 go\r\n"),
            ("550 4.1.1 odd \x1b[2J\r\n", "550 5.0.0 4.1.1 odd ?[2J\r\n"),
        ] {
            assert_eq!(written(&Reply::relayed(&said(theirs.as_bytes()))), ours, "{theirs}");
        }
        let long = "554-".to_owned() + &"x".repeat(1_900) + "\r\n";
        let long = said((long.repeat(7) + "554 end\r\n").as_bytes());
        assert!(written(&Reply::relayed(&long)).split_inclusive('\n').all(|line| line.len() <= 512));
        let many = "554-x\r\n".repeat(99) + "554 x\r\n";
        let many = said(many.as_bytes());
        assert_eq!(written(&Reply::relayed(&many)).lines().count(), SAID_LINES_MAX);
    }

    #[test]
    fn every_line_but_the_last_has_a_hyphen() {
        let keywords = ["PIPELINING".to_owned(), "DSN".to_owned()];
        let reply = Reply::hello("mx.example", &keywords);
        assert_eq!(written(&reply), "250-mx.example\r\n250-PIPELINING\r\n250 DSN\r\n");
        assert_eq!(written(&Reply::hello("mx.example", &[])), "250 mx.example\r\n");
    }
}
