//! The verbs between servers, for a server behind us: reached by peers with the right to them only.
//!
//! The blob of XEXCH50 is handed on as it arrives; whatever size is declared, none of it is held here.

use super::contract::Extension;
use super::session::{Pending, State};
use super::{Answer, BodySink, CloseReason, Extensions, PeerFacts, Question, Refusal, Session};
use crate::wire::extension::{Exch50, LinkState, Position};
use crate::wire::limits;
use crate::wire::reply::Reply;
use crate::wire::reply_parse::ReplyClass;
use crate::wire::verb::Verb;
use crate::wire::xclient::Xclient;

/// A blob behind 354.
#[derive(Debug)]
pub(super) struct Blob {
    remaining: u64,
}

// === impl Session ===

impl Session {
    /// A client has to wait for the 354 with the blob. Where it has not, nobody knows whether what stands behind the command
    /// is one.
    pub(super) fn on_exch50(&mut self, exch50: Exch50, is_followed: bool) {
        if exch50.octets > self.blob_octets_max() {
            self.refuse(Refusal::BlobTooLarge);
            if is_followed {
                self.close(CloseReason::EarlyTalker);
            }
            return;
        }
        if is_followed {
            return self.refuse(Refusal::EarlyTalker);
        }
        self.wait_for(Question::Extension(Extension::Exch50(exch50)), Pending::Blob(exch50.octets));
    }

    pub(super) fn blob_answered(&mut self, octets: u64, answer: &Answer) {
        match answer {
            Answer::Accepted => {
                self.reply(&Reply::plain(354, "Send binary data"));
                self.deadlines.arm_body(&self.config.limits);
                self.state = State::Blob(Blob { remaining: octets });
                self.end_blob_if_whole();
            }
            Answer::Said(said) if said.class() != ReplyClass::Positive => self.relay_refusal(said),
            &Answer::Refused(refusal) => self.refuse(refusal),
            _ => self.refuse(Refusal::BackendFailed),
        }
    }

    /// Takes octets of a blob: exactly as many as were declared.
    pub(super) fn feed_blob(&mut self, octets: &[u8], body: &mut dyn BodySink) -> usize {
        self.deadlines.arm_body_idle(&self.config.limits);
        let State::Blob(blob) = &mut self.state else {
            return 0;
        };
        let count = usize::try_from(blob.remaining).unwrap_or(usize::MAX).min(octets.len());
        let piece = octets.get(..count).unwrap_or_default();
        body.put_blob(piece);
        blob.remaining = blob.remaining.saturating_sub(count as u64);
        self.end_blob_if_whole();
        count
    }

    fn end_blob_if_whole(&mut self) {
        if let State::Blob(Blob { remaining: 0 }) = self.state {
            self.deadlines.end_body();
            self.wait_for(Question::ExtensionEnd, Pending::Extension);
        }
    }

    /// The hole of MS05-021 was a chunk that belongs to no series. A single one may be the last of a series at once. Series are
    /// those of the session behind: it hears no EHLO of this client's, so that EHLO neither ends nor begins one.
    pub(super) fn on_link_state(&mut self, chunk: LinkState) {
        let is_in_order = match chunk.position {
            Some(Position::First) => !self.has_link_state,
            Some(Position::Last) => true,
            Some(Position::Next) | None => self.has_link_state,
        };
        if !is_in_order {
            return self.refuse(Refusal::BadSequence);
        }
        self.has_link_state = chunk.position != Some(Position::Last);
        self.on_extension(Extension::LinkState(chunk));
    }

    pub(super) fn on_extension(&mut self, extension: Extension) {
        self.wait_for(Question::Extension(extension), Pending::Extension);
    }

    pub(super) fn extension_answered(&mut self, answer: &Answer) {
        let is_taken = match answer {
            Answer::Said(said) => said.class() == ReplyClass::Positive,
            answer => *answer == Answer::Accepted,
        };
        // Whoever has refused a chunk is in no series that another could go on with.
        self.has_link_state &= is_taken || self.verb != Verb::XLink2State;
        match answer {
            Answer::Said(said) if said.class() != ReplyClass::Positive => self.relay_refusal(said),
            // What may stand behind a 250 to a blob is a few octets.
            Answer::Said(said) if self.verb != Verb::Xexch50 => self.reply(&Reply::relayed(said)),
            Answer::Accepted | Answer::Said(_) => self.reply(&Reply::fixed(250, 0, 0, "OK")),
            &Answer::Refused(refusal) => self.refuse(refusal),
            _ => self.refuse(Refusal::BackendFailed),
        }
    }

    pub(super) fn on_xclient(&mut self, xclient: Xclient) {
        self.wait_for(Question::Xclient(xclient), Pending::Xclient);
    }

    /// The session begins anew, on behalf of somebody else. Nothing that was said before holds any more but TLS, which is the
    /// relay's, and what has been used up. The certificate is the relay's as well, and proves nothing of its client.
    pub(super) fn xclient_answered(&mut self, answer: Answer) {
        match answer {
            Answer::Peer(facts) => {
                self.peer = PeerFacts { tls: self.peer.tls.take(), ..facts };
                self.reader = self.peer.quirks.line_reader();
                self.hello = None;
                self.identity = None;
                self.has_certificate = false;
                self.has_link_state = false;
                self.greet();
            }
            Answer::Refused(refusal) => self.refuse(refusal),
            _ => self.refuse(Refusal::BackendFailed),
        }
    }

    fn blob_octets_max(&self) -> u64 {
        match self.config.extensions {
            Extensions::Unavailable => 0,
            Extensions::PassThrough { blob_octets } => blob_octets.min(limits::BLOB_OCTETS_MAX),
        }
    }
}
