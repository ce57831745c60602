//! The body: behind DATA with its dots doubled, or in chunks where CHUNKING is offered (RFC 3030).

use super::Protocol;
use super::awaited::Awaited;
use super::contract::{Content, Failure, Outcome, Output, Stage};
use super::session::Session;
use super::state::{State, after};
use crate::wire::data::LineEncoder;
use crate::wire::params::BodyKind;
use crate::wire::reply_parse::{ReplyClass, ServerReply};

/// How far a body has come.
#[derive(Debug)]
pub(super) struct Body {
    /// `None`: octets that are not lines.
    encoder: Option<LineEncoder>,
    /// Octets that are still to come.
    left: u64,
    /// Of the chunk whose BDAT was sent; `None`: behind DATA.
    chunk_left: Option<u64>,
}

// === impl Body ===

impl Body {
    pub(super) fn new(content: &Content, in_chunks: bool) -> Self {
        let encoder = match content.kind {
            BodyKind::BinaryMime => None,
            _ if in_chunks => Some(LineEncoder::for_chunks()),
            _ => Some(LineEncoder::for_data()),
        };
        Self { encoder, left: content.octets, chunk_left: in_chunks.then_some(0) }
    }

    pub(super) const fn is_in_chunks(&self) -> bool {
        self.chunk_left.is_some()
    }
}

// === impl Session ===

impl Session {
    /// Behind 354.
    pub(super) fn begin_data(&mut self) {
        self.state = State::Body;
        self.go_on();
    }

    pub(super) fn begin_chunks(&mut self) {
        self.state = State::Body;
        self.next_chunk();
    }

    /// Some of the body, as much as was asked for at most.
    pub(super) fn body_part(&mut self, octets: &[u8]) {
        let Some(transaction) = &mut self.transaction else { return };
        let body = &mut transaction.body;
        let taken = octets.len() as u64;
        let octets_max = body.chunk_left.unwrap_or(body.left);
        let mut out = Vec::with_capacity(octets.len().saturating_add(DOTS_USUAL));
        let encoded = match &mut body.encoder {
            None => {
                out.extend_from_slice(octets);
                Ok(())
            }
            Some(encoder) => encoder.encode(octets, &mut out),
        };
        body.left = body.left.saturating_sub(taken);
        let is_torn = body.left == 0 && body.encoder.as_ref().is_some_and(LineEncoder::is_behind_cr);
        if encoded.is_err() || is_torn || taken == 0 || taken > octets_max {
            return self.fail(Failure::BadContent);
        }
        body.chunk_left = body.chunk_left.map(|left| left.saturating_sub(taken));
        self.send(out);
        self.go_on();
    }

    /// Asks for more of the body or of its chunk, or ends it.
    fn go_on(&mut self) {
        let Some(transaction) = &mut self.transaction else { return };
        let body = &mut transaction.body;
        match (body.left, body.chunk_left) {
            (0, None) => self.end_data(),
            (0, Some(_)) => self.await_ends(),
            (left, None) => self.output(Output::NeedBody { octets_max: left }),
            (_, Some(0)) => self.end_chunk(),
            (_, Some(left)) => self.output(Output::NeedBody { octets_max: left }),
        }
    }

    fn end_data(&mut self) {
        let Some(transaction) = &mut self.transaction else { return };
        let mut end = Vec::new();
        let ended = transaction.body.encoder.take().map(|encoder| encoder.end_data(&mut end));
        if !matches!(ended, Some(Ok(()))) {
            return self.fail(Failure::BadContent);
        }
        self.send(end);
        self.await_ends();
    }

    fn next_chunk(&mut self) {
        let Some(transaction) = &mut self.transaction else { return };
        let body = &mut transaction.body;
        let octets = body.left.min(CHUNK_OCTETS);
        let last = if octets == body.left { " LAST" } else { "" };
        body.chunk_left = Some(octets);
        self.send(format!("BDAT {octets}{last}\r\n").into_bytes());
        self.go_on();
    }

    /// Behind a chunk that is not the last.
    fn end_chunk(&mut self) {
        self.awaited.push_back(Awaited::Chunk);
        // The octets of a chunk are its command's: they may follow without its reply where commands may.
        if self.offered.pipelining && self.awaited.len() < CHUNKS_AWAITED_MAX {
            self.next_chunk();
        } else {
            self.state = State::Conversing;
        }
    }

    /// The body is whole: each reply from now on decides.
    fn await_ends(&mut self) {
        self.state = State::Conversing;
        // What was sent must not be given up for having been slow to send: it may be delivered already.
        let deadline =
            after(self.now(), self.config.patience.transaction.max(self.config.patience.end_of_data));
        if let Some(transaction) = &mut self.transaction {
            transaction.deadline = deadline;
        }
        let ends = match self.config.protocol {
            Protocol::Smtp => 1,
            Protocol::Lmtp => self.accepted_recipients(),
        };
        self.awaited.extend(std::iter::repeat_n(Awaited::End, ends));
    }

    pub(super) fn chunk_replied(&mut self, reply: ServerReply) {
        if reply.class() != ReplyClass::Positive {
            return self.body_refused(reply);
        }
        let is_waiting = self.state == State::Conversing && self.awaited.is_empty();
        if is_waiting {
            self.begin_chunks();
        }
    }

    /// In the middle of the body. It cannot be ended without being taken for a whole one, so the connection ends.
    pub(super) fn body_refused(&mut self, reply: ServerReply) {
        if let (Some(refused), Some(transaction)) = (Outcome::of_refusal(&reply), &mut self.transaction) {
            transaction.decide_accepted(&refused);
        }
        self.state = State::Body;
        self.refused(Stage::Body, reply);
    }
}

/// Of a chunk: large enough for its round trip not to count, small enough for a server to refuse early.
const CHUNK_OCTETS: u64 = 1024 * 1024;

/// Chunks whose replies are not there yet.
const CHUNKS_AWAITED_MAX: usize = 16;

/// Doubled dots of a part that fit without growing its buffer.
const DOTS_USUAL: usize = 64;
