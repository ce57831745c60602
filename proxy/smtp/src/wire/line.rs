//! The one definition of a line: text without CR, LF and NUL, then CR LF (RFC 5321 section 2.3.8).
//!
//! Command lines, DATA and BDAT all find their lines with `scan`. Two programs that disagree on where a line ends can be
//! made to disagree on where a message ends; so nothing else in Gatepost looks for line endings in what a peer sends.

use std::borrow::Cow;
use std::fmt;

/// Octets that have no place in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// CR that no LF follows.
    #[error("bare CR")]
    BareCr,
    /// LF that no CR precedes.
    #[error("bare LF")]
    BareLf,
    /// NUL.
    #[error("NUL")]
    Nul,
}

/// What stands at the start of some octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scan {
    /// Text alone: the line goes on.
    Text,
    /// So many octets of text, then CR LF.
    Line(usize),
    /// So many octets of text, then a CR as the last octet: what follows decides.
    Cr(usize),
    /// So many octets of text, then a fault.
    Fault(usize, Fault),
}

/// Looks for the end of the line at whose text `octets` stand.
pub(crate) fn scan(octets: &[u8]) -> Scan {
    let Some(text) = memchr::memchr3(CR, LF, NUL, octets) else {
        return Scan::Text;
    };
    match octets.get(text..).unwrap_or_default() {
        [CR] => Scan::Cr(text),
        [CR, LF, ..] => Scan::Line(text),
        [CR, ..] => Scan::Fault(text, Fault::BareCr),
        [LF, ..] => Scan::Fault(text, Fault::BareLf),
        _ => Scan::Fault(text, Fault::Nul),
    }
}

/// So many octets of whole lines stand at the start of `octets`, themselves the text of a line, that nobody has to look at
/// one by one: they have no fault, and what follows them is there and no dot. There may be more of them than are found.
pub(crate) fn plain_lines(octets: &[u8]) -> usize {
    if octets.first() == Some(&LF) {
        return 0;
    }
    // Each octet beside the one that follows it.
    let followers = octets.get(1..).unwrap_or_default();
    let blocks = octets.chunks_exact(PLAIN_BLOCK_OCTETS).zip(followers.chunks_exact(PLAIN_BLOCK_OCTETS));
    let plain_blocks = blocks.take_while(|(block, followers)| is_plain(block, followers)).count();
    let plain = plain_blocks.saturating_mul(PLAIN_BLOCK_OCTETS);
    let last_end = octets.get(..plain).and_then(|plain| memchr::memrchr(LF, plain));
    last_end.map_or(0, |end| end.saturating_add(1))
}

/// Without branches, so that it is compiled to instructions that look at many octets at once.
fn is_plain(block: &[u8], followers: &[u8]) -> bool {
    let odd = block.iter().zip(followers).fold(0, |odd, (&octet, &follower)| {
        let is_half_an_end = (octet == CR) ^ (follower == LF);
        odd | u8::from(octet == NUL) | u8::from(is_half_an_end) | u8::from((octet == LF) & (follower == b'.'))
    });
    odd == 0
}

/// Some lines of text: where one of them needs a closer look, few others get it as well.
const PLAIN_BLOCK_OCTETS: usize = 128;

/// Carriage return.
pub(crate) const CR: u8 = b'\r';

/// Line feed.
pub(crate) const LF: u8 = b'\n';

const NUL: u8 = 0;

/// The end of a line.
pub(crate) const CRLF: &[u8] = b"\r\n";

/// Cuts command lines out of a stream. Holds memory only between the first and the last octet of a line that comes in
/// parts, and never more than the line's limit.
#[derive(Default)]
pub struct LineReader {
    kept: Vec<u8>,
    at: At,
    octets: u64,
    lf_ends_lines: bool,
    has_normalised: bool,
}

/// Where in a line the reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum At {
    /// In its text.
    #[default]
    Text,
    /// Behind its CR.
    Cr,
    /// In the text of a line over the limit.
    OverlongText,
    /// Behind the CR of a line over the limit.
    OverlongCr,
}

/// What reading some octets has led to.
#[derive(Debug, PartialEq, Eq)]
pub enum LineStep<'a> {
    /// All octets are taken, the line goes on.
    Partial,
    /// A line, without its CRLF.
    Line(Cow<'a, [u8]>),
    /// The end of a line that was longer than its limit; nothing but its start was kept.
    Overlong {
        /// Octets of its text.
        octets: u64,
        /// Enough of it to tell its verb.
        start: Vec<u8>,
    },
    /// The stream is not made of lines: stop reading it.
    Fault(Fault),
}

// === impl LineStep ===

