//! MIME as far as a scanner needs it: where a part's header section ends, what it says about the body, where the parts of a
//! multipart lie, and what base64 and quoted-printable decode to.
//!
//! Field values are parsed by mail-parser. The tree is walked here and not there, for two reasons. Depth, parts and header
//! sections must be bounded *before* anything is built of them. And a reader may see a part where a strict parser sees none:
//! the rules here are as lax as the laxest reader, since what a scanner overlooks is what an attacker sends.

mod boundary;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use mail_parser::{HeaderName, HeaderValue, MessageParser};

use super::verdict::Obstacle;
use boundary::LaxTypes;

pub(super) use boundary::has_delimiter;

/// A message or a part: what its MIME fields say, and its body. Never empty: `encodings` holds `Identity` if nothing is said.
#[derive(Debug)]
pub(super) struct Entity<'a> {
    /// Of every `Content-Type` field, in order; usually one or none.
    pub(super) media_types: Vec<MediaType>,
    /// What the same fields mean to laxer readers; only the boundaries that `media_types` does not have.
    pub(super) lax: LaxTypes,
    /// The different ones of all `Content-Transfer-Encoding` fields; usually one.
    pub(super) encodings: Vec<TransferEncoding>,
    /// What follows the header section.
    pub(super) body: &'a [u8],
}

/// The value of a `Content-Type` field.
#[derive(Debug)]
pub(super) struct MediaType {
    label: String,
    main: String,
    sub: String,
    /// Every `boundary` parameter, if the type is `multipart`; usually one.
    pub(super) boundaries: Vec<Vec<u8>>,
}

/// How a body is encoded (RFC 2045 section 6). An unknown encoding is `Identity`: a reader that does not know it shows octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TransferEncoding {
    Base64,
    /// Base64 to a reader that begins anew on every line.
    Base64ByLine,
    /// Base64 to a reader that skips padding as it skips any other junk.
    Base64Joined,
    /// Base64 to a reader for whom a junk character takes the place of six bits.
    Base64Placed,
    /// Base64 to a reader that knows the alphabet of RFC 4648 section 5 too.
    Base64Url,
    Identity,
    QuotedPrintable,
}

/// The parts of a multipart body: what stands between lines that begin with `--` and the boundary.
///
/// RFC 2046 wants the rest of such a line blank; many readers take any line with that beginning, and so does this. Preamble
/// and blank pieces are left out, the epilogue is not: some readers go on after the closing line.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    rest: Option<&'a [u8]>,
    delimiter: Vec<u8>,
}

/// The MIME fields of a header section, unfolded, and the body behind it.
type HeaderReading<'a> = (Vec<u8>, &'a [u8]);

/// Undoes a transfer encoding the way the most forgiving reader does: nothing is an error.
pub(super) fn decode(body: &[u8], encoding: TransferEncoding) -> Cow<'_, [u8]> {
    match encoding {
        TransferEncoding::Identity => Cow::Borrowed(body),
        TransferEncoding::Base64 => Cow::Owned(decode_base64(body)),
        TransferEncoding::Base64ByLine => {
            Cow::Owned(decode_mapped(body, |octet| if octet == b'\n' { b'=' } else { octet }))
        }
        TransferEncoding::Base64Joined => {
            Cow::Owned(decode_mapped(body, |octet| if octet == b'=' { b' ' } else { octet }))
        }
        TransferEncoding::Base64Placed => {
            Cow::Owned(decode_mapped(body, |octet| if is_junk(octet) { b'A' } else { octet }))
        }
        TransferEncoding::Base64Url => Cow::Owned(decode_mapped(body, |octet| match octet {
            b'-' => b'+',
            b'_' => b'/',
            octet => octet,
        })),
        TransferEncoding::QuotedPrintable => Cow::Owned(decode_quoted_printable(body)),
    }
}

// === impl Entity ===

