//! A MAIL and the RCPTs that came with it (RFC 2920), asked about together where whoever answers would have to ask a server
//! behind for each of them.
//!
//! Only a RCPT that would be asked about joins. Whatever else stands behind them is held until all answers are in, and then
//! taken as if it had just come: so its reply stands in its place, and it is judged by what the session is by then.

use std::collections::VecDeque;

use super::budget::Spend;
use super::contract::Ticket;
use super::precedence::Asked;
use super::session::{Pending, State};
use super::{Question, Recipient, Session, verb_table};
use crate::wire::command::Command;
use crate::wire::line::LineStep;
use crate::wire::params::MailParams;
use crate::wire::verb::Verb;

/// What waits behind the oldest question.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Younger questions, oldest first.
    asked: VecDeque<(Ticket, Pending)>,
    /// The line behind the last of them, and whether octets stood behind it.
    held: Option<(LineStep<'static>, bool)>,
}

// === impl Session ===

impl Session {
    /// Takes one line at most, while answers are awaited; nothing where it has to wait.
    pub(super) fn feed_group(&mut self, octets: &[u8]) -> usize {
        if !self.may_join() {
            return 0;
        }
        let limit = |line: &[u8]| verb_table::line_octets_max(Verb::split(line).0);
        let (taken, step) = self.reader.read(octets, limit);
        match step {
            LineStep::Partial if self.reader.refused_octets() == 0 => {}
            LineStep::Line(line) if self.join(&line) => {}
            step => {
                let is_followed = taken < octets.len();
                self.group.get_or_insert_default().held = Some((step.into_owned(), is_followed));
            }
        }
        taken
    }

    /// One more question is open.
    pub(super) fn wait_as_well(&mut self, ticket: Ticket, pending: Pending) {
        self.group.get_or_insert_default().asked.push_back((ticket, pending));
    }

    /// The oldest question was answered: the next one is now the oldest.
    pub(super) fn go_on_waiting(&mut self) {
        if let Some((ticket, pending)) = self.group.as_mut().and_then(|group| group.asked.pop_front()) {
            self.state = State::Waiting(ticket, pending);
        }
    }

    /// Takes the line that had to wait, once nothing is awaited any more.
    pub(super) fn take_held(&mut self) {
        if !matches!(self.state, State::Command) {
            return;
        }
        if let Some((step, is_followed)) = self.group.take().and_then(|group| group.held) {
            // No command line brings octets of a body: a chunk that goes on behind others cannot stand behind a RCPT.
            self.on_step(step, is_followed, &mut Vec::new());
        }
    }

    /// What MAIL has said, and how many recipients there may be by now; `None` without a transaction.
    pub(super) fn envelope_so_far(&self) -> Option<(&MailParams, usize)> {
        let oldest = match &self.state {
            State::Waiting(_, pending) => Some(pending),
            _ => None,
        };
        let younger = self.group.iter().flat_map(|group| group.asked.iter().map(|(_, pending)| pending));
        let asked = oldest.into_iter().chain(younger);
        let asked = asked.filter(|pending| matches!(pending, Pending::Recipient(_))).count();
        match (&self.transaction, oldest) {
            (_, Some(Pending::Mail(_, params))) => Some((params, asked)),
            (Some(transaction), _) => {
                let envelope = &transaction.envelope;
                Some((&envelope.params, envelope.recipients.len().saturating_add(asked)))
            }
            (None, _) => None,
        }
    }

    fn may_join(&self) -> bool {
        let is_in_order = match &self.state {
            State::Waiting(_, Pending::Mail(..)) => true,
            // Its MAIL may have been refused meanwhile.
            State::Waiting(_, Pending::Recipient(_)) => self.transaction.is_some(),
            _ => false,
        };
        let is_holding = self.group.as_ref().is_some_and(|group| group.held.is_some());
        // A deviation is noticed when its line is taken.
        let has_quirks = self.peer.quirks != super::Quirks::default();
        self.config.asks_in_groups && is_in_order && !is_holding && !has_quirks
    }

    /// Asks about the recipient, if this is a RCPT that nothing speaks against.
    fn join(&mut self, line: &[u8]) -> bool {
        let (verb, argument) = Verb::split(line);
        if verb != Verb::Rcpt || self.permit_anywhere(Asked { verb, is_followed: false }).is_err() {
            return false;
        }
        let Ok(Command::Rcpt { forward_path: path, params }) = Command::parse_argument(verb, argument) else {
            return false;
        };
        if self.check_rcpt(&path, &params).is_err()
            || self.budget.spend_command(&self.config.limits) == Spend::Spent
        {
            return false;
        }
        let question = Question::Recipient { path: path.clone(), params: params.clone() };
        self.wait_for(question, Pending::Recipient(Recipient { path, params }));
        true
    }
}
