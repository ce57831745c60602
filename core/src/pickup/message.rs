//! From a file to a mail: its lines, its header section, and the envelope that they ask for.
//!
//! ```text
//! X-Sender: <a@example.org>        the envelope, where it is given: one sender (<> for none), each recipient a field
//! X-Receiver: <b@example.org>
//! From: ..., or Sender: ...        else: one sender,
//! To: ..., Cc: ..., Bcc: ...       and all recipients
//! ```
//! `X-Sender`, `X-Receiver` and `Bcc` are not part of the mail that is sent. What cannot be read as a header section
//! (RFC 5322 section 2.2) is refused rather than guessed at: whoever drops files can be told, and nobody waits.

use std::ops::Range;

use gatepost_smtp::server::{Envelope, Recipient};
use gatepost_smtp::wire::params::{BodyKind, MailParams, RcptParams};
use gatepost_smtp::wire::path::{ForwardPath, Mailbox, ReversePath};
use mail_parser::HeaderValue;
use mail_parser::parsers::MessageStream;

use crate::delivery::RECEIVED_MAX;

/// A file that is a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// From and to whom; each recipient once.
    pub envelope: Envelope,
    /// Header section and body, CRLF lines, without the fields of the envelope.
    pub content: Vec<u8>,
    /// Whether a `Date:` must be added (RFC 6409 section 8.1).
    pub lacks_date: bool,
    /// Whether a `Message-ID:` must be added (RFC 6409 section 8.3).
    pub lacks_message_id: bool,
}

/// Why a file is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAMail {
    /// CR without LF, or NUL.
    #[error("line {0} has a bare CR or a NUL")]
    Octet(usize),
    /// Neither a field nor the rest of one.
    #[error("line {0} is no header field")]
    NoField(usize),
    /// Octets above 127 that are no UTF-8.
    #[error("the header section is neither ASCII nor UTF-8")]
    HeaderCharset,
    /// A field that must be there once.
    #[error("{0} must be there exactly once")]
    Count(&'static str),
    /// `Resent-*` means a second envelope.
    #[error("the envelope of a mail with Resent- fields must be given by X-Sender and X-Receiver")]
    Resent,
    /// A field of addresses with something else in it.
    #[error("{0} has something that is no address")]
    Address(&'static str),
    /// Nobody to send it to.
    #[error("no recipient: X-Receiver, To, Cc and Bcc name nobody")]
    NoRecipient,
    /// More than a mail may have.
    #[error("more than {0} recipients")]
    Recipients(usize),
    /// It has been through too many servers already.
    #[error("more than {RECEIVED_MAX} Received fields: a loop")]
    Loop,
}

/// One field of the header section, by its place in the text.
struct Field {
    name: Range<usize>,
    value: Range<usize>,
    /// With the end of its last line.
    whole: Range<usize>,
}

/// A header section with CRLF lines, and its fields.
struct Header<'a> {
    octets: &'a [u8],
    fields: Vec<Field>,
}

/// Reads a file.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(file: &[u8], recipients_max: usize) -> Result<Dropped, NotAMail> {
    let octets = with_crlf(file)?;
    let (header, body_at) = Header::parse(&octets)?;
    let body = octets.get(body_at..).unwrap_or_default();
    let is_ascii = header.octets.is_ascii();
    if !is_ascii && std::str::from_utf8(header.octets).is_err() {
        return Err(NotAMail::HeaderCharset);
    }
    if header.count("Received") > RECEIVED_MAX {
        return Err(NotAMail::Loop);
    }
    let (reverse_path, paths) = header.envelope()?;
    let mut recipients: Vec<Recipient> = Vec::new();
    for path in paths {
        if recipients.iter().any(|known| known.path == path) {
            continue;
        }
        if recipients.len() >= recipients_max {
            return Err(NotAMail::Recipients(recipients_max));
        }
        recipients.push(Recipient { path, params: RcptParams::default() });
    }
    if recipients.is_empty() {
        return Err(NotAMail::NoRecipient);
    }
    if header.count("From") != 1 {
        return Err(NotAMail::Count("From"));
    }
    let mut content = header.without(&["X-Sender", "X-Receiver", "Bcc"]);
    content.extend_from_slice(b"\r\n");
    content.extend_from_slice(body);
    let body = if body.is_ascii() { BodyKind::SevenBit } else { BodyKind::EightBitMime };
    // A header section in UTF-8 may travel with 8BITMIME only inside of SMTPUTF8 (RFC 6531 section 3.6).
    let params = if is_ascii {
        MailParams { body, ..MailParams::default() }
    } else {
        MailParams { body: BodyKind::EightBitMime, smtputf8: true, ..MailParams::default() }
    };
    let (lacks_date, lacks_message_id) = (header.count("Date") == 0, header.count("Message-ID") == 0);
    Ok(Dropped {
        envelope: Envelope { reverse_path, params, recipients },
        content,
        lacks_date,
        lacks_message_id,
    })
}

/// A file has the line ends of its system. The last line may lack its own.
fn with_crlf(file: &[u8]) -> Result<Vec<u8>, NotAMail> {
    let mut octets = Vec::with_capacity(file.len().saturating_add(file.len() / LINE_OCTETS_GUESS));
    for (number, line) in file.split_inclusive(|octet| *octet == b'\n').enumerate() {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if memchr::memchr2(b'\r', 0, line).is_some() {
            return Err(NotAMail::Octet(number.saturating_add(1)));
        }
        octets.extend_from_slice(line);
        octets.extend_from_slice(b"\r\n");
    }
    Ok(octets)
}

