//! MIME as far as a scanner needs it: where a part's header section ends, what it says about the body, where the parts of a
//! multipart lie, and what base64 and quoted-printable decode to.
//!
//! Field values are parsed by mail-parser. The tree is walked here and not there, for two reasons. Depth, parts and header
//! sections must be bounded *before* anything is built of them. And a reader may see a part where a strict parser sees none:
//! the rules here are as lax as the laxest reader, since what a scanner overlooks is what an attacker sends.

mod base64;
mod boundary;
mod fields;
mod parts;
mod quoted;

use std::borrow::Cow;

use mail_parser::{HeaderName, HeaderValue, MessageParser};

use self::base64::Base64;
use super::verdict::Obstacle;
use boundary::LaxTypes;
use fields::{Section, field_value};
use quoted::Quoted;

pub(super) use self::base64::decode as decode_base64;
pub(super) use boundary::has_delimiter;
pub(super) use fields::is_field;
pub(super) use parts::Parts;

/// A message or a part: what its MIME fields say, and its body. Never empty: `encodings` holds `Identity` if nothing is said.
#[derive(Debug)]
pub(super) struct Entity<'a> {
    /// Of every `Content-Type` field, in order; usually one or none.
    pub(super) media_types: Vec<MediaType>,
    /// What a file that is made of it would be called, for reports; as the peer wrote it.
    pub(super) file_name: Option<String>,
    /// What the same fields mean to laxer readers; only the boundaries that `media_types` does not have.
    pub(super) lax: LaxTypes,
    /// The different ones of all `Content-Transfer-Encoding` fields; usually one.
    pub(super) encodings: Vec<TransferEncoding>,
    /// Whether the fields hold octets or words that readers take for different things.
    pub(super) is_ambiguous: bool,
    /// Whether the standard's reading takes the beginning of the body for fields still.
    pub(super) is_cut: bool,
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
    Base64(Base64),
    Identity,
    QuotedPrintable(Quoted),
}

/// Undoes a transfer encoding the way the most forgiving reader does: nothing is an error.
pub(super) fn decode(body: &[u8], encoding: TransferEncoding) -> Cow<'_, [u8]> {
    match encoding {
        TransferEncoding::Identity => Cow::Borrowed(body),
        TransferEncoding::Base64(reading) => Cow::Owned(reading.decode(body)),
        TransferEncoding::QuotedPrintable(reading) => Cow::Owned(reading.decode(body)),
    }
}

/// A file that no one calls a message, if it is opened as one by who knows its kind (`.eml`, `.mht`), from its first line on:
/// before the first empty line, it has a field that hides content from a look at its octets. Readers pass over this or that in
/// front of it, so that it may begin with anything that is a text; and a line of blanks does not end the fields.
pub(super) fn as_message(octets: &[u8]) -> Option<&[u8]> {
    let octets = octets.strip_prefix(BYTE_ORDER_MARK).unwrap_or(octets);
    let from = octets.iter().position(|octet| !matches!(octet, b'\r' | b'\n'))?;
    let octets = octets.get(from..)?;
    let mut rest = octets;
    let (mut begins, mut is_text) = (false, true);
    while let Some((line, behind)) = split_line(rest) {
        let is_far = octets.len().saturating_sub(rest.len()) > MESSAGE_LOOK_OCTETS;
        let is_field = fields::is_field(line);
        begins |= rest.len() == octets.len() && (is_field || line.starts_with(b"From "));
        let goes_on = begins || is_text;
        if line.is_empty() || !goes_on || (is_far && !is_field && !matches!(line.first(), Some(b' ' | b'\t')))
        {
            return None;
        }
        if fields::is_mime_field(line) {
            return Some(octets);
        }
        is_text &= !line.iter().any(|octet| octet.is_ascii_control() && *octet != b'\t');
        rest = behind;
    }
    None
}

/// The first line and what is behind it, for the reader that ends lines in the most places: at LF, and at CR alone.
fn split_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if text.is_empty() {
        return None;
    }
    let (line, end) = text.split_at_checked(memchr::memchr2(b'\r', b'\n', text).unwrap_or(text.len()))?;
    let returns = end.iter().take_while(|octet| **octet == b'\r').count();
    let behind = match end.get(returns) {
        Some(b'\n') => end.get(returns.saturating_add(1)..),
        _ => end.get(1..),
    };
    Some((line, behind.unwrap_or_default()))
}

// === impl Entity ===

impl<'a> Entity<'a> {
    /// Splits header section and body and reads the MIME fields. More than one entity where readers disagree about the end
    /// of the header section; the first is the standard's.
    pub(super) fn readings(octets: &'a [u8]) -> Result<Vec<Self>, Obstacle> {
        let octets = octets.strip_prefix(BYTE_ORDER_MARK).unwrap_or(octets);
        Ok(fields::sections(octets)?.iter().map(Self::new).collect())
    }

