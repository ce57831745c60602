//! RCPT (RFC 5321 section 4.1.1.3): one recipient a command.

use super::session::Pending;
use super::{Answer, Question, Recipient, Refusal, Session, offer};
use crate::wire::params::RcptParams;
use crate::wire::path::ForwardPath;
use crate::wire::reply::Reply;
use crate::wire::reply_parse::ReplyClass;

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
        let reply = match answer {
            Answer::Accepted => Reply::fixed(250, 1, 5, "Recipient OK"),
            Answer::Said(said) if said.class() == ReplyClass::Positive => Reply::relayed(said),
            Answer::Said(said) => {
                self.note_refused_recipient();
                return self.relay_refusal(said);
            }
            &Answer::Refused(refusal) => return self.refuse_recipient(refusal),
            _ => return self.refuse(Refusal::BackendFailed),
        };
        let Some(transaction) = &mut self.transaction else {
            // Asked about together with a MAIL that was refused.
            return self.refuse(Refusal::BadSequence);
        };
        transaction.envelope.recipients.push(recipient);
        self.reply(&reply);
    }

    /// Everything about RCPT's argument that the machine can judge by itself.
    pub(super) fn check_rcpt(&self, path: &ForwardPath, params: &RcptParams) -> Result<(), Refusal> {
        let Some((mail, recipients)) = self.envelope_so_far() else {
            return Err(Refusal::BadSequence);
        };
        if !self.is_esmtp() && *params != RcptParams::default() {
            return Err(Refusal::ParameterNotOffered);
        }
        if *params != RcptParams::default() && !offer::takes(self, |it| it.dsn) {
            return Err(Refusal::ParameterNotOffered);
        }
        let needs_smtputf8 = match path {
            ForwardPath::Mailbox(mailbox) => mailbox.needs_smtputf8(),
            ForwardPath::Postmaster => false,
        };
        if needs_smtputf8 && !mail.smtputf8 {
            return Err(Refusal::RecipientNeedsSmtpUtf8);
        }
        if recipients >= self.config.limits.recipients {
            return Err(Refusal::TooManyRecipients);
        }
        Ok(())
    }

    fn refuse_recipient(&mut self, refusal: Refusal) {
        self.note_refused_recipient();
        self.refuse(refusal);
    }

    fn note_refused_recipient(&mut self) {
        if let Some(transaction) = &mut self.transaction {
            transaction.has_refused_recipient = true;
        }
    }
}
