//! MAIL, RCPT and DATA: one by one, or in groups where PIPELINING is offered (RFC 2920).

use std::collections::VecDeque;
use std::time::Instant;

use super::awaited::Awaited;
use super::body::Body;
use super::contract::{Content, Failure, Mail, Outcome, Output, Stage, Unsuited};
use super::session::Session;
use super::state::{State, after};
use super::{Capabilities, SizeOffer};
use crate::server::{Envelope, Recipient};
use crate::wire::params::{AuthParam, BodyKind, MailParams, OriginalRecipient, RcptParams};
use crate::wire::path::{ForwardPath, ReversePath};
use crate::wire::reply_parse::{ReplyClass, ServerReply};

/// One mail on its way.
#[derive(Debug)]
pub(super) struct Transaction {
    mail: Mail,
    /// What became of each recipient; `None`: not known yet.
    outcomes: Vec<Option<Outcome>>,
    /// The recipient whose RCPT is sent next.
    next: usize,
    has_sent_mail: bool,
    has_sent_data: bool,
    /// The answer to RCPT is all that is wanted.
    is_probe: bool,
    /// Those the server has taken, and has not said more about.
    accepted: VecDeque<usize>,
    pub(super) body: Body,
    /// For all of it up to the end of the body; then for all that is said behind that.
    pub(super) deadline: Instant,
}

// === impl Session ===

impl Session {
    pub(super) fn begin_transaction(&mut self, mail: Mail) {
        self.begin_with(mail, false);
    }

    /// A transaction that is over once the recipient is answered for.
    pub(super) fn begin_probe(&mut self, path: ForwardPath) {
        let recipients = vec![Recipient { path, params: RcptParams::default() }];
        let envelope =
            Envelope { reverse_path: ReversePath::Null, params: MailParams::default(), recipients };
        let content = Content { octets: 0, kind: BodyKind::SevenBit, has_utf8_header: false };
        self.begin_with(Mail { envelope, content }, true);
    }

    fn begin_with(&mut self, mail: Mail, is_probe: bool) {
        let whole = unsuited(&mail, &self.offered, self.is_secured);
        let outcomes = mail.envelope.recipients.iter().map(|recipient| {
            whole.or_else(|| unsuited_recipient(recipient, &self.offered)).map(Outcome::Unsuited)
        });
        let outcomes: Vec<_> = outcomes.collect();
        let transaction = Transaction {
            body: Body::new(&mail.content, self.offered.chunking),
            outcomes,
            mail,
            next: 0,
            has_sent_mail: false,
            has_sent_data: is_probe,
            is_probe,
            accepted: VecDeque::new(),
            deadline: after(self.now(), self.config.patience.transaction),
        };
        self.transaction = Some(Box::new(transaction));
        self.advance();
    }

    /// Sends what can be sent now, once everything that was sent has been answered.
    fn advance(&mut self) {
        if !self.awaited.is_empty() || self.state != State::Conversing {
            return;
        }
        let group_max = if self.offered.pipelining { GROUP_COMMANDS } else { 1 };
        let mut group = Vec::new();
        while self.awaited.len() < group_max
            && let Some(awaited) = self.next_command(&mut group)
        {
            self.awaited.push_back(awaited);
        }
        if !group.is_empty() {
            return self.send(group);
        }
        match &self.transaction {
            Some(transaction) if !transaction.accepted.is_empty() => self.begin_chunks(),
            _ => self.finish_transaction(),
        }
    }

    fn next_command(&mut self, group: &mut Vec<u8>) -> Option<Awaited> {
        let is_first_in_group = self.awaited.is_empty();
        let transaction = self.transaction.as_mut()?;
        let is_decided = transaction.outcomes.iter().all(Option::is_some);
        if is_decided && transaction.accepted.is_empty() {
            return None;
        }
        if !transaction.has_sent_mail {
            if self.is_open && is_first_in_group {
                group.extend_from_slice(b"RSET\r\n");
                return Some(Awaited::Reset);
            }
            transaction.has_sent_mail = true;
            let envelope = &transaction.mail.envelope;
            let params = mail_params(&transaction.mail, &self.offered, self.is_secured);
            group.extend_from_slice(format!("MAIL FROM:{}{params}\r\n", envelope.reverse_path).as_bytes());
            return Some(Awaited::Mail);
        }
        if let Some((index, recipient)) = transaction.next_recipient() {
            let params = rcpt_params(&recipient.params, &self.offered);
            group.extend_from_slice(format!("RCPT TO:{}{params}\r\n", recipient.path).as_bytes());
            return Some(Awaited::Rcpt(index));
        }
        // A chunk carries its octets with it, so it waits for the recipients; DATA does not.
        let is_hopeless = is_first_in_group && transaction.accepted.is_empty();
        if transaction.has_sent_data || is_hopeless || transaction.body.is_in_chunks() {
            return None;
        }
        transaction.has_sent_data = true;
        group.extend_from_slice(b"DATA\r\n");
        Some(Awaited::Data)
    }

