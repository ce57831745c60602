//! Which parts of a message can be taken out by their octets alone, so that all others stay as they are.
//!
//! The opposite of the plan: that one follows every reading, this one goes only where all readers agree. A part that is
//! ambiguous in itself is a leaf as a whole, since its ends are plain.

use std::ops::Range;

use mail_parser::{MessageParser, MimeHeaders as _};

use crate::scan::mime::{Entity, TransferEncoding};
use crate::scan::plan::DEPTH_MAX;

/// A part without parts of its own that could be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    /// Header section and body, without the line end that belongs to the delimiter behind it.
    pub(super) range: Range<usize>,
    /// Whether it vouches for itself: what is signed or encrypted is one thing, and part of it is nothing.
    pub(super) is_sealed: bool,
}

/// Why no part of a message can be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Indivisible {
    /// It has none: the message is the part.
    #[error("it has no parts")]
    NoParts,
    /// What is infected is signed or encrypted as a whole.
    #[error("it is signed or encrypted")]
    Sealed,
    /// Readers would disagree about where its parts begin.
    #[error("its parts are ambiguous")]
    Ambiguous,
    /// More of them than anybody sends.
    #[error("it has too many parts")]
    TooManyParts,
    /// What is infected lies between parts, or in several of them together.
    #[error("what was found is in no part of its own")]
    NotInAPart,
    /// Something was found in what was left.
    #[error("what is left does not pass the scan either")]
    StillSuspect,
}

/// The leaves of a message in their order.
pub(super) fn leaves(message: &[u8]) -> Result<Vec<Leaf>, Indivisible> {
    let mut found = Vec::new();
    match Kind::of(message) {
        Kind::Parts(parts) => descend(message, 0, parts?, 0, &mut found)?,
        Kind::Sealed => return Err(Indivisible::Sealed),
        Kind::Message(_) | Kind::Leaf => return Err(Indivisible::NoParts),
    }
    Ok(found)
}

/// The name under which readers would save a part; as the sender wrote it.
pub(super) fn file_name(part: &[u8]) -> Option<String> {
    let header = part.get(..HEADER_OCTETS_MAX).unwrap_or(part);
    let parsed = MessageParser::new().with_mime_headers().parse_headers(header)?;
    parsed.attachment_name().map(str::to_owned)
}

/// What an entity is to every reader.
enum Kind {
    /// A multipart; where its parts lie in it.
    Parts(Result<Vec<Range<usize>>, Indivisible>),
    /// A message in it, from here to its end.
    Message(usize),
    Sealed,
    Leaf,
}

// === impl Kind ===

impl Kind {
    fn of(octets: &[u8]) -> Self {
        let readings = Entity::readings(octets).unwrap_or_default();
        if readings.iter().any(|entity| SEALED.iter().any(|media| entity.lax.names(media))) {
            return Self::Sealed;
        }
        let [entity] = readings.as_slice() else { return Self::Leaf };
        let is_plain = !entity.is_ambiguous
            && entity.lax.boundaries.is_empty()
            && !entity.lax.is_coded
            && entity.encodings == [TransferEncoding::Identity];
        let [media] = entity.media_types.as_slice() else { return Self::Leaf };
        let body_at = octets.len().saturating_sub(entity.body.len());
        match media.boundaries.as_slice() {
            [boundary] if is_plain && !boundary.is_empty() => {
                let parts = split(entity.body, boundary);
                Self::Parts(parts.map(|parts| parts.into_iter().map(|part| shifted(part, body_at)).collect()))
            }
            [] if is_plain && (media.is("message", "rfc822") || media.is("message", "global")) => {
                Self::Message(body_at)
            }
            _ => Self::Leaf,
        }
    }
}

