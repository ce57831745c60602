//! The payloads of messages and of what becomes of them.
//!
//! A text is its length in 4 octets and its UTF-8. An option is an octet 0, or 1 and its value. Paths and parameters
//! stand as they do on the wire (RFC 5321), which will not change.
//!
//! Message (kind 3): id (8), octets of the head (4), head, body.
//! Head: reverse path, MAIL parameters, number of recipients (4), each: forward path, RCPT parameters; session,
//! listener, peer, HELO name (texts), ESMTP (1), option of TLS (version, cipher), option of the user, received at (8);
//! trace headers (as a text); option of the stamp (a text); option of the body file (name,
//! octets (8), BLAKE3 (32)). Where that option is set the record has no body of its own. Since version 3, of a mail that
//! went on from an address of ours: option of the sender that is named there (a text), number of recipients that stand for
//! such an address (4), each: recipient's index (4), the address.
//!
//! State and done (kinds 4 and 5): id (8), attempts (4), not before (8), number of changes (4), each: recipient's index
//! (4), an octet 0 to 7 (retry, delivered, deleted, quarantined, bounced, removed by an operator, retry and the sender
//! knows, replaced by another mail), a text (reason, nothing, threat, threat, reason, nothing, reason, the other mail's id).
//! Version 1 had 0 to 4, version 3 0 to 6.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use gatepost_smtp::server::{Envelope, Recipient, TlsFacts};
use gatepost_smtp::wire::params::{MailParams, RcptParams};

use super::codec::{Decoder, Encoder, Malformed};
use super::facts::Facts;
use super::record::{Kind, Record};
use super::standing::{NOTE_OCTETS_USUAL, Standing};
use super::{NewMessage, Outcome, QueueId};
use crate::delivery::Disposition;
use crate::disk::SimulatedDisk;
use crate::intake::{Body, Forwards, Origin, Spool, Submission};
use crate::scan::Stamp;

/// What a state or done record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) id: QueueId,
    pub(super) attempts: u32,
    pub(super) not_before_ms: u64,
    pub(super) outcomes: Vec<(u32, Outcome)>,
    /// Whether a recipient is pending behind it.
    pub(super) leaves_pending: bool,
}

/// A message's record without its body.
#[derive(Debug)]
pub(super) struct MessageHead {
    pub(super) id: QueueId,
    pub(super) submission: Submission,
    pub(super) trace: Vec<u8>,
    pub(super) stamp: Option<Stamp>,
    pub(super) body: BodyPlace,
}

/// Where the body lies.
#[derive(Debug)]
pub(super) enum BodyPlace {
    /// Behind the head, from this offset of the payload on.
    Inline { offset: usize, octets: u64 },
    /// In a file of the spool.
    File { name: String, octets: u64, hash: [u8; 32] },
}

/// The record of a new message.
pub(super) fn encode_message(message: &NewMessage) -> Record {
    encode_message_as(Kind::Message, message, &Facts::of_message(message))
}

/// As a message, or as what follows from an attempt.
pub(super) fn encode_message_as(kind: Kind, message: &NewMessage, facts: &Facts) -> Record {
    let head = encode_head(message);
    let mut encoder = Encoder::with_capacity(head.len().saturating_add(12));
    encoder.u64(message.id.0);
    encoder.bytes(&head);
    let body = match &message.body {
        Body::Memory(octets) => octets.clone(),
        Body::File(_) => Bytes::new(),
    };
    let mut note = Encoder::with_capacity(NOTE_OCTETS_USUAL);
    note.u64(message.id.0);
    facts.encode(&mut note);
    Record::new(kind, encoder.finish(), body).with_note(note.finish())
}

/// Reads a record that holds a message up to its body.
pub(super) fn decode_stored(kind: Kind, payload: &[u8]) -> Result<MessageHead, Malformed> {
    match kind {
        Kind::Message | Kind::FollowUp => decode_message(payload),
        Kind::Moved => {
            let mut decoder = Decoder::new(payload);
            let standing = Standing::decode(&mut decoder)?;
            decode_rest(standing.id, payload, decoder)
        }
        _ => Err(Malformed),
    }
}

/// What of such a payload stands behind the id, or behind all that `Kind::Moved` says before it.
pub(super) fn message_rest(kind: Kind, payload: &Bytes) -> Result<Bytes, Malformed> {
    let mut decoder = Decoder::new(payload);
    if kind == Kind::Moved {
        Standing::decode(&mut decoder)?;
    } else {
        decoder.u64()?;
    }
    Ok(payload.slice(payload.len().saturating_sub(decoder.rest().len())..))
}

