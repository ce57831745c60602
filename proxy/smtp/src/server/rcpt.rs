//! RCPT (RFC 5321 section 4.1.1.3): one recipient a command.

use super::session::Pending;
use super::{Answer, Question, Recipient, Refusal, Session};
use crate::wire::params::RcptParams;
use crate::wire::path::ForwardPath;
use crate::wire::reply::Reply;

// === impl Session ===

impl Session {
    pub(super) fn on_rcpt(&mut self, path: ForwardPath, params: RcptParams) {
        if let Err(refusal) = self.check_rcpt(&path, &params) {
            return self.refuse_recipient(refusal);
        }
        let question = Question::Recipient { path: path.clone(), params: params.clone() };
        self.wait_for(question, Pending::Recipient(Recipient { path, params }));
    }

    pub(super) fn recipient_answered(&mut self, recipient: Recipient, answer: &Answer) {
        let Some(transaction) = &mut self.transaction else {
            return self.refuse(Refusal::BackendFailed);
        };
        match answer {
            Answer::Accepted => {
                transaction.envelope.recipients.push(recipient);
                self.reply(&Reply::fixed(250, 1, 5, "Recipient OK"));
            }
            &Answer::Refused(refusal) => self.refuse_recipient(refusal),
            _ => self.refuse(Refusal::BackendFailed),
        }
    }

    /// Everything about RCPT's argument that the machine can judge by itself.
    fn check_rcpt(&self, path: &ForwardPath, params: &RcptParams) -> Result<(), Refusal> {
        let Some(transaction) = &self.transaction else {
            return Err(Refusal::BadSequence);
        };
        if !self.is_esmtp() && *params != RcptParams::default() {
            return Err(Refusal::ParameterNotOffered);
        }
        let needs_smtputf8 = match path {
            ForwardPath::Mailbox(mailbox) => mailbox.needs_smtputf8(),
            ForwardPath::Postmaster => false,
        };
        if needs_smtputf8 && !transaction.envelope.params.smtputf8 {
            return Err(Refusal::RecipientNeedsSmtpUtf8);
        }
        if transaction.envelope.recipients.len() >= self.config.limits.recipients {
            return Err(Refusal::TooManyRecipients);
        }
        Ok(())
    }

    fn refuse_recipient(&mut self, refusal: Refusal) {
        if let Some(transaction) = &mut self.transaction {
            transaction.has_refused_recipient = true;
        }
        self.refuse(refusal);
    }
}