impl LineStep<'_> {
    /// For later.
    pub(crate) fn into_owned(self) -> LineStep<'static> {
        match self {
            Self::Partial => LineStep::Partial,
            Self::Line(line) => LineStep::Line(Cow::Owned(line.into_owned())),
            Self::Overlong { octets, start } => LineStep::Overlong { octets, start },
            Self::Fault(fault) => LineStep::Fault(fault),
        }
    }
}

// === impl LineReader ===

impl LineReader {
    /// A reader for peers whose lines may end with a bare LF.
    #[must_use]
    pub fn quirk_bare_lf() -> Self {
        Self { lf_ends_lines: true, ..Self::default() }
    }

    /// Whether a line ended with a bare LF since this was asked last.
    pub fn take_normalised(&mut self) -> bool {
        std::mem::take(&mut self.has_normalised)
    }

    /// Reads to the end of the line at most; returns how many octets were taken. `limit` is asked with the first
    /// octets of the line how many it may have, CRLF included.
    pub fn read<'a>(&mut self, octets: &'a [u8], limit: impl Fn(&[u8]) -> usize) -> (usize, LineStep<'a>) {
        if matches!(self.at, At::Cr | At::OverlongCr) {
            return match octets.first() {
                None => (0, LineStep::Partial),
                Some(&LF) => (1, self.end(&[])),
                Some(_) => (0, LineStep::Fault(Fault::BareCr)),
            };
        }
        let (text, used, next) = match scan(octets) {
            Scan::Text => (octets.len(), octets.len(), Next::More),
            Scan::Line(text) => (text, text.saturating_add(CRLF.len()), Next::End),
            Scan::Cr(text) => (text, octets.len(), Next::Cr),
            Scan::Fault(text, Fault::BareLf) if self.lf_ends_lines => {
                self.has_normalised = true;
                (text, text.saturating_add(1), Next::End)
            }
            Scan::Fault(text, fault) => (text, text, Next::Fault(fault)),
        };
        let text = octets.get(..text).unwrap_or_default();
        self.octets = self.octets.saturating_add(text.len() as u64);
        self.check_length(text, limit);
        let step = match next {
            Next::Fault(fault) => LineStep::Fault(fault),
            Next::End => self.end(text),
            Next::More | Next::Cr => {
                self.keep(text, next);
                LineStep::Partial
            }
        };
        (used, step)
    }

    /// Octets of text so far of the line that is being read, where it is over its limit already; otherwise none.
    #[must_use]
    pub fn refused_octets(&self) -> u64 {
        if self.is_overlong() { self.octets } else { 0 }
    }

    fn is_overlong(&self) -> bool {
        matches!(self.at, At::OverlongText | At::OverlongCr)
    }

    fn check_length(&mut self, text: &[u8], limit: impl Fn(&[u8]) -> usize) {
        let octets = self.kept.len().saturating_add(text.len()).saturating_add(CRLF.len());
        if self.is_overlong() || octets <= SHORTEST_LIMIT {
            return;
        }
        let mut start = [0; VERB_OCTETS];
        for (place, octet) in start.iter_mut().zip(self.kept.iter().chain(text)) {
            *place = *octet;
        }
        if octets > limit(&start) {
            self.kept = start.to_vec();
            self.at = At::OverlongText;
        }
    }

    fn keep(&mut self, text: &[u8], next: Next) {
        if !self.is_overlong() {
            self.kept.extend_from_slice(text);
        }
        if matches!(next, Next::Cr) {
            self.at = if self.is_overlong() { At::OverlongCr } else { At::Cr };
        }
    }

    fn end<'a>(&mut self, text: &'a [u8]) -> LineStep<'a> {
        let next = Self {
            lf_ends_lines: self.lf_ends_lines,
            has_normalised: self.has_normalised,
            ..Self::default()
        };
        let ended = std::mem::replace(self, next);
        if ended.is_overlong() {
            return LineStep::Overlong { octets: ended.octets, start: ended.kept };
        }
        let mut kept = ended.kept;
        if kept.is_empty() {
            return LineStep::Line(Cow::Borrowed(text));
        }
        kept.extend_from_slice(text);
        LineStep::Line(Cow::Owned(kept))
    }
}

/// What follows some text.
#[derive(Clone, Copy)]
enum Next {
    More,
    Cr,
    End,
    Fault(Fault),
}

/// No limit is lower: a shorter line needs no look at its verb.
const SHORTEST_LIMIT: usize = super::limits::XEXCH50_LINE_OCTETS;

/// Enough octets to tell any verb and the space behind it.
const VERB_OCTETS: usize = 16;