impl<'a> Entity<'a> {
    /// Splits header section and body and reads the MIME fields. More than one entity where readers disagree about the end
    /// of the header section; the first is the standard's.
    pub(super) fn readings(octets: &'a [u8]) -> Result<Vec<Self>, Obstacle> {
        let readings = mime_fields(octets)?;
        Ok(readings.into_iter().map(|(fields, body)| Self::new(&fields, body)).collect())
    }

    fn new(fields: &[u8], body: &'a [u8]) -> Self {
        let mut entity =
            Self { media_types: Vec::new(), lax: LaxTypes::default(), encodings: Vec::new(), body };
        let parser = MessageParser::new().with_mime_headers();
        if let Some(parsed) = parser.parse_headers(fields) {
            for header in parsed.headers() {
                match (&header.name, &header.value) {
                    (HeaderName::ContentType, HeaderValue::ContentType(value)) => {
                        entity.media_types.push(MediaType::new(value));
                    }
                    (HeaderName::ContentTransferEncoding, HeaderValue::Text(value)) => {
                        TransferEncoding::named_in(value).for_each(|encoding| entity.add_encoding(encoding));
                    }
                    _ => {}
                }
            }
        }
        fields.split(|octet| *octet == b'\n').filter_map(type_value).for_each(|value| entity.lax.add(value));
        let media_types = &entity.media_types;
        entity.lax.boundaries.retain(|lax| !media_types.iter().any(|media| media.boundaries.contains(lax)));
        if entity.encodings.contains(&TransferEncoding::Base64) {
            base64_readings(body).for_each(|encoding| entity.add_encoding(encoding));
        }
        if entity.encodings.is_empty() {
            entity.encodings.push(TransferEncoding::Identity);
        }
        entity
    }

    fn add_encoding(&mut self, encoding: TransferEncoding) {
        if !self.encodings.contains(&encoding) {
            self.encodings.push(encoding);
        }
    }
}

// === impl MediaType ===

impl MediaType {
    fn new(value: &mail_parser::ContentType<'_>) -> Self {
        let main = value.c_type.to_ascii_lowercase();
        let sub = value.c_subtype.as_deref().unwrap_or("").to_ascii_lowercase();
        let parameters = value.attributes.as_deref().unwrap_or_default();
        let mut boundaries: Vec<Vec<u8>> = Vec::new();
        for parameter in parameters {
            let wanted = main == "multipart" && parameter.name.eq_ignore_ascii_case("boundary");
            let boundary = boundary_octets(&parameter.value);
            if wanted && !parameter.value.is_empty() && !boundaries.contains(&boundary) {
                boundaries.push(boundary);
            }
        }
        let file = parameters.iter().find(|parameter| parameter.name.eq_ignore_ascii_case("name"));
        let label = match file {
            Some(file) => format!("{main}/{sub} {}", file.value),
            None => format!("{main}/{sub}"),
        };
        Self { label, main, sub, boundaries }
    }

    /// For reports: the type and the file's name, as the peer wrote them.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    pub(super) fn is(&self, main: &str, sub: &str) -> bool {
        self.main == main && self.sub == sub
    }

    /// Whether the body is a message (RFC 2046 section 5.2.1, RFC 6532 section 3.7).
    pub(super) fn is_message(&self) -> bool {
        self.main == "message" && matches!(self.sub.as_str(), "rfc822" | "global" | "news")
    }
}

// === impl TransferEncoding ===

impl TransferEncoding {
    /// All that the value names, wherever in it: between comments, in quotes, behind other words. Each of them is what
    /// some reader finds there.
    fn named_in(value: &str) -> impl Iterator<Item = Self> {
        let value = value.to_ascii_lowercase();
        let base64 = value.contains("base64").then_some(Self::Base64);
        let quoted = value.contains("quoted-printable").then_some(Self::QuotedPrintable);
        let neither = (base64.is_none() && quoted.is_none()).then_some(Self::Identity);
        [base64, quoted, neither].into_iter().flatten()
    }
}

// === impl Parts ===

