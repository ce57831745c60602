//! Files that stand encoded in a text: uuencode (POSIX, with its base64 variant) and yEnc.
//!
//! Mail programs of old and readers of news find them in any text, MIME or not. As for MIME, what one reader skips or forgives is
//! skipped or forgiven here.

use std::ops::ControlFlow;

use memchr::memmem;

use super::item::ItemName;
use super::mime;
use super::plan::{ARCHIVE_DEPTH_MAX, Depth, Walk};
use super::verdict::Obstacle;

/// Hands every file that is encoded in the text to the walk.
pub(super) fn walk(walk: &mut Walk<'_>, name: &ItemName, text: &[u8], depth: Depth) -> ControlFlow<()> {
    let (mut end, mut overlaps) = (0, 0_usize);
    let mut lines = Lines { text, end: None, behind: None };
    for at in memmem::find_iter(text, BEGIN) {
        let line_at = if text.get(..at).is_some_and(|before| before.ends_with(b"=y")) {
            at.saturating_sub(2)
        } else {
            at
        };
        if !line_at.checked_sub(1).is_none_or(|before| is_line_end(text.get(before))) {
            continue;
        }
        walk.check_due()?;
        let (line, body) = lines.split(line_at);
        let Some(coding) = Coding::begun_by(line, body) else { continue };
        if depth.archives >= ARCHIVE_DEPTH_MAX {
            return walk.obstacle(name, Obstacle::TooDeep);
        }
        let name = name.inside_file(&String::from_utf8_lossy(coding.file_name(line)));
        if coding == Coding::YEnc && memmem::find(line, b" part=").is_some() {
            walk.obstacle(&name, Obstacle::Fragment)?;
        }
        let body = coding.until_end(body);
        if at < end {
            overlaps = overlaps.saturating_add(1);
        }
        if overlaps > OVERLAPS_MAX {
            if coding == Coding::UuEncode && !has_usual_mode(line) && !begins_encoded(body) {
                // Prose, as it seems.
                continue;
            }
            return walk.obstacle(&name, Obstacle::Ambiguous);
        }
        end = end.max(at.saturating_add(body.len()));
        walk.count_entry(&name)?;
        walk.count_walked(&name, body.len())?;
        let decoded = coding.decode(body);
        walk.count_octets(&name, decoded.len())?;
        if !decoded.is_empty() {
            walk.content(&name, &decoded, depth.in_archive())?;
        }
    }
    ControlFlow::Continue(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    UuEncode,
    UuBase64,
    YEnc,
}

// === impl Coding ===

impl Coding {
    /// What this line begins. Prose and programs have lines that begin with `begin`, too: a mode must stand there, or, since
    /// some readers go without, a body that is encoded.
    fn begun_by(line: &[u8], body: &[u8]) -> Option<Self> {
        if line.starts_with(b"=ybegin ") {
            return Some(Self::YEnc);
        }
        let (head, rest) = line.split_at_checked(line.iter().position(|octet| is_blank(*octet))?)?;
        match head {
            b"begin-base64" | b"begin-base64-encoded" => has_mode(rest).then_some(Self::UuBase64),
            b"begin" | b"begin-encoded" => (has_mode(rest) || begins_encoded(body)).then_some(Self::UuEncode),
            _ => None,
        }
    }

    /// The last word of the line, or all that stands behind `name=`.
    fn file_name(self, line: &[u8]) -> &[u8] {
        match self {
            Self::YEnc => {
                let name = memmem::find(line, b" name=").and_then(|at| line.get(at.saturating_add(6)..));
                name.unwrap_or(b"yEnc")
            }
            Self::UuEncode | Self::UuBase64 => {
                line.split(|octet| *octet == b' ').next_back().unwrap_or(b"uuencode")
            }
        }
    }

    /// What stands before the line that ends the file, or all.
    fn until_end(self, body: &[u8]) -> &[u8] {
        let is_content = |line: &&[u8]| match self {
            Self::UuEncode => line.trim_ascii() != b"end",
            Self::UuBase64 => !line.starts_with(b"===="),
            Self::YEnc => !line.starts_with(b"=yend"),
        };
        let lines = body.split_inclusive(|octet| *octet == b'\n');
        let end = lines.take_while(is_content).fold(0_usize, |end, line| end.saturating_add(line.len()));
        body.get(..end).unwrap_or(body)
    }

    fn decode(self, body: &[u8]) -> Vec<u8> {
        let mut decoded = Vec::new();
        match self {
            Self::UuEncode => lines(body).for_each(|line| decode_uu_line(line, &mut decoded)),
            Self::UuBase64 => decoded = mime::decode_base64(body),
            Self::YEnc => lines(body)
                .filter(|line| !line.starts_with(b"=ypart "))
                .for_each(|line| decode_y_line(line, &mut decoded)),
        }
        decoded
    }
}

/// A line: the number of its octets as a character, then four characters for three octets.
fn decode_uu_line(line: &[u8], decoded: &mut Vec<u8>) {
    let Some((length, digits)) = line.split_first() else { return };
    let wanted = usize::from(six_bits(*length));
    let mut octets = Vec::with_capacity(wanted.saturating_add(2));
    for group in digits.chunks(4) {
        // Blanks at the end of a line get lost on the way.
        let digit = |at: usize| u32::from(six_bits(*group.get(at).unwrap_or(&b' ')));
        let bits = digit(0) << 18 | digit(1) << 12 | digit(2) << 6 | digit(3);
        octets.extend_from_slice(bits.to_be_bytes().get(1..).unwrap_or_default());
    }
    octets.truncate(wanted);
    decoded.extend_from_slice(&octets);
}

fn six_bits(character: u8) -> u8 {
    character.wrapping_sub(b' ') & 0x3f
}

/// Each octet is moved by 42; those that a line must not hold are moved by 64 more, behind an equals sign.
fn decode_y_line(line: &[u8], decoded: &mut Vec<u8>) {
    let mut octets = line.iter();
    while let Some(octet) = octets.next() {
        let plain =
            if *octet == b'=' { octets.next().map(|octet| octet.wrapping_sub(64)) } else { Some(*octet) };
        decoded.extend(plain.map(|octet| octet.wrapping_sub(42)));
    }
}

/// The ends of the lines of a text, which is gone over once from front to back: a text without line ends, or a long line that
/// others begin in, would else be searched to its end again and again.
struct Lines<'a> {
    text: &'a [u8],
    /// Of the last line, before its CR or LF.
    end: Option<usize>,
    /// Behind its LF.
    behind: Option<usize>,
}

