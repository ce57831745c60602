//! MAIL (RFC 5321 section 4.1.1.2): begins a transaction.

use super::body::ChunkedBody;
use super::budget::Spend;
use super::session::Pending;
use super::{Answer, Envelope, Question, Refusal, Right, Session, offer};
use crate::wire::params::{AuthParam, BodyKind, MailParams};
use crate::wire::path::ReversePath;
use crate::wire::reply::Reply;
use crate::wire::reply_parse::ReplyClass;

/// From an accepted MAIL to the commit or the abort.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) envelope: Envelope,
    /// Whether any RCPT was refused: it tells "no RCPT yet" from "none valid".
    pub(super) has_refused_recipient: bool,
    /// Set by the first BDAT.
    pub(super) chunks: Option<ChunkedBody>,
}

// === impl Session ===

impl Session {
    pub(super) fn on_mail(&mut self, reverse_path: ReversePath, mut params: MailParams) {
        if let Err(refusal) = self.check_mail(&reverse_path, &params) {
            return self.refuse(refusal);
        }
        // RFC 4954 section 5: what an untrusted client says of the submitter is taken for "not known".
        if params.auth.is_some() && !self.rights().contains(Right::AcceptAuthenticationFlag) {
            params.auth = Some(AuthParam::Unknown);
        }
        if self.budget.spend_transaction(&self.config.limits) == Spend::Spent {
            return self.refuse(Refusal::BudgetSpent);
        }
        let question = Question::Mail { reverse_path: reverse_path.clone(), params: params.clone() };
        self.wait_for(question, Pending::Mail(reverse_path, params));
    }

    pub(super) fn mail_answered(&mut self, reverse_path: ReversePath, params: MailParams, answer: &Answer) {
        let reply = match answer {
            Answer::Accepted => Reply::fixed(250, 1, 0, "Sender OK"),
            Answer::Said(said) if said.class() == ReplyClass::Positive => Reply::relayed(said),
            Answer::Said(said) => return self.relay_refusal(said),
            &Answer::Refused(refusal) => return self.refuse(refusal),
            _ => return self.refuse(Refusal::BackendFailed),
        };
        let envelope = Envelope { reverse_path, params, recipients: Vec::new() };
        let transaction = Transaction { envelope, has_refused_recipient: false, chunks: None };
        self.transaction = Some(Box::new(transaction));
        self.has_refused_chunk = false;
        self.reply(&reply);
    }

    /// Drops the transaction, if there is one.
    pub(super) fn abort_transaction(&mut self) {
        self.deadlines.end_body();
        self.has_refused_chunk = false;
        if self.transaction.take().is_some() {
            self.outputs.tell(Question::Abort);
        }
    }

    /// Everything about MAIL's argument that the machine can judge by itself.
    fn check_mail(&self, reverse_path: &ReversePath, params: &MailParams) -> Result<(), Refusal> {
        let is_binary = params.body == BodyKind::BinaryMime;
        if !self.is_esmtp() && *params != MailParams::default() {
            return Err(Refusal::ParameterNotOffered);
        }
        let is_in_the_clear = !offer::takes_requiretls(self);
        if (params.requiretls && is_in_the_clear) || (is_binary && !offer::takes_binarymime(self)) {
            return Err(Refusal::ParameterNotOffered);
        }
        let is_eight_bit = params.body == BodyKind::EightBitMime;
        let asks_for_notices = params.ret.is_some() || params.envid.is_some();
        if (is_eight_bit && !offer::takes(self, |it| it.eight_bit_mime))
            || (params.smtputf8 && !offer::takes(self, |it| it.smtputf8))
            || (asks_for_notices && !offer::takes(self, |it| it.dsn))
        {
            return Err(Refusal::ParameterNotOffered);
        }
        let sender_needs = match reverse_path {
            ReversePath::Mailbox(mailbox) => mailbox.needs_smtputf8(),
            ReversePath::Null => false,
        };
        let submitter_needs = match &params.auth {
            Some(AuthParam::Submitter(mailbox)) => mailbox.needs_smtputf8(),
            _ => false,
        };
        if !params.smtputf8 && (sender_needs || submitter_needs) {
            return Err(Refusal::SenderNeedsSmtpUtf8);
        }
        if params.size.is_some_and(|size| size > self.message_octets_max()) {
            return Err(Refusal::MessageTooLarge);
        }
        Ok(())
    }
}
