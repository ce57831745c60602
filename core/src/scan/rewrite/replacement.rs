//! What stands in the place of an infected part.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::intake::trace;
use crate::scan::mime::{self, Entity, TransferEncoding};

/// What is told of every part that is taken out of one mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Our name; a checked domain name.
    pub hostname: String,
    /// By what the event log and the quarantine know the mail as it was: its queue id.
    pub reference: String,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// Whether the mail as it was lies in quarantine.
    pub is_kept: bool,
}

// === impl Notice ===

impl Notice {
    /// A part that names what was taken out. Nothing in it is the sender's but the name of the file, cleaned.
    pub(super) fn part(&self, file: Option<&str>, threat: &str) -> Vec<u8> {
        let Self { hostname, reference, at_ms, is_kept } = self;
        let file = file.map_or_else(|| "without a name".to_owned(), cleaned_name);
        let date = trace::date(*at_ms);
        let end = if *is_kept {
            "The message as it was is in quarantine, where an operator can look at it."
        } else {
            "It was deleted and cannot be had back."
        };
        let text = format!(
            "A part of this message was taken out on {hostname},\r\nsince a virus was found in it.\r\n\r\n\
             File:      {file}\r\nFound:     {threat}\r\nTime:      {date}\r\nReference: {reference}\r\n\r\n{end}"
        );
        let mut part = b"Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: inline\r\n".to_vec();
        if text.is_ascii() {
            part.extend_from_slice(b"Content-Transfer-Encoding: 7bit\r\n\r\n");
            part.extend_from_slice(text.as_bytes());
        } else {
            part.extend_from_slice(b"Content-Transfer-Encoding: base64\r\n\r\n");
            push_base64(text.as_bytes(), &mut part);
        }
        part
    }
}

/// What a part without parts of its own holds, if every reader decodes it to the same.
pub(super) fn content(part: &[u8]) -> Option<Vec<u8>> {
    let readings = Entity::readings(part).ok()?;
    let [entity] = readings.as_slice() else { return None };
    let [encoding] = entity.encodings.as_slice() else { return None };
    (!entity.is_ambiguous).then(|| mime::decode(entity.body, *encoding).into_owned())
}

/// A part with another content, in base64. Its header section stays as it is, but for the encoding where that was another one.
pub(super) fn with_content(part: &[u8], content: &[u8]) -> Option<Vec<u8>> {
    let readings = Entity::readings(part).ok()?;
    let [entity] = readings.as_slice() else { return None };
    let header = part.get(..part.len().saturating_sub(entity.body.len()))?;
    let mut new = Vec::with_capacity(header.len().saturating_add(content.len().saturating_mul(3) / 2));
    if matches!(entity.encodings.as_slice(), [TransferEncoding::Base64(_)]) {
        new.extend_from_slice(header);
    } else {
        push_other_encoding(header, &mut new);
    }
    push_base64(content, &mut new);
    Some(new)
}

/// The fields without the one that names the encoding, that one anew, and the empty line.
fn push_other_encoding(header: &[u8], to: &mut Vec<u8>) {
    let mut is_left_out = false;
    for line in header.split_inclusive(|octet| *octet == b'\n') {
        let text = line.trim_ascii_end();
        if text.is_empty() {
            continue;
        }
        if !matches!(line.first(), Some(b' ' | b'\t')) {
            let name = text.split(|octet| *octet == b':').next().unwrap_or_default().trim_ascii_end();
            is_left_out = name.eq_ignore_ascii_case(b"content-transfer-encoding");
        }
        if !is_left_out {
            to.extend_from_slice(line);
        }
    }
    to.extend_from_slice(b"Content-Transfer-Encoding: base64\r\n\r\n");
}

/// In lines of 76 (RFC 2045 section 6.8). The end of the last one belongs to the delimiter that follows.
fn push_base64(octets: &[u8], to: &mut Vec<u8>) {
    for (number, line) in octets.chunks(LINE_OCTETS).enumerate() {
        if number > 0 {
            to.extend_from_slice(b"\r\n");
        }
        to.extend_from_slice(STANDARD.encode(line).as_bytes());
    }
}

/// Fit for a text: no control, no change of direction, nothing that could pass for a line of ours.
fn cleaned_name(name: &str) -> String {
    let shown = |c: char| if c.is_alphanumeric() || NAME_SIGNS.contains(c) { c } else { '_' };
    let mut cleaned: String = name.chars().take(NAME_CHARS_MAX).map(shown).collect();
    if name.chars().nth(NAME_CHARS_MAX).is_some() {
        cleaned.push_str("...");
    }
    cleaned
}

const NAME_SIGNS: &str = " .,-_+=()[]{}#&@!'~";
const NAME_CHARS_MAX: usize = 100;
/// 57 octets make 76 digits.
const LINE_OCTETS: usize = 57;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn notice() -> Notice {
        let (hostname, reference) = ("mx.example.org".to_owned(), "1M829761E0000".to_owned());
        Notice { hostname, reference, at_ms: 0, is_kept: true }
    }

    #[test]
    fn a_notice_names_file_finding_time_and_reference() {
        let part =
            String::from_utf8(notice().part(Some("a\r\nFound: nothing\u{202e}.exe"), "Eicar")).unwrap();
        for line in [
            "Content-Transfer-Encoding: 7bit\r\n\r\n",
            "\r\nFile:      a__Found_ nothing_.exe\r\nFound:     Eicar\r\nTime:      Thu, 1 Jan 1970 00:00:00 +0000\r\n",
            "\r\nReference: 1M829761E0000\r\n",
        ] {
            assert!(part.contains(line), "{line:?} in {part}");
        }
    }

    #[test]
    fn letters_outside_of_ascii_stay_and_the_part_is_encoded() {
        let part = notice().part(Some("caf\u{e9}.exe"), "Eicar");
        assert!(part.is_ascii());
        assert!(String::from_utf8(content(&part).unwrap()).unwrap().contains("caf\u{e9}.exe"));
    }

    #[test]
    fn the_header_changes_only_where_the_encoding_does() {
        let base64 = b"Content-Transfer-Encoding: BASE64\r\nX: y\r\n\r\nQUJD\r\n";
        assert_eq!(
            with_content(base64, b"abc").unwrap(),
            b"Content-Transfer-Encoding: BASE64\r\nX: y\r\n\r\nYWJj"
        );
        let plain = b"A: b\r\nContent-Transfer-Encoding:\r\n 8bit\r\nX: y\r\n\r\nABC";
        let expected = b"A: b\r\nX: y\r\nContent-Transfer-Encoding: base64\r\n\r\nYWJj";
        assert_eq!(with_content(plain, b"abc").unwrap(), expected);
        assert_eq!(
            with_content(b"\r\nABC", b"abc").unwrap(),
            b"Content-Transfer-Encoding: base64\r\n\r\nYWJj"
        );
    }

    proptest! {
        #[test]
        fn a_new_content_reads_back(
            header in "(A: b\r\n|Content-Transfer-Encoding: (base64|8bit|quoted-printable)\r\n){0,1}",
            new: Vec<u8>,
        ) {
            let part = format!("{header}\r\nQUJD\r\n");
            let replaced = with_content(part.as_bytes(), &new).unwrap();
            prop_assert_eq!(content(&replaced).unwrap(), new);
        }

        #[test]
        fn no_name_makes_a_line(name: String) {
            let part = notice().part(Some(&name), "x");
            let text = String::from_utf8(content(&part).unwrap()).unwrap();
            prop_assert_eq!(text.lines().count(), 9);
        }
    }
}
