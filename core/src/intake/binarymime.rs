//! BINARYMIME (RFC 3030) to lines that are legal as 8BITMIME (RFC 6152).
//!
//! A leaf part that is declared `binary`, or that is not CRLF lines of at most 998 octets, becomes base64. Multiparts
//! and messages within messages may not be encoded (RFC 2045 section 6.4): they are taken apart and their `binary`
//! becomes `8bit`. Delimiters are those of RFC 2046 section 5.1.1 to the letter; a message that could be taken apart
//! in two ways is refused.
//!
//! The same way leads from 8BITMIME to seven bits, for next hops that take no more (RFC 6152 section 3): leaves with octets
//! above 127 become base64, and `8bit` becomes `7bit`. What was signed is left alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_parser::{MessageParser, MimeHeaders as _};
use memchr::memmem;

/// The message cannot be re-encoded: 554 5.6.1, or 5.6.3 where a next hop needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BinaryMimeError {
    /// Its headers or delimiters are not lines, or its structure is ambiguous.
    #[error("the message cannot be re-encoded")]
    Inconvertible,
    /// Parts within parts beyond `DEPTH_MAX`.
    #[error("the parts of the message are nested too deeply")]
    TooDeep,
}

/// Re-encodes a message. The decoded content of each part stays what it was, octet for octet.
///
/// # Errors
/// See `BinaryMimeError`.
pub fn reencode(message: &[u8]) -> Result<Vec<u8>, BinaryMimeError> {
    reencode_to(message, Target::Lines)
}

/// Re-encodes a message of lines to octets below 128. The decoded content of each part stays what it was.
///
/// # Errors
/// See `BinaryMimeError`; also where the headers have octets above 127, or what is signed has.
pub fn reencode_to_seven_bit(message: &[u8]) -> Result<Vec<u8>, BinaryMimeError> {
    let lines = reencode_to(message, Target::SevenBit)?;
    if lines.is_ascii() { Ok(lines) } else { Err(BinaryMimeError::Inconvertible) }
}

/// What parts must be when all is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Lines,
    SevenBit,
}

fn reencode_to(message: &[u8], target: Target) -> Result<Vec<u8>, BinaryMimeError> {
    let capacity = message.len().saturating_add(message.len() / 2);
    let mut lines = Vec::with_capacity(capacity);
    rewrite(message, Role::Message, target, DEPTH_MAX, &mut lines)?;
    if !lines.ends_with(b"\r\n") {
        lines.extend_from_slice(b"\r\n");
    }
    // Whatever was copied unchanged (headers, delimiters, parts that are encoded already) has to be lines as well.
    if are_lines(&lines) { Ok(lines) } else { Err(BinaryMimeError::Inconvertible) }
}

/// Where an entity stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It has message headers.
    Message,
    /// It has part headers.
    Part,
}

/// How an entity's body is to be treated.
enum Structure {
    Leaf,
    /// `message/*` other than a whole message: may not be encoded (RFC 2046 section 5.2).
    FixedLeaf,
    Message,
    Multipart(Vec<u8>),
}

/// `Content-Transfer-Encoding` (RFC 2045 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TransferEncoding {
    /// `7bit`, or nothing said.
    Lines,
    /// `8bit`: lines as well.
    EightBit,
    Binary,
    /// `base64`, `quoted-printable` or something else.
    Encoded,
}

/// The place of a delimiter line in a multipart's body.
struct Delimiter {
    /// Of its two hyphens.
    start: usize,
    /// Behind its line end.
    end: usize,
}

/// The fields of a header, each with its continuation lines and line end, and the blank line behind them.
struct Header<'a> {
    fields: Vec<&'a [u8]>,
    structure: Structure,
    encoding: TransferEncoding,
    /// Whether a signature stands beside its parts (RFC 1847 section 2.1): they must not be touched.
    is_signed: bool,
}

