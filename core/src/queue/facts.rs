//! What the index keeps of a message, and a segment's footer repeats, so that neither needs its record.
//!
//! In a footer: received at (8), octets of the body (8), key of the sender (8), number of recipients (4), option of the
//! user (a text), option of the body file (its name), number of domains (4), the domains (texts), number of recipients
//! that are told apart (4, zero where all are of one domain), the index of each one's domain (4).

use gatepost_smtp::server::Envelope;
use gatepost_smtp::wire::path::{Domain, ForwardPath, ReversePath};

use super::NewMessage;
use super::codec::{Decoder, Encoder, Malformed};
use super::envelope::{BodyPlace, MessageHead};
use crate::intake::{Body, Origin};

/// Owned facts of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) received_at_ms: u64,
    pub(super) octets: u64,
    pub(super) sender: SenderKey,
    pub(super) user: Option<String>,
    /// The name of its body file.
    pub(super) file: Option<String>,
    pub(super) recipients: usize,
    /// Each once, in lower case; empty for a recipient without a domain.
    pub(super) domains: Vec<String>,
    /// An index into `domains` for each recipient; empty where all are of one domain.
    pub(super) domain_of: Vec<u32>,
}

/// Stands for a sender's address in 8 octets: 64 bits of BLAKE3, which no two addresses share by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SenderKey(pub(super) u64);

// === impl Facts ===

impl Facts {
    pub(super) fn of_message(message: &NewMessage) -> Self {
        let file = match &message.body {
            Body::File(file) => Some(file.name().to_owned()),
            Body::Memory(_) => None,
        };
        Self::new(&message.submission.envelope, &message.submission.origin, message.body.octets(), file)
    }

    pub(super) fn of_head(head: &MessageHead) -> Self {
        let file = match &head.body {
            BodyPlace::File { name, .. } => Some(name.clone()),
            BodyPlace::Inline { .. } => None,
        };
        Self::new(&head.submission.envelope, &head.submission.origin, head.body_octets(), file)
    }

    pub(super) fn encode(&self, encoder: &mut Encoder) {
        encoder.u64(self.received_at_ms);
        encoder.u64(self.octets);
        encoder.u64(self.sender.0);
        encoder.count(self.recipients);
        encoder.option(self.user.as_deref(), Encoder::text);
        encoder.option(self.file.as_deref(), Encoder::text);
        encoder.count(self.domains.len());
        for domain in &self.domains {
            encoder.text(domain);
        }
        encoder.count(self.domain_of.len());
        for domain in &self.domain_of {
            encoder.u32(*domain);
        }
    }

    pub(super) fn decode(decoder: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let received_at_ms = decoder.u64()?;
        let octets = decoder.u64()?;
        let sender = SenderKey(decoder.u64()?);
        let recipients = usize::try_from(decoder.u32()?).map_err(|_| Malformed)?;
        let user = decoder.option(|decoder| Ok(decoder.text()?.to_owned()))?;
        let file = decoder.option(|decoder| Ok(decoder.text()?.to_owned()))?;
        let count = decoder.count(TEXT_OCTETS_MIN)?;
        let domains =
            (0..count).map(|_| Ok(decoder.text()?.to_owned())).collect::<Result<Vec<_>, Malformed>>()?;
        let count = decoder.count(4)?;
        let domain_of = (0..count).map(|_| decoder.u32()).collect::<Result<Vec<_>, Malformed>>()?;
        let known = domain_of.iter().all(|domain| (*domain as usize) < domains.len());
        let each = domain_of.is_empty() || domain_of.len() == recipients;
        if !known || !each || (domain_of.is_empty() && domains.len() > 1) {
            return Err(Malformed);
        }
        Ok(Self { received_at_ms, octets, sender, user, file, recipients, domains, domain_of })
    }

    fn new(envelope: &Envelope, origin: &Origin, octets: u64, file: Option<String>) -> Self {
        let mut domains: Vec<String> = Vec::with_capacity(1);
        let mut domain_of = Vec::new();
        for (number, recipient) in envelope.recipients.iter().enumerate() {
            let domain = domain_of_path(&recipient.path);
            let known = domains.iter().rposition(|known| *known == domain);
            let index = known.unwrap_or_else(|| {
                domains.push(domain);
                domains.len().saturating_sub(1)
            });
            if domains.len() > 1 {
                domain_of.resize(number, 0);
                domain_of.push(u32::try_from(index).unwrap_or(u32::MAX));
            }
        }
        Self {
            received_at_ms: origin.received_at_ms,
            octets,
            sender: SenderKey::of_path(&envelope.reverse_path),
            user: origin.user.clone(),
            file,
            recipients: envelope.recipients.len(),
            domains,
            domain_of,
        }
    }
}

// === impl SenderKey ===

impl SenderKey {
    /// Of an address without angle brackets; empty: the null sender.
    pub(super) fn of_address(address: &str) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(address.to_lowercase().as_bytes()).as_bytes();
        Self(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }

    fn of_path(path: &ReversePath) -> Self {
        match path {
            ReversePath::Null => Self::of_address(""),
            ReversePath::Mailbox(mailbox) => Self::of_address(&mailbox.to_string()),
        }
    }
}

/// As the index knows domains: in lower case, A-labels.
pub(super) fn normal_domain(domain: &str) -> String {
    if domain.is_ascii() {
        return domain.to_ascii_lowercase();
    }
    idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_lowercase())
}

/// Likewise, of a recipient; empty: none.
pub(super) fn domain_of_path(path: &ForwardPath) -> String {
    match path {
        ForwardPath::Postmaster => String::new(),
        ForwardPath::Mailbox(mailbox) => match mailbox.domain() {
            Domain::Name(name) => normal_domain(name),
            address @ Domain::Address(_) => address.to_string().to_ascii_lowercase(),
        },
    }
}

const TEXT_OCTETS_MIN: usize = 4;
