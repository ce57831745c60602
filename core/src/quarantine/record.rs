//! What the JSON file beside a mail says: enough to send it on as if it had just come in.

use std::io::Read as _;
use std::net::SocketAddr;

use gatepost_smtp::server::{Envelope, Recipient, TlsFacts};
use gatepost_smtp::wire::params::{MailParams, RcptParams};
use serde::{Deserialize, Serialize};

use super::Suspect;
use crate::events::{About, Details, evidence, subject_of};
use crate::intake::{Body, Forwards, Origin, Submission, trace};

/// A mail in quarantine. Paths and parameters are written as they are on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Of this file.
    pub(super) version: u32,
    /// Its queue id.
    pub id: String,
    /// When it came here, milliseconds since 1970.
    pub kept_at_ms: u64,
    /// What was found.
    pub threat: String,
    /// In which part; escaped, on one line.
    pub item: Option<String>,
    /// With which engine, signatures and policy.
    pub stamp: Option<String>,
    /// With angle brackets.
    pub sender: String,
    /// As it is shown to readers, escaped; `None` where it has none, or an older version has kept the mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Of MAIL.
    pub params: String,
    /// As whose mail those get it who stand for an address of ours; with angle brackets. None: the sender's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded_as: Option<String>,
    /// Whose copies are here. None: an operator has taken it out already.
    pub recipients: Vec<KeptRecipient>,
    /// Whose copies were here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) gone: Vec<u32>,
    /// How it came in.
    pub origin: KeptOrigin,
    /// Octets of the mail, with our trace headers.
    pub octets: u64,
    /// How many of them are our trace headers, which stand first.
    pub(super) trace_octets: u64,
    /// BLAKE3 of them all.
    pub(super) hash: String,
    /// Whether it could not be read to its end when it came here.
    #[serde(default)]
    pub damaged: bool,
    /// What other signatures have found in it since, where that is something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found_later: Option<FoundLater>,
    /// The queue id that it was to be released as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) releasing_as: Option<String>,
}

/// What a scan has found in a mail that was in quarantine already. Files of versions that know nothing of it lack it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundLater {
    /// What was found.
    pub threat: String,
    /// In which part; escaped, on one line.
    pub item: Option<String>,
    /// With which engine, signatures and policy.
    pub stamp: String,
    /// When, milliseconds since 1970.
    pub found_at_ms: u64,
}

/// One copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRecipient {
    /// His place in the envelope that was handed in.
    pub index: u32,
    /// With angle brackets.
    pub address: String,
    /// Of RCPT.
    pub params: String,
    /// The address of ours that he stands for, with angle brackets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stands_for: Option<String>,
}

/// Where a mail came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptOrigin {
    /// The session's id.
    pub session: String,
    /// The listener's name.
    pub listener: String,
    /// The peer.
    pub peer: SocketAddr,
    /// What it called itself.
    pub helo: String,
    /// Whether it said EHLO.
    pub esmtp: bool,
    /// Version and cipher suite of TLS.
    pub tls: Option<(String, String)>,
    /// The account it authenticated as.
    pub user: Option<String>,
    /// When the mail came in, milliseconds since 1970.
    pub received_at_ms: u64,
}

// === impl Record ===

impl Record {
    /// Of a mail whose content was written already; nobody's copy yet.
    pub(super) fn new(suspect: &Suspect, kept_at_ms: u64, written: &Written) -> Self {
        let Suspect { message, evidence, .. } = suspect;
        let Submission { envelope, origin, forwards } = &message.submission;
        Self {
            version: VERSION,
            id: message.id.to_string(),
            kept_at_ms,
            threat: evidence.threat.clone(),
            item: evidence.item.as_ref().map(ToString::to_string),
            stamp: evidence.stamp.as_ref().map(|stamp| stamp.unsealed().to_string()),
            sender: envelope.reverse_path.to_string(),
            subject: beginning(&message.body).and_then(|beginning| subject_of(&beginning)),
            params: envelope.params.to_string(),
            forwarded_as: forwards.sender().map(ToString::to_string),
            recipients: Vec::new(),
            gone: Vec::new(),
            origin: origin.into(),
            octets: written.octets,
            trace_octets: message.trace.len() as u64,
            hash: written.hash.to_hex().to_string(),
            damaged: written.damaged,
            found_later: None,
            releasing_as: None,
        }
    }

    /// Adds copies.
    pub(super) fn add(&mut self, suspect: &Suspect, recipients: &[u32]) {
        let Submission { envelope, forwards, .. } = &suspect.message.submission;
        for &index in recipients {
            if let Some(recipient) = envelope.recipients.get(index as usize) {
                let (address, params) = (recipient.path.to_string(), recipient.params.to_string());
                let stands_for = forwards.of(index as usize).map(ToString::to_string);
                self.recipients.push(KeptRecipient { index, address, params, stands_for });
            }
        }
    }

