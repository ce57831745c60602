//! Octets to lines: CRLF and nothing else ends one.

use zeroize::Zeroizing;

/// Collects one line over as many reads as it takes. Empty between lines, so an idle session holds no buffer.
#[derive(Debug, Default)]
pub(super) struct LineReader {
    /// Wiped when dropped: it may be a password.
    partial: Zeroizing<Vec<u8>>,
}

/// What some octets gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// All were taken, more are needed.
    Incomplete,
    /// A line without its CRLF; so many octets were taken.
    Line(Zeroizing<Vec<u8>>, usize),
    /// A CR or LF alone, a NUL, or more octets than allowed: there is no telling where the next line begins.
    Bad,
}

// === impl LineReader ===

impl LineReader {
    /// Takes octets up to the end of a line. `octets_max` counts the CRLF.
    pub(super) fn read(&mut self, octets: &[u8], octets_max: usize) -> Read {
        let (line, is_whole) = match memchr::memchr(b'\n', octets) {
            Some(end) => (octets.get(..=end).unwrap_or(octets), true),
            None => (octets, false),
        };
        if self.partial.len().saturating_add(line.len()) > octets_max {
            return Read::Bad;
        }
        // Never grown twice: a vector that moves leaves its old octets behind.
        if self.partial.is_empty() {
            self.partial.reserve_exact(if is_whole { line.len() } else { octets_max });
        }
        self.partial.extend_from_slice(line);
        if !is_whole {
            return if is_text(&self.partial, 1) { Read::Incomplete } else { Read::Bad };
        }
        let mut text = std::mem::take(&mut self.partial);
        if !text.ends_with(b"\r\n") {
            return Read::Bad;
        }
        let end = text.len().saturating_sub(2);
        text.truncate(end);
        if is_text(&text, 0) { Read::Line(text, line.len()) } else { Read::Bad }
    }
}

/// No NUL and no CR but for the last `trailing` octets, where it may be the CR of a CRLF to come.
fn is_text(octets: &[u8], trailing: usize) -> bool {
    let inner = octets.len().saturating_sub(trailing);
    !octets.contains(&0) && !octets.iter().take(inner).any(|octet| *octet == b'\r')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_ends_with_crlf_alone() {
        assert_eq!(LineReader::default().read(b"NOOP\r\nX", 255), line(b"NOOP", 6));
        assert_eq!(LineReader::default().read(b"\r\n", 255), line(b"", 2));
        for octets in [&b"NOOP\n"[..], b"NO\rOP\r\n", b"NO\0OP\r\n", b"NOOP\r\r\n", b"NO\rO", b"\0"] {
            assert_eq!(LineReader::default().read(octets, 255), Read::Bad, "{octets:?}");
        }
    }

    #[test]
    fn the_limit_counts_the_line_end() {
        assert_eq!(LineReader::default().read(b"12\r\n", 4), line(b"12", 4));
        assert_eq!(LineReader::default().read(b"123\r\n", 4), Read::Bad);
        assert_eq!(LineReader::default().read(b"1234", 4), Read::Incomplete);
        assert_eq!(LineReader::default().read(b"12345", 4), Read::Bad);
    }

    proptest! {
        #[test]
        fn reads_may_be_split_anywhere(octets in "[a\r\n\0]{0,12}", split in 0..12_usize) {
            let octets = octets.as_bytes();
            let split = split.min(octets.len());
            let whole = LineReader::default().read(octets, 6);
            let mut reader = LineReader::default();
            let halves = match reader.read(&octets[..split], 6) {
                Read::Incomplete => match reader.read(&octets[split..], 6) {
                    Read::Line(text, taken) => Read::Line(text, taken + split),
                    other => other,
                },
                other => other,
            };
            prop_assert_eq!(whole, halves);
        }
    }

    fn line(text: &[u8], taken: usize) -> Read {
        Read::Line(Zeroizing::new(text.to_vec()), taken)
    }
}
