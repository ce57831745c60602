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
mod tests;