/// Goes through these parts of an entity that begins at an offset of the message.
fn descend(
    entity: &[u8],
    offset: usize,
    parts: Vec<Range<usize>>,
    depth: usize,
    found: &mut Vec<Leaf>,
) -> Result<(), Indivisible> {
    if depth > DEPTH_MAX {
        return Err(Indivisible::TooManyParts);
    }
    for part in parts {
        let mut octets = entity.get(part.clone()).unwrap_or_default();
        let whole = shifted(part, offset);
        let mut at = whole.start;
        let mut kind = Kind::of(octets);
        if let Kind::Message(body_at) = kind {
            octets = octets.get(body_at..).unwrap_or_default();
            at = at.saturating_add(body_at);
            kind = Kind::of(octets);
        }
        match kind {
            Kind::Parts(Ok(inner)) => descend(octets, at, inner, depth.saturating_add(1), found)?,
            // Whatever lies in it, its own ends are plain.
            Kind::Parts(Err(_)) | Kind::Message(_) | Kind::Leaf => {
                found.push(Leaf { range: whole, is_sealed: false });
            }
            Kind::Sealed => found.push(Leaf { range: whole, is_sealed: true }),
        }
        if found.len() > LEAVES_MAX {
            return Err(Indivisible::TooManyParts);
        }
    }
    Ok(())
}

/// The parts between delimiter lines that no reader sees differently.
fn split(body: &[u8], boundary: &[u8]) -> Result<Vec<Range<usize>>, Indivisible> {
    let delimiter = [b"--", boundary].concat();
    let (mut parts, mut begun, mut is_closed) = (Vec::new(), None, false);
    for at in memchr::memmem::find_iter(body, &delimiter) {
        match at.checked_sub(1).and_then(|before| body.get(before)) {
            None | Some(b'\n') => {}
            Some(b'\r') => return Err(Indivisible::Ambiguous),
            Some(_) => continue,
        }
        let behind = body.get(at.saturating_add(delimiter.len())..).unwrap_or_default();
        let line_end = memchr::memchr(b'\n', behind).map_or(behind.len(), |end| end.saturating_add(1));
        let line = behind.get(..line_end).unwrap_or_default();
        let rest = line.strip_prefix(b"--");
        if is_closed || !rest.unwrap_or(line).trim_ascii().is_empty() {
            return Err(Indivisible::Ambiguous);
        }
        if let Some(begun) = begun.take() {
            parts.push(begun..end_before(body, at).max(begun));
        }
        is_closed = rest.is_some();
        begun = (!is_closed).then(|| body.len().saturating_sub(behind.len()).saturating_add(line_end));
    }
    if let Some(begun) = begun {
        parts.push(begun..body.len());
    }
    parts.retain(|part| body.get(part.clone()).is_some_and(|part| !part.trim_ascii().is_empty()));
    Ok(parts)
}

/// Where a part ends whose delimiter begins here: its line end belongs to the delimiter (RFC 2046 section 5.1.1).
fn end_before(body: &[u8], delimiter_at: usize) -> usize {
    let before = body.get(..delimiter_at).unwrap_or_default();
    let line_end = if before.ends_with(b"\r\n") { 2 } else { 1 };
    delimiter_at.saturating_sub(line_end)
}

const fn shifted(range: Range<usize>, by: usize) -> Range<usize> {
    range.start.saturating_add(by)..range.end.saturating_add(by)
}

/// What a part of is nothing (RFC 1847, RFC 8551).
const SEALED: [&str; 4] =
    ["multipart/signed", "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"];