impl<'a> Parts<'a> {
    pub(super) fn new(body: &'a [u8], boundary: &[u8]) -> Self {
        let delimiter = [b"--", boundary].concat();
        let mut parts = Self { rest: Some(body), delimiter };
        // The preamble.
        parts.take_piece();
        parts
    }

    /// What stands before the next delimiter line, and moves behind that line.
    fn take_piece(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let hit = memchr::memmem::find_iter(rest, &self.delimiter)
            .find(|at| at.checked_sub(1).is_none_or(|before| rest.get(before) == Some(&b'\n')));
        let Some(at) = hit else {
            self.rest = None;
            return Some(rest);
        };
        let (piece, delimiter_on) = rest.split_at_checked(at)?;
        self.rest =
            memchr::memchr(b'\n', delimiter_on).and_then(|end| delimiter_on.get(end.saturating_add(1)..));
        Some(piece)
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let piece = self.take_piece()?;
            if !piece.trim_ascii().is_empty() {
                return Some(piece);
            }
        }
    }
}

/// A boundary without trailing blanks. The parser has put a replacement character for octets that are not UTF-8; what stands
/// before it is enough, since a delimiter need only begin with the boundary.
fn boundary_octets(value: &str) -> Vec<u8> {
    let readable = value.split(char::REPLACEMENT_CHARACTER).next().unwrap_or_default();
    readable.trim_end().as_bytes().to_vec()
}

/// The MIME fields of a header section, unfolded, one a line, and the body, once for every place where some reader ends the
/// section: at the first empty line, at the first line of blanks alone (RFC 5322 section 4.2 calls it a fold, many readers an
/// end), and before the first line that is neither a field nor the folded rest of one. Usually they are one place.
fn mime_fields(octets: &[u8]) -> Result<Vec<HeaderReading<'_>>, Obstacle> {
    let mut readings = Vec::new();
    let mut fields = Vec::new();
    let (mut wanted, mut blank_seen, mut stray_seen) = (false, false, false);
    let mut rest = octets;
    loop {
        if octets.len().saturating_sub(rest.len()) > HEADER_OCTETS_MAX {
            return Err(Obstacle::HeadersTooLong);
        }
        let (line, after) =
            match memchr::memchr(b'\n', rest).and_then(|end| rest.split_at_checked(end.saturating_add(1))) {
                Some(split) => split,
                None => (rest, &[][..]),
            };
        let text = line.trim_ascii_end();
        if line.is_empty() || matches!(line, b"\n" | b"\r\n") {
            readings.insert(0, (ended(&fields), after));
            return Ok(readings);
        }
        let folded = matches!(line.first(), Some(b' ' | b'\t'));
        if text.is_empty() && !blank_seen {
            blank_seen = true;
            readings.push((ended(&fields), after));
        } else if !folded && !stray_seen && !blank_seen && memchr::memchr(b':', text).is_none() {
            stray_seen = true;
            readings.push((ended(&fields), rest));
        }
        rest = after;
        if folded {
            if wanted {
                fields.push(b' ');
                fields.extend_from_slice(text.trim_ascii_start());
            }
        } else {
            wanted = is_mime_field(text);
            if wanted {
                if !fields.is_empty() {
                    fields.extend_from_slice(b"\r\n");
                }
                fields.extend_from_slice(text);
            }
        }
        if fields.len() > MIME_FIELD_OCTETS_MAX {
            return Err(Obstacle::HeadersTooLong);
        }
    }
}

/// The fields and the empty line that the parser wants behind them.
fn ended(fields: &[u8]) -> Vec<u8> {
    [fields, b"\r\n\r\n"].concat()
}

/// The value of an unfolded line, if it is a `Content-Type`.
fn type_value(line: &[u8]) -> Option<&[u8]> {
    let (name, value) = line.split_at_checked(memchr::memchr(b':', line)?)?;
    name.trim_ascii_end().eq_ignore_ascii_case(b"content-type").then(|| value.get(1..))?
}