/// Reads a message's payload up to its body.
pub(super) fn decode_message(payload: &[u8]) -> Result<MessageHead, Malformed> {
    let mut decoder = Decoder::new(payload);
    let id = QueueId(decoder.u64()?);
    decode_rest(id, payload, decoder)
}

fn decode_rest(id: QueueId, payload: &[u8], mut decoder: Decoder<'_>) -> Result<MessageHead, Malformed> {
    let mut head = Decoder::new(decoder.bytes()?);
    let inline = decoder.rest().len();
    let mut submission = Submission::new(decode_envelope(&mut head)?, decode_origin(&mut head)?);
    let trace = head.bytes()?.to_vec();
    let stamp = head.option(Decoder::parsed)?;
    let file = head.option(|head| {
        Ok(BodyPlace::File { name: head.text()?.to_owned(), octets: head.u64()?, hash: head.array()? })
    })?;
    submission.forwards = decode_forwards(&mut head, &submission.envelope)?;
    head.end()?;
    let offset = payload.len().saturating_sub(inline);
    let body = file.unwrap_or(BodyPlace::Inline { offset, octets: inline as u64 });
    Ok(MessageHead { id, submission, trace, stamp, body })
}

/// For the workspace of fuzz targets, which sees no private parts: what a message's payload says, written again. `None`
/// where it says nothing.
#[doc(hidden)]
#[must_use]
pub fn reencode_message(payload: &[u8]) -> Option<Vec<u8>> {
    let payload = Bytes::copy_from_slice(payload);
    let head = decode_message(&payload).ok()?;
    let spool = Spool::inline(Arc::new(SimulatedDisk::new()), Path::new("/")).ok()?;
    let record = encode_message(&head.into_message(&payload, &spool));
    Some([record.head(), record.body()].concat())
}

impl MessageHead {
    /// The message itself; `payload` is what the head was read from.
    pub(super) fn into_message(self, payload: &Bytes, spool: &Spool) -> NewMessage {
        let body = match self.body {
            BodyPlace::Inline { offset, .. } => Body::Memory(payload.slice(offset.min(payload.len())..)),
            BodyPlace::File { name, octets, hash } => Body::File(Arc::new(spool.named(name, octets, hash))),
        };
        NewMessage { id: self.id, submission: self.submission, trace: self.trace, body, stamp: self.stamp }
    }

    pub(super) const fn body_octets(&self) -> u64 {
        match &self.body {
            BodyPlace::Inline { octets, .. } | BodyPlace::File { octets, .. } => *octets,
        }
    }
}

impl Change {
    pub(super) fn encode(&self) -> Record {
        let mut encoder = Encoder::default();
        encoder.u64(self.id.0);
        encoder.u32(self.attempts);
        encoder.u64(self.not_before_ms);
        encoder.u32(u32::try_from(self.outcomes.len()).unwrap_or(u32::MAX));
        for (recipient, outcome) in &self.outcomes {
            encoder.u32(*recipient);
            let replaced_by;
            let (tag, text) = match outcome {
                Outcome::Retry { reason, .. } => (0, reason.as_str()),
                Outcome::Done(Disposition::Delivered) => (1, ""),
                Outcome::Done(Disposition::DeletedByPolicy { threat }) => (2, threat.as_str()),
                Outcome::Done(Disposition::Quarantined { threat }) => (3, threat.as_str()),
                Outcome::Done(Disposition::Bounced { reason }) => (4, reason.as_str()),
                Outcome::Done(Disposition::Replaced { by }) => {
                    replaced_by = by.to_string();
                    (7, replaced_by.as_str())
                }
                Outcome::Removed => (5, ""),
                Outcome::Delayed { reason, .. } => (6, reason.as_str()),
            };
            encoder.u8(tag);
            encoder.text(text);
        }
        let kind = if self.leaves_pending { Kind::State } else { Kind::Done };
        Record::new(kind, encoder.finish(), Bytes::new())
    }

    pub(super) fn decode(payload: &[u8], kind: Kind) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(payload);
        let id = QueueId(decoder.u64()?);
        let (attempts, not_before_ms) = (decoder.u32()?, decoder.u64()?);
        let count = decoder.count(CHANGE_OCTETS_MIN)?;
        let mut outcomes = Vec::with_capacity(count);
        for _ in 0..count {
            let recipient = decoder.u32()?;
            let tag = decoder.u8()?;
            let text = decoder.text()?.to_owned();
            let outcome = match tag {
                0 => Outcome::Retry { reason: text, not_before_ms },
                1 => Outcome::Done(Disposition::Delivered),
                2 => Outcome::Done(Disposition::DeletedByPolicy { threat: text }),
                3 => Outcome::Done(Disposition::Quarantined { threat: text }),
                4 => Outcome::Done(Disposition::Bounced { reason: text }),
                5 => Outcome::Removed,
                6 => Outcome::Delayed { reason: text, not_before_ms },
                7 => {
                    let by = text.parse().map_err(|_| Malformed)?;
                    Outcome::Done(Disposition::Replaced { by })
                }
                _ => return Err(Malformed),
            };
            outcomes.push((recipient, outcome));
        }
        decoder.end()?;
        Ok(Self { id, attempts, not_before_ms, outcomes, leaves_pending: kind == Kind::State })
    }
}