    /// Whether it is known that this is in it.
    pub(super) fn has_found(&self, threat: &str) -> bool {
        self.threat == threat || self.found_later.as_ref().is_some_and(|later| later.threat == threat)
    }

    /// Whether these signatures, as a stamp is written, have been asked, and something was found.
    pub(crate) fn was_found_by(&self, stamp: &str) -> bool {
        let later = self.found_later.as_ref().map(|later| later.stamp.as_str());
        self.stamp.as_deref() == Some(stamp) || later == Some(stamp)
    }

    /// Whether this recipient's copy is here, or was.
    pub(super) fn knows(&self, index: u32) -> bool {
        self.gone.contains(&index) || self.recipients.iter().any(|recipient| recipient.index == index)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It is none of ours, or of a newer version.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let record: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if record.version == VERSION { Ok(record) } else { Err(format!("version {}", record.version)) }
    }

    /// Envelope and origin, as they were handed in, for those whose copies are here. `None` where the file was changed.
    pub(super) fn submission(&self, received_at_ms: u64) -> Option<Submission> {
        let recipient = |kept: &KeptRecipient| {
            let (path, params) = (kept.address.parse().ok()?, RcptParams::parse(&kept.params).ok()?);
            Some(Recipient { path, params })
        };
        let envelope = Envelope {
            reverse_path: self.sender.parse().ok()?,
            params: MailParams::parse(&self.params).ok()?,
            recipients: self.recipients.iter().map(recipient).collect::<Option<_>>()?,
        };
        let (origin, forwards) = (self.origin.restore(received_at_ms), self.forwards()?);
        Some(Submission { envelope, origin, forwards })
    }

    /// Who stands for which address, by the places that recipients have here. `None` where the file was changed.
    fn forwards(&self) -> Option<Forwards> {
        let mut forwards = Forwards::default();
        for (place, kept) in self.recipients.iter().enumerate() {
            if let Some(address) = &kept.stands_for {
                forwards.insert(place, address.parse().ok()?);
            }
        }
        forwards.set_sender(self.forwarded_as.as_ref().map(|sender| sender.parse()).transpose().ok()?);
        Some(forwards)
    }

    /// By what its events are found again.
    pub(super) fn about(&self) -> About {
        About {
            session: Some(self.origin.session.clone()),
            queue_id: Some(self.id.clone()),
            listener: Some(self.origin.listener.clone()),
            peer: Some(self.origin.peer),
        }
    }

    /// What its events say of it; its recipients are those whose copies are here.
    pub(super) fn details(&self) -> Details {
        let smtputf8 = MailParams::parse(&self.params).is_ok_and(|params| params.smtputf8);
        let origin = self.origin.restore(self.origin.received_at_ms);
        let details = Details {
            sender: evidence(&self.sender),
            subject: self.subject.clone(),
            protocol: Some(evidence(trace::way_of(&origin, smtputf8))),
            received_at_ms: Some(origin.received_at_ms),
            ..Details::default()
        };
        details.with_recipients(self.recipients.iter().map(|kept| kept.address.clone()))
    }
}

// === impl KeptOrigin ===

impl KeptOrigin {
    fn restore(&self, received_at_ms: u64) -> Origin {
        let Self { session, listener, peer, helo, esmtp, tls, user, .. } = self.clone();
        let tls = tls.map(|(version, cipher)| TlsFacts { version, cipher });
        Origin { session, listener, peer, helo, esmtp, tls, user, received_at_ms }
    }
}

impl From<&Origin> for KeptOrigin {
    fn from(origin: &Origin) -> Self {
        let Origin { session, listener, peer, helo, esmtp, tls, user, received_at_ms } = origin.clone();
        let tls = tls.map(|tls| (tls.version, tls.cipher));
        Self { session, listener, peer, helo, esmtp, tls, user, received_at_ms }
    }
}

/// A content as it went to its file.
pub(super) struct Written {
    pub(super) octets: u64,
    pub(super) hash: blake3::Hash,
    pub(super) damaged: bool,
}

/// Of a body whose content went to the disk a moment ago. Blocking where it is a file; `None` where it cannot be read.
fn beginning(body: &Body) -> Option<Vec<u8>> {
    let mut beginning = Vec::new();
    body.reader().ok()?.take(BEGINNING_OCTETS).read_to_end(&mut beginning).ok()?;
    Some(beginning)
}

const VERSION: u32 = 1;
/// Has the subject of every mail that is not made to hide it.
const BEGINNING_OCTETS: u64 = 64 * 1024;
