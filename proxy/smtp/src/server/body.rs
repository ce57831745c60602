//! What DATA and BDAT share: counting, the commit.

use super::session::{Pending, State};
use super::{Answer, BodySink, Notice, Question, Refusal, Session};
use crate::wire::bdat::ChunkDecoder;
use crate::wire::data::DataDecoder;
use crate::wire::reply::Reply;
use crate::wire::reply_parse::{ReplyClass, ServerReply};

/// A body behind 354.
#[derive(Debug, Default)]
pub(super) struct DataBody {
    pub(super) decoder: DataDecoder,
    pub(super) size: Size,
    /// Octets as they came, doubled dots and end of data included.
    pub(super) wire_octets: u64,
}

/// A body in chunks, of which some may have been taken.
#[derive(Debug)]
pub(super) struct ChunkedBody {
    pub(super) decoder: ChunkDecoder,
    pub(super) size: Size,
}

/// The chunk that is being taken.
#[derive(Debug)]
pub(super) struct ChunkBody {
    pub(super) remaining: u64,
    pub(super) is_last: bool,
}

/// The chunk that is being dropped, and what it is answered with at its end.
#[derive(Debug)]
pub(super) struct RefusedChunk {
    pub(super) remaining: u64,
    pub(super) refusal: Refusal,
    /// Where a server behind has refused it: what it has said.
    pub(super) said: Option<Box<ServerReply>>,
    /// Whether it only follows another refused one: then it is no further error.
    pub(super) is_follower: bool,
}

/// The octets of a body, decoded.
#[derive(Debug, Default)]
pub(super) struct Size {
    octets: u64,
}

// === impl Size ===

impl Size {
    /// Counts a piece of the body, and stores it as long as the body is within the limit.
    pub(super) fn put(&mut self, piece: &[u8], limit: u64, body: &mut dyn BodySink) {
        self.octets = self.octets.saturating_add(piece.len() as u64);
        if self.octets <= limit {
            body.put(piece);
        }
    }

    pub(super) const fn octets(&self) -> u64 {
        self.octets
    }
}

// === impl Session ===

impl Session {
    /// Asks outside to make ready for the body.
    pub(super) fn ask_for_body(&mut self, pending: Pending) {
        let Some(transaction) = &self.transaction else {
            return self.refuse(Refusal::BackendFailed);
        };
        let question = Question::Body { envelope: transaction.envelope.clone() };
        self.wait_for(question, pending);
    }

    /// The body is whole. From here on the transaction belongs to whoever stores it.
    pub(super) fn commit(&mut self, octets: u64) {
        self.deadlines.end_body();
        let recipients =
            self.transaction.take().map_or(0, |transaction| transaction.envelope.recipients.len());
        self.wait_for(Question::Commit, Pending::Commit { octets, recipients });
    }

    pub(super) fn commit_answered(&mut self, octets: u64, recipients: usize, answer: Answer) {
        match answer {
            Answer::Stored { queue_id } => {
                self.budget.refill_drained();
                self.reply(&Reply::queued(&queue_id));
                self.outputs.notice(Notice::Stored { queue_id, octets, recipients });
            }
            Answer::Said(said) if said.class() == ReplyClass::Positive => {
                self.budget.refill_drained();
                self.reply(&Reply::relayed(&said));
                self.outputs.notice(Notice::HandedOn { octets, recipients });
            }
            Answer::Said(said) => self.relay_body_refusal(&said),
            Answer::Refused(refusal) => self.refuse_body(refusal),
            _ => self.refuse(Refusal::BackendFailed),
        }
        self.close_if_peer_closed();
    }

    /// The body is over and not taken; commands follow, unless the refusal ends the session.
    pub(super) fn reject_body(&mut self, refusal: Refusal) {
        self.abort_transaction();
        self.state = State::Command;
        self.refuse_body(refusal);
    }
}