fn encode_head(message: &NewMessage) -> Vec<u8> {
    let Submission { envelope, origin, forwards } = &message.submission;
    let mut head = Encoder::with_capacity(HEAD_OCTETS_USUAL.saturating_add(message.trace.len()));
    head.display(&envelope.reverse_path);
    head.display(&envelope.params);
    head.u32(u32::try_from(envelope.recipients.len()).unwrap_or(u32::MAX));
    for recipient in &envelope.recipients {
        head.display(&recipient.path);
        head.display(&recipient.params);
    }
    head.text(&origin.session);
    head.text(&origin.listener);
    head.display(&origin.peer);
    head.text(&origin.helo);
    head.u8(u8::from(origin.esmtp));
    head.option(origin.tls.as_ref(), |head, tls| {
        head.text(&tls.version);
        head.text(&tls.cipher);
    });
    head.option(origin.user.as_deref(), Encoder::text);
    head.u64(origin.received_at_ms);
    head.bytes(&message.trace);
    head.option(message.stamp.as_ref(), |head, stamp| head.display(stamp));
    let file = match &message.body {
        Body::File(file) => Some(file),
        Body::Memory(_) => None,
    };
    head.option(file, |head, file| {
        head.text(file.name());
        head.u64(file.octets());
        head.raw(file.hash());
    });
    if !forwards.is_empty() {
        encode_forwards(&mut head, forwards);
    }
    head.finish()
}

fn encode_forwards(head: &mut Encoder, forwards: &Forwards) {
    head.option(forwards.sender(), |head, sender| head.display(sender));
    head.count(forwards.iter().count());
    for (recipient, address) in forwards.iter() {
        head.count(recipient);
        head.display(address);
    }
}

fn decode_forwards(head: &mut Decoder<'_>, envelope: &Envelope) -> Result<Forwards, Malformed> {
    let mut forwards = Forwards::default();
    if head.rest().is_empty() {
        return Ok(forwards);
    }
    forwards.set_sender(head.option(Decoder::parsed)?);
    for _ in 0..head.count(FORWARD_OCTETS_MIN)? {
        let recipient = usize::try_from(head.u32()?).map_err(|_| Malformed)?;
        if recipient >= envelope.recipients.len() {
            return Err(Malformed);
        }
        forwards.insert(recipient, head.parsed()?);
    }
    Ok(forwards)
}

fn decode_envelope(head: &mut Decoder<'_>) -> Result<Envelope, Malformed> {
    let reverse_path = head.parsed()?;
    let params = MailParams::parse(head.text()?).map_err(|_| Malformed)?;
    let count = head.count(RECIPIENT_OCTETS_MIN)?;
    let mut recipients = Vec::with_capacity(count);
    for _ in 0..count {
        let path = head.parsed()?;
        let params = RcptParams::parse(head.text()?).map_err(|_| Malformed)?;
        recipients.push(Recipient { path, params });
    }
    Ok(Envelope { reverse_path, params, recipients })
}

fn decode_origin(head: &mut Decoder<'_>) -> Result<Origin, Malformed> {
    Ok(Origin {
        session: head.text()?.to_owned(),
        listener: head.text()?.to_owned(),
        peer: head.parsed()?,
        helo: head.text()?.to_owned(),
        esmtp: head.flag()?,
        tls: head.option(|head| {
            Ok(TlsFacts { version: head.text()?.to_owned(), cipher: head.text()?.to_owned() })
        })?,
        user: head.option(|head| Ok(head.text()?.to_owned()))?,
        received_at_ms: head.u64()?,
    })
}

/// Most heads fit without growing the buffer.
const HEAD_OCTETS_USUAL: usize = 512;
/// Two empty texts.
const RECIPIENT_OCTETS_MIN: usize = 8;
/// Index, empty text.
const FORWARD_OCTETS_MIN: usize = 8;
/// Index, tag, empty text.
const CHANGE_OCTETS_MIN: usize = 9;
