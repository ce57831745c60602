//! What the driver has still to do, in order.

use std::collections::VecDeque;

use super::contract::{Notice, Output, Question, Ticket};
use super::{CloseReason, Evidence};
use crate::wire::reply::Reply;

/// The queue behind `Session::poll`.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    queue: VecDeque<Output>,
    last_ticket: u64,
}

// === impl Outputs ===

impl Outputs {
    /// For the session inside TLS: nothing to do, but tickets that were never given out before.
    pub(super) fn secured(&self) -> Self {
        Self { queue: VecDeque::new(), last_ticket: self.last_ticket }
    }

    /// Replies that follow one another share one `Send`.
    pub(super) fn reply(&mut self, reply: &Reply<'_>) {
        if let Some(Output::Send(octets)) = self.queue.back_mut() {
            return reply.write(octets);
        }
        let mut octets = Vec::with_capacity(REPLY_OCTETS);
        reply.write(&mut octets);
        self.queue.push_back(Output::Send(octets));
    }

    pub(super) fn ask(&mut self, question: Question) -> Ticket {
        self.last_ticket = self.last_ticket.wrapping_add(1);
        let ticket = Ticket(self.last_ticket);
        self.queue.push_back(Output::Ask(ticket, question));
        ticket
    }

    /// A question whose answer nobody waits for.
    pub(super) fn tell(&mut self, question: Question) {
        let _ = self.ask(question);
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        self.queue.push_back(Output::Notice(notice));
    }

    /// The place behind all that is queued.
    pub(super) fn mark(&self) -> usize {
        self.queue.len()
    }

    /// Adds evidence to the refusals that were queued since.
    pub(super) fn add_evidence(&mut self, mark: usize, find: impl Fn() -> Evidence) {
        for output in self.queue.iter_mut().skip(mark) {
            if let Output::Notice(Notice::Refused { evidence, .. }) = output {
                *evidence = find();
            }
        }
    }

    pub(super) fn upgrade(&mut self) {
        self.queue.push_back(Output::Upgrade);
    }

    /// Octets came in behind STARTTLS before the driver saw the upgrade: it does not happen.
    pub(super) fn cancel_upgrade(&mut self) {
        self.queue.retain(|output| *output != Output::Upgrade);
    }

    pub(super) fn close(&mut self, reason: CloseReason) {
        self.queue.push_back(Output::Close(reason));
    }

    /// The next output where it asks about a recipient.
    pub(super) fn pop_recipient(&mut self) -> Option<(Ticket, Question)> {
        match self.queue.pop_front()? {
            Output::Ask(ticket, question @ Question::Recipient { .. }) => Some((ticket, question)),
            other => {
                self.queue.push_front(other);
                None
            }
        }
    }

    pub(super) fn pop(&mut self) -> Option<Output> {
        let output = self.queue.pop_front();
        if self.queue.is_empty() {
            // An idle session holds no buffer.
            self.queue = VecDeque::new();
        }
        output
    }
}

/// Room for one reply of usual length, so that it is written without growing.
const REPLY_OCTETS: usize = 64;