// === impl Lines ===

impl<'a> Lines<'a> {
    /// The line that begins here without its end, and what is behind it. No line may begin before the one of the last call.
    fn split(&mut self, at: usize) -> (&'a [u8], &'a [u8]) {
        let rest = self.text.get(at..).unwrap_or_default();
        let to = |found: Option<usize>| found.map_or(self.text.len(), |found| at.saturating_add(found));
        let end = self.end.filter(|end| *end >= at);
        let end = end.unwrap_or_else(|| to(memchr::memchr2(b'\r', b'\n', rest)));
        let behind = self.behind.filter(|behind| *behind > at);
        let behind = behind.unwrap_or_else(|| to(memchr::memchr(b'\n', rest)).saturating_add(1));
        (self.end, self.behind) = (Some(end), Some(behind));
        (self.text.get(at..end).unwrap_or_default(), self.text.get(behind..).unwrap_or_default())
    }
}

/// Octal digits, a blank and a name. Some readers take any number of digits.
fn has_mode(rest: &[u8]) -> bool {
    mode_digits(rest) > 0
}

/// Whether a line that begins a file has a mode of three or four digits, as programs write it.
fn has_usual_mode(line: &[u8]) -> bool {
    let rest = line.iter().position(|octet| is_blank(*octet)).and_then(|at| line.get(at..));
    (3..=4).contains(&mode_digits(rest.unwrap_or_default()))
}

/// How many digits a mode has that a blank follows.
fn mode_digits(rest: &[u8]) -> usize {
    let rest = rest.trim_ascii_start();
    let digits = rest.iter().take_while(|octet| matches!(octet, b'0'..=b'7')).count();
    if rest.get(digits).is_some_and(|octet| is_blank(*octet)) { digits } else { 0 }
}

fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

/// Whether the first line that is neither blank nor of no octets is one of uuencode. Where that cannot be told from nearby, it may be.
fn begins_encoded(body: &[u8]) -> bool {
    let near = body.get(..NEAR_OCTETS).unwrap_or(body);
    let is_empty = |line: &[u8]| line.trim_ascii().is_empty() || line.starts_with(b"`");
    let first = near.split_inclusive(|octet| *octet == b'\n').find(|line| !is_empty(line));
    let is_cut = first.is_none_or(|line| line.len() <= UU_LINE_OCTETS_MAX && !line.ends_with(b"\n"));
    if is_cut && near.len() < body.len() {
        return true;
    }
    first.and_then(|line| lines(line).next()).is_some_and(is_encoded)
}

/// Whether this is a line of uuencode: its length says so many characters, and they are there. What is behind them is a
/// checksum of some programs, or junk that readers pass over.
fn is_encoded(line: &[u8]) -> bool {
    let Some((length, digits)) = line.split_first() else { return false };
    let octets = usize::from(six_bits(*length));
    let wanted = octets.div_ceil(3).saturating_mul(4);
    let digits = digits.get(..wanted).unwrap_or(digits);
    // Blanks at the end get lost.
    let fits = digits.len() >= wanted.saturating_sub(3);
    octets > 0 && fits && [length].into_iter().chain(digits).all(|octet| (b' '..=b'`').contains(octet))
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|octet| *octet == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

fn is_line_end(octet: Option<&u8>) -> bool {
    matches!(octet, Some(b'\n' | b'\r'))
}

/// Of every line that begins a file, whatever the encoding.
const BEGIN: &[u8] = b"begin";
/// Of files that begin inside another, each of which may reach to the end of the text. Readers find at most one of them.
const OVERLAPS_MAX: usize = 16;
/// How far behind the line that begins a file its content is looked for. Programs leave out a line or two.
const NEAR_OCTETS: usize = 4 * 1024;
/// The length, the 84 characters of 63 octets, a checksum, and an end of line.
const UU_LINE_OCTETS_MAX: usize = 88;

#[cfg(test)]
mod tests;