/// The line may hold a password: only its length is shown.
impl fmt::Debug for LineReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineReader").field("kept_octets", &self.kept.len()).field("at", &self.at).finish()
    }
}

// === impl Fault ===

impl Fault {
    /// The stable name of the rule that was broken.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::BareCr => "framing.bare_cr",
            Self::BareLf => "framing.bare_lf",
            Self::Nul => "framing.nul",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn plain_lines_are_lines_without_a_dot_behind_them(
            parts in prop::collection::vec(
                prop_oneof![
                    30 => Just("a line of some text\r\n"), 10 => Just("\r\n"), 4 => Just("text"), 1 => Just(".\r\n"),
                    1 => Just("\r"), 1 => Just("\n"), 1 => Just("\0"),
                ],
                0..120,
            ),
        ) {
            let octets = parts.concat().into_bytes();
            let plain = plain_lines(&octets);
            let mut at = 0;
            while at < plain {
                let Scan::Line(text) = scan(&octets[at..]) else { panic!("no line at {at}") };
                at += text + CRLF.len();
                prop_assert!(octets.get(at).is_some_and(|next| *next != b'.'));
            }
            prop_assert_eq!(at, plain);
        }
    }

    #[test]
    fn of_plain_lines_all_but_the_last_are_found_at_once() {
        let line = [&[b'x'; 76][..], CRLF].concat();
        for lines in 4..100 {
            assert!(plain_lines(&line.repeat(lines)) >= line.len() * (lines - 3), "{lines}");
        }
    }

    fn read_all(parts: &[&[u8]], limit: usize) -> Vec<String> {
        let mut reader = LineReader::default();
        let mut steps = Vec::new();
        for part in parts {
            let mut rest = *part;
            while !rest.is_empty() {
                let (used, step) = reader.read(rest, |_| limit);
                rest = &rest[used..];
                match step {
                    LineStep::Partial => {}
                    LineStep::Line(line) => steps.push(String::from_utf8_lossy(&line).into_owned()),
                    LineStep::Overlong { .. } => steps.push("(overlong)".to_owned()),
                    LineStep::Fault(fault) => {
                        steps.push(format!("({fault})"));
                        return steps;
                    }
                }
            }
        }
        steps
    }

    #[test]
    fn a_line_ends_with_cr_lf_only() {
        assert_eq!(read_all(&[b"NOOP\r\nRSET\r\nQU"], 512), ["NOOP", "RSET"]);
        assert_eq!(read_all(&[b"NOOP\n"], 512), ["(bare LF)"]);
        assert_eq!(read_all(&[b"NOOP\rRSET\r\n"], 512), ["(bare CR)"]);
        assert_eq!(read_all(&[b"NOOP\r", b"\r\n"], 512), ["(bare CR)"]);
        assert_eq!(read_all(&[b"NO\0OP\r\n"], 512), ["(NUL)"]);
        assert_eq!(read_all(&[b"\r\n\r\n"], 512), ["", ""]);
    }

    #[test]
    fn a_line_over_its_limit_is_told_once_and_not_kept() {
        let mut reader = LineReader::default();
        for _ in 0..100 {
            assert_eq!(reader.read(&[b'x'; 64], |_| 600), (64, LineStep::Partial));
            assert!(reader.kept.len() <= 600);
        }
        assert!(reader.is_overlong());
        assert_eq!(
            reader.read(b"\r\nNOOP\r\n", |_| 600),
            (2, LineStep::Overlong { octets: 6400, start: vec![b'x'; VERB_OCTETS] })
        );
        assert_eq!(reader.read(b"NOOP\r\n", |_| 600), (6, LineStep::Line(Cow::Borrowed(b"NOOP"))));
    }

    #[test]
    fn the_limit_counts_the_line_ending() {
        let exact = [&[b'x'; 598][..], b"\r\n"].concat();
        let over = [&[b'x'; 599][..], b"\r\n"].concat();
        assert_eq!(read_all(&[&exact], 600)[0].len(), 598);
        assert_eq!(read_all(&[&over], 600), ["(overlong)"]);
        assert_eq!(read_all(&[&over[..599], &over[599..600], &over[600..]], 600), ["(overlong)"]);
    }

    #[test]
    fn a_finished_line_leaves_no_memory_behind() {
        let mut reader = LineReader::default();
        let _ = reader.read(b"NO", |_| 512);
        assert_eq!(reader.kept, b"NO");
        assert_eq!(reader.read(b"OP\r\n", |_| 512), (4, LineStep::Line(Cow::Owned(b"NOOP".to_vec()))));
        assert_eq!(reader.kept.capacity(), 0);
    }
}