    pub(super) fn reset_replied(&mut self, reply: ServerReply) {
        match reply.class() {
            ReplyClass::Positive => {
                self.is_open = false;
                self.advance();
            }
            _ => self.refused(Stage::Reset, reply),
        }
    }

    pub(super) fn mail_replied(&mut self, reply: &ServerReply) {
        match Outcome::of_refusal(reply) {
            // It says nothing of the recipient.
            Some(_) if self.is_probing() => return self.refused(Stage::Mail, reply.clone()),
            Some(refused) => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.decide_rest(&refused);
                }
            }
            None if reply.class() == ReplyClass::Positive => self.is_open = true,
            None => return self.refused(Stage::Mail, reply.clone()),
        }
        self.advance();
    }

    pub(super) fn rcpt_replied(&mut self, recipient: usize, reply: ServerReply) {
        let Some(transaction) = &mut self.transaction else { return };
        let refused = match reply.code() {
            // Too many recipients, as old servers say it (RFC 5321 section 4.5.3.1.10).
            TOO_MANY => Some(Outcome::Temporary(reply.clone())),
            _ => Outcome::of_refusal(&reply),
        };
        match refused {
            Some(refused) => transaction.decide(recipient, refused),
            None if reply.class() == ReplyClass::Positive && transaction.is_probe => {
                transaction.decide(recipient, Outcome::Accepted(reply));
            }
            None if reply.class() == ReplyClass::Positive => transaction.accept(recipient),
            None => return self.refused(Stage::Rcpt, reply),
        }
        self.advance();
    }

    pub(super) fn data_replied(&mut self, reply: ServerReply) {
        let Some(transaction) = &mut self.transaction else { return };
        match Outcome::of_refusal(&reply) {
            Some(refused) => {
                transaction.decide_accepted(&refused);
                self.advance();
            }
            None if reply.class() != ReplyClass::Intermediate => self.refused(Stage::Data, reply),
            // The server wants a body for nobody: it gets an empty one (RFC 2920 section 3.1).
            None if transaction.accepted.is_empty() => self.command(Awaited::EmptyEnd, b".\r\n".to_vec()),
            None => self.begin_data(),
        }
    }

    /// Whatever it says, it is about nobody.
    pub(super) fn empty_end_replied(&mut self) {
        self.is_open = false;
        self.advance();
    }

    pub(super) fn end_replied(&mut self, reply: ServerReply) {
        let outcome = match Outcome::of_refusal(&reply) {
            Some(refused) => refused,
            None if reply.class() == ReplyClass::Positive => Outcome::Accepted(reply),
            None => return self.refused(Stage::EndOfData, reply),
        };
        let Some(transaction) = &mut self.transaction else { return };
        // As many replies are awaited as recipients are left (LMTP), or one for all of them.
        if self.awaited.is_empty() {
            transaction.decide_accepted(&outcome);
            self.is_open = false;
            self.advance();
        } else if let Some(recipient) = transaction.accepted.pop_front() {
            transaction.decide(recipient, outcome);
        }
    }

    fn is_probing(&self) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| transaction.is_probe)
    }

    pub(super) fn accepted_recipients(&self) -> usize {
        self.transaction.as_ref().map_or(0, |transaction| transaction.accepted.len())
    }

    fn finish_transaction(&mut self) {
        let Some(transaction) = self.transaction.take() else { return };
        let outcomes = transaction.into_outcomes(&Failure::Aborted(Stage::Idle));
        self.output(Output::Done(outcomes));
        self.ready();
    }
}

// === impl Transaction ===

impl Transaction {
    /// For all recipients that have no outcome yet, accepted ones among them.
    pub(super) fn decide_rest(&mut self, outcome: &Outcome) {
        self.accepted.clear();
        for undecided in self.outcomes.iter_mut().filter(|known| known.is_none()) {
            *undecided = Some(outcome.clone());
        }
    }

    pub(super) fn decide_accepted(&mut self, outcome: &Outcome) {
        while let Some(recipient) = self.accepted.pop_front() {
            self.decide(recipient, outcome.clone());
        }
    }

    /// The first outcome stands.
    fn decide(&mut self, recipient: usize, outcome: Outcome) {
        if let Some(known @ None) = self.outcomes.get_mut(recipient) {
            *known = Some(outcome);
        }
    }

    /// Unless MAIL was refused before it, in the same group.
    fn accept(&mut self, recipient: usize) {
        if let Some(None) = self.outcomes.get(recipient) {
            self.accepted.push_back(recipient);
        }
    }

    fn next_recipient(&mut self) -> Option<(usize, &Recipient)> {
        let undecided = self.outcomes.iter().enumerate().skip(self.next).find(|(_, known)| known.is_none());
        let (index, _) = undecided?;
        self.next = index.saturating_add(1);
        self.mail.envelope.recipients.get(index).map(|recipient| (index, recipient))
    }