fn rewrite(
    entity: &[u8],
    role: Role,
    target: Target,
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), BinaryMimeError> {
    let depth = depth.checked_sub(1).ok_or(BinaryMimeError::TooDeep)?;
    let (header, body) = split(entity);
    let header = Header::parse(header)?;
    let was_binary = header.encoding == TransferEncoding::Binary;
    let composite_encoding = match (target, header.encoding) {
        (Target::Lines, TransferEncoding::Binary) => Some("8bit"),
        (Target::SevenBit, TransferEncoding::Binary | TransferEncoding::EightBit) => Some("7bit"),
        _ => None,
    };
    if target == Target::SevenBit && header.is_signed && !body.is_ascii() {
        return Err(BinaryMimeError::Inconvertible);
    }
    let is_fit =
        !was_binary && (target == Target::Lines || body.is_ascii()) && are_lines_but_for_the_end(body);
    match &header.structure {
        Structure::Leaf if header.encoding != TransferEncoding::Encoded && !is_fit => {
            header.write(Some("base64"), role, out);
            encode_base64(body, out);
        }
        Structure::Leaf | Structure::FixedLeaf => {
            header.write(composite_encoding, role, out);
            out.extend_from_slice(body);
        }
        Structure::Message => {
            header.write(composite_encoding, role, out);
            rewrite(body, Role::Message, target, depth, out)?;
        }
        Structure::Multipart(boundary) => {
            header.write(composite_encoding, role, out);
            rewrite_parts(body, boundary, target, depth, out)?;
        }
    }
    Ok(())
}

fn rewrite_parts(
    body: &[u8],
    boundary: &[u8],
    target: Target,
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), BinaryMimeError> {
    let delimiters = delimiters(body, boundary)?;
    let mut copied = 0_usize;
    for pair in delimiters.windows(2) {
        let [before, after] = pair else { continue };
        // The line end before a delimiter belongs to the delimiter. A part without even that is empty.
        let part = before.end..after.start.saturating_sub(2);
        let Some(octets) = body.get(part.clone()) else { continue };
        out.extend_from_slice(body.get(copied..part.start).unwrap_or_default());
        rewrite(octets, Role::Part, target, depth, out)?;
        copied = part.end;
    }
    out.extend_from_slice(body.get(copied..).unwrap_or_default());
    Ok(())
}

/// All delimiter lines, the closing one last.
fn delimiters(body: &[u8], boundary: &[u8]) -> Result<Vec<Delimiter>, BinaryMimeError> {
    let dashed = [b"--", boundary].concat();
    let mut found = Vec::new();
    for start in memmem::find_iter(body, &dashed) {
        let (before, from) = body.split_at_checked(start).unwrap_or_default();
        if !(before.is_empty() || before.ends_with(b"\r\n")) {
            continue;
        }
        let rest = from.get(dashed.len()..).unwrap_or_default();
        let (is_close, rest) = rest.strip_prefix(b"--").map_or((false, rest), |rest| (true, rest));
        let blank = rest.iter().take_while(|octet| matches!(octet, b' ' | b'\t')).count();
        let rest = rest.get(blank..).unwrap_or_default();
        let line_end = if rest.starts_with(b"\r\n") { 2 } else { 0 };
        // The boundary as the beginning of another line is a delimiter to some readers and none to others.
        if line_end == 0 && !(is_close && rest.is_empty()) {
            return Err(BinaryMimeError::Inconvertible);
        }
        let end = body.len().saturating_sub(rest.len()).saturating_add(line_end);
        found.push(Delimiter { start, end });
        if is_close {
            return Ok(found);
        }
    }
    Err(BinaryMimeError::Inconvertible)
}

// === impl Header ===

impl<'a> Header<'a> {
    fn parse(octets: &'a [u8]) -> Result<Self, BinaryMimeError> {
        let fields = fields(octets);
        let count = |name: &str| fields.iter().filter(|field| has_name(field, name)).count();
        if count("content-type") > 1 || count(TRANSFER_ENCODING) > 1 {
            return Err(BinaryMimeError::Inconvertible);
        }
        let parsed = MessageParser::default().parse_headers(octets);
        let kind = parsed.as_ref().and_then(|message| message.content_type());
        let structure = match kind {
            None => Structure::Leaf,
            Some(kind) if kind.ctype().eq_ignore_ascii_case("multipart") => {
                let boundary = kind.attribute("boundary").filter(|boundary| !boundary.is_empty());
                Structure::Multipart(boundary.ok_or(BinaryMimeError::Inconvertible)?.as_bytes().to_vec())
            }
            Some(kind) if kind.ctype().eq_ignore_ascii_case("message") => {
                let whole = |subtype: &str| {
                    ["rfc822", "global"].iter().any(|known| subtype.eq_ignore_ascii_case(known))
                };
                if kind.subtype().is_some_and(whole) { Structure::Message } else { Structure::FixedLeaf }
            }
            Some(_) => Structure::Leaf,
        };
        let encoding = parsed.as_ref().and_then(|message| message.content_transfer_encoding()).map(str::trim);
        let encoding = match encoding.map(str::to_ascii_lowercase).as_deref() {
            None | Some("7bit") => TransferEncoding::Lines,
            Some("8bit") => TransferEncoding::EightBit,
            Some("binary") => TransferEncoding::Binary,
            Some(_) => TransferEncoding::Encoded,
        };
        // Encoded, its parts cannot be seen (RFC 2045 section 6.4 forbids it).
        if encoding == TransferEncoding::Encoded && !matches!(structure, Structure::Leaf) {
            return Err(BinaryMimeError::Inconvertible);
        }
        let is_signed = matches!(structure, Structure::Multipart(_))
            && kind.and_then(|kind| kind.subtype()).is_some_and(|it| it.eq_ignore_ascii_case("signed"));
        Ok(Self { fields, structure, encoding, is_signed })
    }