    fn new(section: &Section<'a>) -> Self {
        let mut entity = Self {
            media_types: Vec::new(),
            file_name: disposed_name(&section.disposition),
            lax: LaxTypes::default(),
            encodings: Vec::new(),
            is_ambiguous: section.is_ambiguous,
            is_cut: section.is_cut,
            body: section.body,
        };
        let parser = MessageParser::new().with_mime_headers();
        if let Some(parsed) = parser.parse_headers(&section.fields) {
            for header in parsed.headers() {
                match (&header.name, &header.value) {
                    (HeaderName::ContentType, HeaderValue::ContentType(value)) => {
                        entity.media_types.push(MediaType::new(value));
                        entity.file_name = entity.file_name.take().or_else(|| parameter(value, "name"));
                    }
                    (HeaderName::ContentTransferEncoding, HeaderValue::Text(value)) => {
                        entity.add_encodings(value.as_bytes());
                    }
                    _ => {}
                }
            }
        }
        for line in section.fields.split(|octet| *octet == b'\n') {
            if let Some(value) = field_value(line, "content-type") {
                entity.lax.add(value);
            }
            if let Some(value) = field_value(line, "content-transfer-encoding") {
                entity.add_encodings(value);
            }
        }
        let media_types = &entity.media_types;
        entity.lax.boundaries.retain(|lax| !media_types.iter().any(|media| media.boundaries.contains(lax)));
        if entity.encodings.contains(&TransferEncoding::Base64(Base64::STANDARD)) {
            for reading in Base64::others(entity.body) {
                entity.add_encoding(TransferEncoding::Base64(reading));
            }
        }
        if entity.encodings.contains(&TransferEncoding::QuotedPrintable(Quoted::STANDARD)) {
            for reading in Quoted::others(entity.body) {
                entity.add_encoding(TransferEncoding::QuotedPrintable(reading));
            }
        }
        if entity.encodings.is_empty() {
            entity.encodings.push(TransferEncoding::Identity);
        }
        entity
    }

    /// Whether every reader takes it for a message and nothing else (RFC 2046 section 5.2.1, RFC 6532 section 3.7).
    pub(super) fn is_plainly_message(&self) -> bool {
        let is_message = |media: &MediaType| {
            media.main == "message" && matches!(media.sub.as_str(), "rfc822" | "global" | "news")
        };
        self.media_types.len() <= 1 && self.media_types.iter().all(is_message)
    }

    /// Whether every reader shows it as a text, unless its name says otherwise.
    pub(super) fn is_text(&self) -> bool {
        self.media_types.iter().all(|media| media.main == "text")
    }

    /// All that the value names, wherever in it: between comments, in quotes, behind other words. Each of them is what
    /// some reader finds there.
    fn add_encodings(&mut self, value: &[u8]) {
        let lower = value.to_ascii_lowercase();
        let bare = boundary::bare(&lower);
        let has = |word: &[u8]| [&lower, &bare].iter().any(|text| memchr::memmem::find(text, word).is_some());
        // Some readers decode an encoded word here and others do not.
        let is_coded = has(b"=?");
        self.is_ambiguous |= is_coded;
        let is_base64 = has(b"base64");
        let is_quoted = has(b"quoted-printable");
        if is_base64 || is_coded || has(b"64") {
            self.add_encoding(TransferEncoding::Base64(Base64::STANDARD));
        }
        if is_quoted || is_coded || has(b"quoted") || has(b"printable") {
            self.add_encoding(TransferEncoding::QuotedPrintable(Quoted::STANDARD));
        }
        if !is_base64 && !is_quoted {
            self.add_encoding(TransferEncoding::Identity);
        }
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
}

/// The name that most readers go by.
fn disposed_name(disposition: &[u8]) -> Option<String> {
    if disposition.trim_ascii().is_empty() {
        return None;
    }
    let parsed = MessageParser::new().with_mime_headers().parse_headers(disposition)?;
    parsed.headers().iter().find_map(|header| match &header.value {
        HeaderValue::ContentType(value) => parameter(value, "filename"),
        _ => None,
    })
}

/// One that is there and says something.
fn parameter(value: &mail_parser::ContentType<'_>, name: &str) -> Option<String> {
    let parameters = value.attributes.as_deref().unwrap_or_default();
    let named = parameters.iter().find(|parameter| parameter.name.eq_ignore_ascii_case(name))?;
    let text = named.value.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// A boundary without trailing blanks. The parser has put a replacement character for octets that are not UTF-8; what stands
/// before it is enough, since a delimiter need only begin with the boundary.
fn boundary_octets(value: &str) -> Vec<u8> {
    let readable = value.split(char::REPLACEMENT_CHARACTER).next().unwrap_or_default();
    readable.trim_end().as_bytes().to_vec()
}

/// Some programs put it in front of any text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// The header section of a message that was saved is within this; beyond it, only what goes on like one is looked through.
const MESSAGE_LOOK_OCTETS: usize = 64 * 1024;

#[cfg(test)]
mod tests;