    /// Those without an outcome are lost.
    pub(super) fn into_outcomes(self, failure: &Failure) -> Vec<Outcome> {
        let lost = || Outcome::Lost(failure.clone());
        self.outcomes.into_iter().map(|known| known.unwrap_or_else(lost)).collect()
    }
}

// === impl Outcome ===

impl Outcome {
    pub(super) fn of_refusal(reply: &ServerReply) -> Option<Self> {
        match reply.class() {
            ReplyClass::Temporary => Some(Self::Temporary(reply.clone())),
            ReplyClass::Permanent => Some(Self::Permanent(reply.clone())),
            ReplyClass::Positive | ReplyClass::Intermediate => None,
        }
    }
}

/// What this server lacks for this mail, whoever it is for.
fn unsuited(mail: &Mail, offered: &Capabilities, is_secured: bool) -> Option<Unsuited> {
    let params = &mail.envelope.params;
    let is_utf8_sender = match &mail.envelope.reverse_path {
        ReversePath::Null => false,
        ReversePath::Mailbox(mailbox) => mailbox.needs_smtputf8(),
    };
    let checks = [
        (params.requiretls && !(is_secured && offered.requiretls), Unsuited::RequireTls),
        (is_utf8_sender && !offered.smtputf8, Unsuited::Utf8Address),
        (params.smtputf8 && mail.content.has_utf8_header && !offered.smtputf8, Unsuited::Utf8Header),
        (
            mail.content.kind == BodyKind::BinaryMime && !(offered.binarymime && offered.chunking),
            Unsuited::Binary,
        ),
        (mail.content.kind == BodyKind::EightBitMime && !offered.eight_bit_mime, Unsuited::EightBit),
        (
            matches!(offered.size, SizeOffer::Limit(octets_max) if mail.content.octets > octets_max),
            Unsuited::TooLarge,
        ),
    ];
    checks.into_iter().find_map(|(is_lacking, unsuited)| is_lacking.then_some(unsuited))
}

fn unsuited_recipient(recipient: &Recipient, offered: &Capabilities) -> Option<Unsuited> {
    let needs_smtputf8 = is_utf8(&recipient.path);
    (needs_smtputf8 && !offered.smtputf8).then_some(Unsuited::Utf8Address)
}

fn is_utf8(path: &ForwardPath) -> bool {
    match path {
        ForwardPath::Postmaster => false,
        ForwardPath::Mailbox(mailbox) => mailbox.needs_smtputf8(),
    }
}

/// The parameters that this server knows.
fn mail_params(mail: &Mail, offered: &Capabilities, is_secured: bool) -> MailParams {
    let envelope = &mail.envelope;
    let needs_smtputf8 = envelope.params.smtputf8
        || envelope.recipients.iter().any(|recipient| is_utf8(&recipient.path))
        || matches!(&envelope.reverse_path, ReversePath::Mailbox(mailbox) if mailbox.needs_smtputf8());
    MailParams {
        // Of a probe there is no size to speak of.
        size: (offered.size != SizeOffer::None && mail.content.octets > 0).then_some(mail.content.octets),
        // Where it is not offered there is nothing of that kind left to declare.
        body: if offered.eight_bit_mime { mail.content.kind } else { BodyKind::SevenBit },
        smtputf8: offered.smtputf8 && needs_smtputf8,
        requiretls: envelope.params.requiretls && offered.requiretls && is_secured,
        // We vouch for nobody beyond our own border (RFC 4954 section 5).
        auth: envelope.params.auth.as_ref().filter(|_| offered.auth).map(|_| AuthParam::Unknown),
        ret: envelope.params.ret.filter(|_| offered.dsn),
        envid: envelope.params.envid.clone().filter(|_| offered.dsn),
    }
}

fn rcpt_params(params: &RcptParams, offered: &Capabilities) -> RcptParams {
    if !offered.dsn {
        return RcptParams::default();
    }
    let orcpt = params.orcpt.clone().map(|orcpt| {
        let address = if offered.smtputf8 { orcpt.address } else { embedded(&orcpt.address) };
        OriginalRecipient { address, ..orcpt }
    });
    RcptParams { notify: params.notify, orcpt }
}

/// `utf-8-addr-xtext`: characters outside of ASCII as `\x{...}` (RFC 6533 section 3), for servers without SMTPUTF8.
fn embedded(address: &str) -> String {
    address
        .chars()
        .map(|c| if c.is_ascii() { c.to_string() } else { format!("\\x{{{:X}}}", u32::from(c)) })
        .collect()
}

/// Commands that are sent before their replies are read. The replies to a group fit into the smallest receive buffer, so
/// neither side can come to wait for the other.
const GROUP_COMMANDS: usize = 100;

/// RFC 5321 section 4.5.3.1.10.
const TOO_MANY: u16 = 552;
