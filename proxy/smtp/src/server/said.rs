//! Refusals that a server behind has decided on.

use super::budget::Spend;
use super::{Evidence, Notice, Refusal, Session};
use crate::wire::limits;
use crate::wire::reply::Reply;
use crate::wire::reply_parse::{ReplyClass, ServerReply};
use crate::wire::verb::Verb;

// === impl Session ===

impl Session {
    /// What a server behind has said no with. It counts as our own no would.
    pub(super) fn relay_refusal(&mut self, said: &ServerReply) {
        let is_countable = said.class() == ReplyClass::Permanent;
        if is_countable && self.budget.spend_error(&self.config.limits) == Spend::Spent {
            return self.tell_refusal(Refusal::TooManyErrors);
        }
        self.tell_said(said);
    }

    /// The same for a whole body: see `refuse_body`.
    pub(super) fn relay_body_refusal(&mut self, said: &ServerReply) {
        if said.class() == ReplyClass::Permanent {
            let _ = self.budget.spend_error(&self.config.limits);
        }
        self.tell_said(said);
    }

    fn tell_said(&mut self, said: &ServerReply) {
        let is_short = self.verb == Verb::Xexch50;
        let reply = Reply::relayed(said);
        let reply = if is_short { reply.within(limits::XEXCH50_REPLY_OCTETS) } else { reply };
        let (rule, verb, code) = (SAID_RULE, self.verb.name(), reply.code());
        self.outputs.reply(&reply);
        let evidence = Evidence::default();
        self.outputs.notice(Notice::Refused { rule, verb, code, evidence, limit: None, token: None });
    }
}

/// The stable name of every refusal that a server behind has decided on.
const SAID_RULE: &str = "behind.refused";