fn is_mime_field(line: &[u8]) -> bool {
    let Some((name, _)) = memchr::memchr(b':', line).and_then(|colon| line.split_at_checked(colon)) else {
        return false;
    };
    let name = name.trim_ascii_end();
    name.eq_ignore_ascii_case(b"content-type") || name.eq_ignore_ascii_case(b"content-transfer-encoding")
}

/// As what else a base64 body is read where it is not as RFC 2045 section 6.8 wants it. Nothing for ordinary mail.
fn base64_readings(body: &[u8]) -> impl Iterator<Item = TransferEncoding> {
    let is_digit = |octet: &u8| is_base64_digit(*octet);
    let digits_end = body.iter().rposition(is_digit).unwrap_or(0);
    let digits = body.get(..digits_end).unwrap_or_default();
    let uneven = digits
        .split_inclusive(|octet| *octet == b'\n')
        .filter(|line| line.ends_with(b"\n"))
        .any(|line| line.iter().filter(|octet| is_digit(octet)).count() % 4 != 0);
    let joined = memchr::memchr(b'=', digits).is_some();
    let placed = digits.iter().any(|octet| is_junk(*octet));
    let url = memchr::memchr2(b'-', b'_', body).is_some();
    [
        uneven.then_some(TransferEncoding::Base64ByLine),
        joined.then_some(TransferEncoding::Base64Joined),
        placed.then_some(TransferEncoding::Base64Placed),
        url.then_some(TransferEncoding::Base64Url),
    ]
    .into_iter()
    .flatten()
}

fn is_base64_digit(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/')
}

fn is_junk(octet: u8) -> bool {
    !is_base64_digit(octet) && !octet.is_ascii_whitespace() && octet != b'='
}

fn decode_mapped(body: &[u8], map: impl Fn(u8) -> u8) -> Vec<u8> {
    let mapped: Vec<u8> = body.iter().map(|octet| map(*octet)).collect();
    decode_base64(&mapped)
}

/// Skips what is not of the alphabet. Padding ends one run and begins the next: readers differ in whether they go on after it,
/// and going on shows the engine what either of them would see.
fn decode_base64(body: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(body.len().div_ceil(4).saturating_mul(3));
    let mut run = Vec::with_capacity(body.len());
    for segment in body.split(|octet| *octet == b'=') {
        run.clear();
        run.extend(segment.iter().filter(|octet| is_base64_digit(**octet)));
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

/// `=` that begins neither an octet nor a soft line break stands for itself.
fn decode_quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = memchr::memchr(b'=', rest) {
        let (literal, escape) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        decoded.extend_from_slice(literal);
        let after = escape.get(1..).unwrap_or_default();
        rest = if let Some((octet, after)) = hex_octet(after) {
            decoded.push(octet);
            after
        } else if let Some(after) = soft_break(after) {
            after
        } else {
            decoded.push(b'=');
            after
        };
    }
    decoded.extend_from_slice(rest);
    decoded
}

fn hex_octet(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, after) = text.split_at_checked(2)?;
    let value = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    // `from_str_radix` takes a sign.
    digits.iter().all(u8::is_ascii_hexdigit).then_some((value, after))
}

/// Blanks and a line end (RFC 2045 section 6.7 rule 5; blanks may have been added on the way).
fn soft_break(text: &[u8]) -> Option<&[u8]> {
    let blanks = text.iter().take_while(|octet| matches!(octet, b' ' | b'\t')).count();
    let line_end = text.get(blanks..)?;
    line_end.strip_prefix(b"\r\n").or_else(|| line_end.strip_prefix(b"\n"))
}

/// Bits that stand over at the end of a run are ignored, and padding has been cut out before.
const LAX_BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A thousand recipients and a long chain of signatures stay under a quarter of this.
const HEADER_OCTETS_MAX: usize = 1024 * 1024;
/// A type with a long file name in many RFC 2231 pieces has some 2 KiB. The parser compares parameters with each other, so this
/// also bounds its time.
const MIME_FIELD_OCTETS_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests;