    /// Writes the fields and the blank line; where an encoding is given it takes the place of the old one.
    fn write(&self, encoding: Option<&str>, role: Role, out: &mut Vec<u8>) {
        for field in &self.fields {
            if encoding.is_none() || !has_name(field, TRANSFER_ENCODING) {
                out.extend_from_slice(field);
            }
        }
        if let Some(encoding) = encoding {
            out.extend_from_slice(format!("Content-Transfer-Encoding: {encoding}\r\n").as_bytes());
            // Without it the encoding would mean nothing (RFC 2045 section 4).
            if role == Role::Message && !self.fields.iter().any(|field| has_name(field, "mime-version")) {
                out.extend_from_slice(b"MIME-Version: 1.0\r\n");
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Header fields and body, without the blank line between them.
fn split(entity: &[u8]) -> (&[u8], &[u8]) {
    if let Some(body) = entity.strip_prefix(b"\r\n") {
        return (&[], body);
    }
    let Some(end) = memmem::find(entity, b"\r\n\r\n") else { return (entity, &[]) };
    let (header, rest) = entity.split_at_checked(end.saturating_add(2)).unwrap_or((entity, &[]));
    (header, rest.strip_prefix(b"\r\n").unwrap_or(rest))
}

fn fields(header: &[u8]) -> Vec<&[u8]> {
    let mut fields = Vec::new();
    let mut start = 0_usize;
    for end in memmem::find_iter(header, b"\r\n") {
        let next = end.saturating_add(2);
        if matches!(header.get(next), Some(b' ' | b'\t')) {
            continue;
        }
        fields.push(header.get(start..next).unwrap_or_default());
        start = next;
    }
    fields.extend(header.get(start..).filter(|rest| !rest.is_empty()));
    fields
}

fn has_name(field: &[u8], name: &str) -> bool {
    let found = field.split(|octet| *octet == b':').next().unwrap_or_default();
    found.trim_ascii_end().eq_ignore_ascii_case(name.as_bytes())
}

/// Lines of 76 characters (RFC 2045 section 6.8), without a line end behind the last.
fn encode_base64(octets: &[u8], out: &mut Vec<u8>) {
    for (number, chunk) in octets.chunks(BASE64_OCTETS_PER_LINE).enumerate() {
        if number > 0 {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(STANDARD.encode(chunk).as_bytes());
    }
}

fn are_lines_but_for_the_end(octets: &[u8]) -> bool {
    octets.is_empty()
        || octets.ends_with(b"\r\n") && are_lines(octets)
        || are_lines(&[octets, b"\r\n"].concat())
}

/// CRLF lines of at most 998 octets without NUL (RFC 6152 section 3, RFC 5322 section 2.1.1).
fn are_lines(octets: &[u8]) -> bool {
    let Some(octets) = octets.strip_suffix(b"\n") else { return octets.is_empty() };
    octets.split(|octet| *octet == b'\n').all(|line| {
        line.strip_suffix(b"\r")
            .is_some_and(|line| line.len() <= LINE_OCTETS_MAX && memchr::memchr2(b'\r', 0, line).is_none())
    })
}

/// Far more than any mail has, far less than the stack holds.
pub const DEPTH_MAX: usize = 32;
const TRANSFER_ENCODING: &str = "content-transfer-encoding";
/// Without CRLF.
const LINE_OCTETS_MAX: usize = 998;
/// 57 octets are 76 characters.
const BASE64_OCTETS_PER_LINE: usize = 57;

#[cfg(test)]
mod tests;
