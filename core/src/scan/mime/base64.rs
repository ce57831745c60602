//! Base64 as readers of mail take it. Where a body is not as RFC 2045 section 6.8 wants it, they differ.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

/// One way to read base64. The standard's: what is not of the alphabet is skipped, and padding ends one run and begins the next;
/// readers differ in whether they go on after it, and going on shows the engine what either of them would see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::scan) struct Base64 {
    /// Begins anew on every line.
    by_line: bool,
    /// Skips padding as it skips any other junk.
    joined: bool,
    /// Takes a junk character for six bits.
    placed: bool,
    /// Knows the alphabet of RFC 4648 section 5 too.
    url: bool,
}

/// Base64 by the standard's reading.
pub(in crate::scan) fn decode(body: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(body.len().div_ceil(4).saturating_mul(3));
    let mut run = Vec::with_capacity(body.len());
    for segment in body.split(|octet| *octet == b'=') {
        run.clear();
        run.extend(segment.iter().filter(|octet| is_digit(**octet)));
        // A lone last character holds six bits and no octet.
        if run.len() % 4 == 1 {
            run.pop();
        }
        if let Ok(octets) = LAX_BASE64.decode(&run) {
            decoded.extend_from_slice(&octets);
        }
    }
    decoded
}

// === impl Base64 ===

impl Base64 {
    pub(in crate::scan) const STANDARD: Self =
        Self { by_line: false, joined: false, placed: false, url: false };

    /// As what else this body is read: under every combination of what sets it apart. Nothing for ordinary mail.
    pub(in crate::scan) fn others(body: &[u8]) -> Vec<Self> {
        let odd = Self::all_that_matters(body);
        let both = |matters: bool| [false, true].into_iter().filter(move |on| matters || !on);
        let mut readings = Vec::new();
        for by_line in both(odd.by_line) {
            for joined in both(odd.joined) {
                for placed in both(odd.placed) {
                    readings.extend(both(odd.url).map(|url| Self { by_line, joined, placed, url }));
                }
            }
        }
        readings.retain(|reading| *reading != Self::STANDARD);
        readings
    }

    /// Which differences between readers this body brings to light.
    fn all_that_matters(body: &[u8]) -> Self {
        let digits_end = body.iter().rposition(|octet| is_digit(*octet)).unwrap_or(0);
        let digits = body.get(..digits_end).unwrap_or_default();
        let by_line = digits
            .split_inclusive(|octet| *octet == b'\n')
            .filter(|line| line.ends_with(b"\n"))
            .any(|line| line.iter().filter(|octet| is_digit(**octet)).count() % 4 != 0);
        Self {
            by_line,
            joined: memchr::memchr(b'=', digits).is_some(),
            placed: digits.iter().any(|octet| is_junk(*octet)),
            url: memchr::memchr2(b'-', b'_', body).is_some(),
        }
    }

    pub(in crate::scan) fn decode(self, body: &[u8]) -> Vec<u8> {
        if self == Self::STANDARD {
            return decode(body);
        }
        let mapped: Vec<u8> = body.iter().map(|octet| self.mapped(*octet)).collect();
        decode(&mapped)
    }

    /// What the standard's reading takes as this one takes the octet.
    fn mapped(self, octet: u8) -> u8 {
        match octet {
            b'=' if self.joined => b' ',
            b'\n' if self.by_line => b'=',
            b'-' if self.url => b'+',
            b'_' if self.url => b'/',
            junk if self.placed && is_junk(junk) => b'A',
            octet => octet,
        }
    }
}

fn is_digit(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/')
}

fn is_junk(octet: u8) -> bool {
    !is_digit(octet) && !octet.is_ascii_whitespace() && octet != b'='
}

/// Bits that stand over at the end of a run are ignored, and padding has been cut out before.
const LAX_BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