// === impl Header ===

impl<'a> Header<'a> {
    /// The section before the first empty line, and where the body begins.
    fn parse(octets: &'a [u8]) -> Result<(Self, usize), NotAMail> {
        let mut fields: Vec<Field> = Vec::new();
        let mut at = 0_usize;
        for (number, line) in octets.split_inclusive(|octet| *octet == b'\n').enumerate() {
            let end = at.saturating_add(line.len());
            if line == b"\r\n" {
                let header = octets.get(..at).unwrap_or_default();
                return Ok((Self { octets: header, fields }, end));
            }
            let no_field = || NotAMail::NoField(number.saturating_add(1));
            if matches!(line.first(), Some(b' ' | b'\t')) {
                let field = fields.last_mut().ok_or_else(no_field)?;
                field.value.end = end;
                field.whole.end = end;
            } else {
                let colon = memchr::memchr(b':', line).ok_or_else(no_field)?;
                let name = line.get(..colon).unwrap_or_default();
                // RFC 5322 section 2.2 `ftext`: printable ASCII.
                if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
                    return Err(no_field());
                }
                let name = at..at.saturating_add(colon);
                let value = name.end.saturating_add(1)..end;
                fields.push(Field { name, value, whole: at..end });
            }
            at = end;
        }
        Ok((Self { octets, fields }, at))
    }

    fn named<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a [u8]> + 's {
        let fields = self.fields.iter().filter(move |field| self.is(field, name));
        fields.map(|field| self.octets.get(field.value.clone()).unwrap_or_default())
    }

    fn count(&self, name: &str) -> usize {
        self.named(name).count()
    }

    fn is(&self, field: &Field, name: &str) -> bool {
        self.octets.get(field.name.clone()).is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// All fields but these.
    fn without(&self, names: &[&str]) -> Vec<u8> {
        let kept = self.fields.iter().filter(|field| !names.iter().any(|name| self.is(field, name)));
        kept.flat_map(|field| self.octets.get(field.whole.clone()).unwrap_or_default()).copied().collect()
    }

    fn envelope(&self) -> Result<(ReversePath, Vec<ForwardPath>), NotAMail> {
        if self.count("X-Sender") > 0 || self.count("X-Receiver") > 0 {
            return self.given_envelope();
        }
        let is_resent = |field: &Field| {
            let name = self.octets.get(field.name.clone()).unwrap_or_default();
            name.get(..RESENT.len()).is_some_and(|start| start.eq_ignore_ascii_case(RESENT))
        };
        if self.fields.iter().any(is_resent) {
            return Err(NotAMail::Resent);
        }
        let sender = if self.count("Sender") > 0 { "Sender" } else { "From" };
        let mut senders = self.named(sender);
        let (Some(value), None) = (senders.next(), senders.next()) else {
            return Err(NotAMail::Count(sender));
        };
        let [sender]: [Mailbox; 1] =
            addresses(value, sender)?.try_into().map_err(|_| NotAMail::Address(sender))?;
        let mut recipients = Vec::new();
        for name in ["To", "Cc", "Bcc"] {
            for value in self.named(name) {
                recipients.extend(addresses(value, name)?.into_iter().map(ForwardPath::Mailbox));
            }
        }
        Ok((ReversePath::Mailbox(sender), recipients))
    }

    fn given_envelope(&self) -> Result<(ReversePath, Vec<ForwardPath>), NotAMail> {
        let mut senders = self.named("X-Sender");
        let (Some(value), None) = (senders.next(), senders.next()) else {
            return Err(NotAMail::Count("X-Sender"));
        };
        let sender = path(value).parse().map_err(|_| NotAMail::Address("X-Sender"))?;
        let recipients = self.named("X-Receiver").map(|value| path(value).parse());
        let recipients = recipients.collect::<Result<_, _>>().map_err(|_| NotAMail::Address("X-Receiver"))?;
        Ok((sender, recipients))
    }
}

/// A path with its angle brackets, which may be left out.
fn path(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let text = text.trim();
    if text.starts_with('<') { text.to_owned() } else { format!("<{text}>") }
}

/// The mailboxes of a field, those of groups among them. The reader is a lenient one, so each of them must be a mailbox by
/// the grammar of envelopes too.
fn addresses(value: &[u8], name: &'static str) -> Result<Vec<Mailbox>, NotAMail> {
    let wrong = || NotAMail::Address(name);
    match MessageStream::new(value).parse_address() {
        HeaderValue::Address(list) => {
            let each = list.iter().map(|found| found.address.as_deref()?.parse().ok());
            each.collect::<Option<_>>().ok_or_else(wrong)
        }
        HeaderValue::Empty if value.iter().all(u8::is_ascii_whitespace) => Ok(Vec::new()),
        _ => Err(wrong()),
    }
}

const RESENT: &[u8] = b"resent-";
/// For the one octet that a line gets longer by.
const LINE_OCTETS_GUESS: usize = 20;

#[cfg(test)]
mod tests;
