//! Replies (RFC 5321 section 4.2) with enhanced status codes (RFC 3463, RFC 2034).
//!
//! No field takes a peer's octets: what is not fixed text is ours and typed.

use super::auth::encode_challenge;
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
    subject: u8,
    detail: u8,
}

/// The text behind the codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text<'a> {
    Fixed(&'static str),
    Named(&'a str, &'static str),
    Queued(&'a str),
    Challenge(&'a [u8]),
    Hello(&'a str, &'a [String]),
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
    pub const fn fixed(code: u16, subject: u8, detail: u8, text: &'static str) -> Self {
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
        }
    }

    fn line(&self, out: &mut Vec<u8>, separator: u8, texts: &[&str]) {
        put_decimal(out, self.code);
        out.push(separator);
        if let Some(Enhanced { subject, detail }) = self.enhanced {
            put_decimal(out, self.code / 100);
            for number in [subject, detail] {
                out.push(b'.');
                put_decimal(out, number.into());
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

    #[test]
    fn every_line_but_the_last_has_a_hyphen() {
        let keywords = ["PIPELINING".to_owned(), "DSN".to_owned()];
        let reply = Reply::hello("mx.example", &keywords);
        assert_eq!(written(&reply), "250-mx.example\r\n250-PIPELINING\r\n250 DSN\r\n");
        assert_eq!(written(&Reply::hello("mx.example", &[])), "250 mx.example\r\n");
    }
}