/// Each is scanned on its own.
const LEAVES_MAX: usize = 256;
/// MIME fields stand before this.
const HEADER_OCTETS_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(message: &str) -> Vec<&str> {
        leaves(message.as_bytes())
            .unwrap()
            .iter()
            .map(|leaf| message.get(leaf.range.clone()).unwrap())
            .collect()
    }

    #[test]
    fn leaves_are_found_in_multiparts_and_messages_within_each_other() {
        let message = "Content-Type: multipart/mixed; boundary=a\r\n\r\npreamble\r\n--a\r\n\r\none\r\n--a\r\n\
            Content-Type: multipart/alternative; boundary=\"b\"\r\n\r\n--b\r\n\r\ntwo\r\n\r\n--b\r\n\r\nthree\r\n--b--\r\n\
            --a  \r\nContent-Type: message/rfc822\r\n\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\nX: y\r\n\r\n\
            four\r\n--c--\r\n\r\n--a\r\nContent-Type: message/rfc822\r\n\r\nSubject: five\r\n\r\nfive\r\n--a--\r\nepilogue\r\n";
        let expected = [
            "\r\none",
            "\r\ntwo\r\n",
            "\r\nthree",
            "X: y\r\n\r\nfour",
            "Content-Type: message/rfc822\r\n\r\nSubject: five\r\n\r\nfive",
        ];
        assert_eq!(texts(message), expected);
    }

    #[test]
    fn what_readers_disagree_about_is_left_alone() {
        let refused = |message: &str| leaves(message.as_bytes()).unwrap_err();
        let with = |field: &str, body: &str| refused(&format!("Content-Type: {field}\r\n\r\n{body}"));
        let parts = "--a\r\n\r\none\r\n--a--\r\n";
        assert_eq!(with("text/plain", "x"), Indivisible::NoParts);
        assert_eq!(refused("Subject: x\r\n\r\nx"), Indivisible::NoParts);
        assert_eq!(with("multipart/signed; boundary=a", parts), Indivisible::Sealed);
        assert_eq!(with("multipart/mixed; boundary=a", "--a\r\n\r\none\r\n--ab\r\n"), Indivisible::Ambiguous);
        assert_eq!(
            with("multipart/mixed; boundary=a", &format!("{parts}--a\r\n\r\ntwo")),
            Indivisible::Ambiguous
        );
        assert_eq!(with("multipart/mixed; boundary=a; boundary=b", parts), Indivisible::NoParts);
        let twice = format!(
            "multipart/mixed; boundary=a\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{parts}"
        );
        assert_eq!(with(&twice, ""), Indivisible::NoParts);
        assert_eq!(
            with("multipart/mixed; boundary=a\r\nContent-Transfer-Encoding: base64", parts),
            Indivisible::NoParts
        );
    }

    #[test]
    fn a_part_that_is_ambiguous_or_sealed_is_one_leaf() {
        let message = "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: multipart/mixed; boundary=b; \
            boundary=c\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n--a\r\nContent-Type: multipart/signed; boundary=d\r\n\r\n--d\r\n\r\ny\r\n\
            --d--\r\n--a--\r\n";
        let found = leaves(message.as_bytes()).unwrap();
        assert_eq!(found.iter().map(|leaf| leaf.is_sealed).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn the_name_of_a_file_is_read_in_each_of_its_places() {
        assert_eq!(file_name(b"Content-Type: a/b; name=\"x.exe\"\r\n\r\n").as_deref(), Some("x.exe"));
        let long = b"Content-Disposition: attachment; filename*=utf-8''caf%C3%A9.exe\r\n\r\n";
        assert_eq!(file_name(long).as_deref(), Some("caf\u{e9}.exe"));
        assert_eq!(file_name(b"Subject: x\r\n\r\n"), None);
    }

    proptest! {
        #[test]
        fn no_message_panics_and_leaves_lie_in_order(message in "(Content-Type: multipart/mixed; boundary=a\r\n\r\n)?(--a(--)?\r?\n|\r\n|x|Content-Type: (message/rfc822|multipart/mixed; boundary=b)\r\n|--b(--)?\r\n){0,30}") {
            let mut end = 0;
            for leaf in leaves(message.as_bytes()).unwrap_or_default() {
                prop_assert!(leaf.range.start >= end && leaf.range.end > leaf.range.start && leaf.range.end <= message.len());
                end = leaf.range.end;
            }
        }
    }
}
