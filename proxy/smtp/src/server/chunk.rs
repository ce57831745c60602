//! BDAT (RFC 3030). The octets of a refused chunk are dropped, never read as commands.

use super::body::{ChunkBody, ChunkedBody, RefusedChunk, Size};
use super::budget::Spend;
use super::precedence::Asked;
use super::session::{Pending, State};
use super::{Answer, BodySink, Refusal, Session};
use crate::wire::bdat::{Chunk, ChunkDecoder};
use crate::wire::command::Command;
use crate::wire::params::BodyKind;
use crate::wire::reply::Reply;
use crate::wire::reply_parse::{ReplyClass, ServerReply};
use crate::wire::verb::Verb;

// === impl Session ===

impl Session {
    /// Reads the size before anything else: without it nobody knows where the next command is, and the session ends.
    pub(super) fn on_bdat(&mut self, argument: &[u8], body: &mut dyn BodySink) {
        let Ok(Command::Bdat(chunk)) = Command::parse_argument(Verb::Bdat, argument) else {
            return self.refuse(Refusal::ChunkSyntax);
        };
        let asked = Asked { verb: Verb::Bdat, is_followed: false };
        if let Err(refusal) = self.permit(asked).and_then(|()| self.permit_size(chunk)) {
            return self.refuse_chunk(chunk, refusal, None);
        }
        let is_first = self.transaction.as_ref().is_some_and(|transaction| transaction.chunks.is_none());
        if is_first { self.ask_for_body(Pending::FirstChunk(chunk)) } else { self.begin_chunk(chunk, body) }
    }

    pub(super) fn first_chunk_answered(&mut self, chunk: Chunk, answer: Answer) {
        match (answer, &mut self.transaction) {
            (Answer::Accepted, Some(transaction)) => {
                let decoder = match transaction.envelope.params.body {
                    BodyKind::BinaryMime => ChunkDecoder::binary(),
                    BodyKind::SevenBit | BodyKind::EightBitMime => ChunkDecoder::lines(),
                };
                transaction.chunks = Some(ChunkedBody { decoder, size: Size::default() });
                self.deadlines.arm_body(&self.config.limits);
                // Only a chunk without octets ends here, and a body without octets has no last line to end.
                self.begin_chunk(chunk, &mut Vec::new());
            }
            (Answer::Refused(refusal), Some(_)) => self.refuse_chunk(chunk, refusal, None),
            (Answer::Said(said), Some(_)) if said.class() >= ReplyClass::Temporary => {
                self.refuse_chunk(chunk, Refusal::ContentRejected, Some(Box::new(said)));
            }
            _ => self.refuse(Refusal::BackendFailed),
        }
    }

    /// Takes octets of an accepted chunk.
    pub(super) fn feed_chunk(&mut self, octets: &[u8], body: &mut dyn BodySink) -> usize {
        self.deadlines.arm_body_idle(&self.config.limits);
        let limit = self.message_octets_max();
        let (State::Chunk(chunk), Some(transaction)) = (&mut self.state, &mut self.transaction) else {
            return 0;
        };
        let piece = first_octets(octets, chunk.remaining);
        chunk.remaining = chunk.remaining.saturating_sub(piece.len() as u64);
        if let Some(ChunkedBody { decoder, size }) = &mut transaction.chunks {
            decoder.decode(piece, &mut |piece| size.put(piece, limit, body));
        }
        self.end_chunk_if_whole(body);
        piece.len()
    }

    /// Drops octets of a refused chunk.
    pub(super) fn feed_refused_chunk(&mut self, octets: &[u8]) -> usize {
        self.deadlines.arm_body_idle(&self.config.limits);
        let State::RefusedChunk(chunk) = &mut self.state else {
            return 0;
        };
        let dropped = first_octets(octets, chunk.remaining).len();
        chunk.remaining = chunk.remaining.saturating_sub(dropped as u64);
        self.end_refused_chunk_if_whole();
        dropped
    }

    fn permit_size(&self, chunk: Chunk) -> Result<(), Refusal> {
        let chunks = self.transaction.as_ref().and_then(|transaction| transaction.chunks.as_ref());
        let octets = chunks.map_or(0, |chunks| chunks.size.octets()).saturating_add(chunk.octets);
        if octets > self.message_octets_max() { Err(Refusal::MessageTooLarge) } else { Ok(()) }
    }

    fn begin_chunk(&mut self, chunk: Chunk, body: &mut dyn BodySink) {
        self.deadlines.arm_body_idle(&self.config.limits);
        self.state = State::Chunk(ChunkBody { remaining: chunk.octets, is_last: chunk.is_last });
        self.end_chunk_if_whole(body);
    }

    fn end_chunk_if_whole(&mut self, body: &mut dyn BodySink) {
        let limit = self.message_octets_max();
        let (State::Chunk(ChunkBody { remaining: 0, is_last }), Some(transaction)) =
            (&self.state, &mut self.transaction)
        else {
            return;
        };
        let Some(ChunkedBody { decoder, size }) = &mut transaction.chunks else {
            return;
        };
        let checked = match is_last {
            true => decoder.finish(&mut |piece| size.put(piece, limit, body)),
            false => decoder.fault().map_or(Ok(()), Err),
        };
        let (is_last, octets) = (*is_last, size.octets());
        self.deadlines.arm_command(&self.config.limits);
        self.state = State::Command;
        match checked {
            Err(fault) => self.reject_body(Refusal::BodyFraming(fault)),
            // Only the CRLF that a last chunk lacked can lead here.
            Ok(()) if octets > limit => self.reject_body(Refusal::MessageTooLarge),
            Ok(()) if is_last => self.commit(octets),
            Ok(()) => self.reply(&Reply::fixed(250, 0, 0, "Chunk OK")),
        }
    }

    /// The whole transaction is lost with one chunk; those that the client has sent behind it get 503.
    fn refuse_chunk(&mut self, chunk: Chunk, refusal: Refusal, said: Option<Box<ServerReply>>) {
        let is_follower = self.has_refused_chunk;
        self.abort_transaction();
        if self.budget.spend_drained(chunk.octets, &self.config.limits) == Spend::Spent {
            return self.refuse(Refusal::DrainLimit);
        }
        self.has_refused_chunk = !chunk.is_last;
        self.deadlines.arm_body(&self.config.limits);
        self.state =
            State::RefusedChunk(RefusedChunk { remaining: chunk.octets, refusal, said, is_follower });
        self.end_refused_chunk_if_whole();
    }

    fn end_refused_chunk_if_whole(&mut self) {
        let State::RefusedChunk(RefusedChunk { remaining: 0, refusal, said, is_follower }) = &mut self.state
        else {
            return;
        };
        let (refusal, said, is_follower) = (*refusal, said.take(), *is_follower);
        self.deadlines.end_body();
        self.deadlines.arm_command(&self.config.limits);
        self.state = State::Command;
        match said {
            Some(said) => self.relay_refusal(&said),
            None if is_follower => self.tell_refusal(refusal),
            None => self.refuse(refusal),
        }
    }
}

/// At most so many octets of these.
fn first_octets(octets: &[u8], count: u64) -> &[u8] {
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(octets.len());
    octets.get(..count).unwrap_or_default()
}
