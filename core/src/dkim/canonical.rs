//! The relaxed canonicalisation (RFC 6376 sections 3.4.2 and 3.4.4).

use aws_lc_rs::digest::{Context, SHA256};
use memchr::memchr;

/// The hash of a body, canonicalised as it streams by. Any split of the same octets gives the same hash.
pub struct BodyHash {
    context: Context,
    /// Canonical octets on their way into the hash.
    pending: Vec<u8>,
    /// White space that counts as one space if something follows in its line.
    has_space: bool,
    /// The last octet was a CR: part of a line's end, or text.
    has_cr: bool,
    /// Line ends that count if something follows.
    line_ends: u64,
    has_text: bool,
}

/// A header field as it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) name: &'a [u8],
    /// With its line ends.
    pub(super) value: &'a [u8],
}

// === impl BodyHash ===

impl Default for BodyHash {
    fn default() -> Self {
        Self {
            context: Context::new(&SHA256),
            pending: Vec::with_capacity(PIECE_OCTETS),
            has_space: false,
            has_cr: false,
            line_ends: 0,
            has_text: false,
        }
    }
}

impl BodyHash {
    /// The next octets.
    pub fn update(&mut self, octets: &[u8]) {
        for &octet in octets {
            self.step(octet);
        }
    }

    /// SHA-256 of the canonical body. Empty lines at its end do not count, and a last line without its end gets one.
    #[must_use]
    pub fn finish(mut self) -> [u8; 32] {
        if self.has_cr {
            self.text(b'\r');
        }
        if self.has_text {
            self.push(b"\r\n");
        }
        self.context.update(&self.pending);
        let mut hash = [0; 32];
        hash.iter_mut().zip(self.context.finish().as_ref()).for_each(|(to, from)| *to = *from);
        hash
    }

    fn step(&mut self, octet: u8) {
        if std::mem::take(&mut self.has_cr) {
            if octet == b'\n' {
                self.has_space = false;
                self.line_ends = self.line_ends.saturating_add(1);
                return;
            }
            self.text(b'\r');
        }
        match octet {
            b'\r' => self.has_cr = true,
            b' ' | b'\t' => self.has_space = true,
            other => self.text(other),
        }
    }

    fn text(&mut self, octet: u8) {
        for _ in 0..std::mem::take(&mut self.line_ends) {
            self.push(b"\r\n");
        }
        if std::mem::take(&mut self.has_space) {
            self.push(b" ");
        }
        self.push(&[octet]);
        self.has_text = true;
    }

    fn push(&mut self, octets: &[u8]) {
        self.pending.extend_from_slice(octets);
        if self.pending.len() >= PIECE_OCTETS {
            self.context.update(&self.pending);
            self.pending.clear();
        }
    }
}

// === impl Field ===

impl Field<'_> {
    /// `name:value`, unfolded, with each run of white space as one space, none around the colon and none at the end; no
    /// line end.
    pub(super) fn relaxed(&self) -> Vec<u8> {
        let mut relaxed = self.name.trim_ascii().to_ascii_lowercase();
        relaxed.push(b':');
        let words = self.value.split(|octet| b" \t\r\n".contains(octet)).filter(|word| !word.is_empty());
        for (number, word) in words.enumerate() {
            if number > 0 {
                relaxed.push(b' ');
            }
            relaxed.extend_from_slice(word);
        }
        relaxed
    }
}

/// The fields of a header section, in order. What is no field is left out.
pub(super) fn fields(mut header: &[u8]) -> Vec<Field<'_>> {
    let mut fields = Vec::new();
    while !header.is_empty() {
        let (field, rest) = header.split_at(field_octets(header));
        header = rest;
        let Some(colon) = memchr(b':', field) else { continue };
        if let (Some(name), Some(value)) = (field.get(..colon), field.get(colon.saturating_add(1)..)) {
            fields.push(Field { name, value });
        }
    }
    fields
}

/// Up to the first line end that no white space follows.
fn field_octets(header: &[u8]) -> usize {
    let mut end = 0_usize;
    loop {
        let rest = header.get(end..).unwrap_or_default();
        let Some(line) = memchr(b'\n', rest) else { return header.len() };
        end = end.saturating_add(line).saturating_add(1);
        if !matches!(header.get(end), Some(b' ' | b'\t')) {
            return end;
        }
    }
}

/// A few pages: fewer calls of the hash, and nothing that a session would notice.
const PIECE_OCTETS: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest;
    use proptest::prelude::*;

    use super::*;

    fn hash(body: &[u8]) -> [u8; 32] {
        let mut hash = BodyHash::default();
        hash.update(body);
        hash.finish()
    }

    fn sha256(octets: &[u8]) -> Vec<u8> {
        digest::digest(&SHA256, octets).as_ref().to_vec()
    }

    /// Line by line, as the RFC says it.
    fn naive(body: &str) -> String {
        let words = |line: &str| {
            let mut text = String::new();
            for character in line.trim_end_matches([' ', '\t']).chars() {
                match character {
                    ' ' | '\t' if text.ends_with(' ') => {}
                    ' ' | '\t' => text.push(' '),
                    other => text.push(other),
                }
            }
            text
        };
        let lines: Vec<String> = body.split("\r\n").map(words).collect();
        let end = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
        lines[..end].iter().map(|line| format!("{line}\r\n")).collect()
    }

    #[test]
    fn the_example_of_the_rfc() {
        let found: Vec<_> = fields(b"A: X\r\nB : Y\t\r\n\tZ  \r\n").iter().map(Field::relaxed).collect();
        assert_eq!(found, [b"a:X".to_vec(), b"b:Y Z".to_vec()]);
        assert_eq!(hash(b" C \r\nD \t E\r\n\r\n\r\n").to_vec(), sha256(b" C\r\nD E\r\n"));
        assert_eq!(hash(b"").to_vec(), sha256(b""));
        assert_eq!(hash(b"\r\n \r\n").to_vec(), sha256(b""));
        assert_eq!(hash(b"\r\nx").to_vec(), sha256(b"\r\nx\r\n"));
    }

    proptest! {
        #[test]
        fn a_body_hashes_as_the_rfc_says_however_it_is_split(
            pieces in proptest::collection::vec("[ \ta-c]{0,3}(\r\n){0,2}", 0..20),
            split in 1_usize..7,
        ) {
            let body = pieces.concat();
            let mut hash = BodyHash::default();
            body.as_bytes().chunks(split).for_each(|piece| hash.update(piece));
            prop_assert_eq!(hash.finish().to_vec(), sha256(naive(&body).as_bytes()));
        }

        #[test]
        fn no_header_panics_and_no_field_is_lost(header: Vec<u8>) {
            let octets: usize = fields(&header).iter().map(|field| field.name.len() + field.value.len() + 1).sum();
            prop_assert!(octets <= header.len());
        }
    }
}
