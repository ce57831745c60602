//! DATA (RFC 5321 section 4.1.1.4).
//!
//! Octets that stand behind DATA before the 354 end the session: RFC 2920 section 3.1 forbids them, and were DATA refused
//! they would be a body that is read as commands.

use super::body::DataBody;
use super::session::{Pending, State};
use super::{Answer, BodySink, Notice, Refusal, Session};
use crate::wire::data::DataDecoder;
use crate::wire::reply::Reply;
use crate::wire::reply_parse::ReplyClass;

// === impl Session ===

impl Session {
    pub(super) fn on_data(&mut self) {
        self.ask_for_body(Pending::Data);
    }

    pub(super) fn data_answered(&mut self, answer: &Answer) {
        match answer {
            Answer::Accepted => {
                self.reply(&Reply::plain(354, "End data with <CR><LF>.<CR><LF>"));
                self.deadlines.arm_body(&self.config.limits);
                let decoder = match self.peer.quirks.bare_lf_normalise {
                    true => DataDecoder::quirk_bare_lf(),
                    false => DataDecoder::default(),
                };
                self.state = State::Data(DataBody { decoder, ..DataBody::default() });
            }
            Answer::Said(said) if said.class() >= ReplyClass::Temporary => {
                self.abort_transaction();
                self.relay_refusal(said);
            }
            &Answer::Refused(refusal) => {
                self.abort_transaction();
                self.refuse(refusal);
            }
            _ => self.refuse(Refusal::BackendFailed),
        }
    }

    /// Takes octets of the body. One over the limit, or with a fault in it, is read to its end as well, but not stored.
    pub(super) fn feed_data(&mut self, octets: &[u8], body: &mut dyn BodySink) -> usize {
        self.deadlines.arm_body_idle(&self.config.limits);
        let octets_max = self.message_octets_max();
        let State::Data(data) = &mut self.state else {
            return 0;
        };
        let DataBody { decoder, size, wire_octets } = data;
        let taken = decoder.decode(octets, &mut |piece| size.put(piece, octets_max, body));
        *wire_octets = wire_octets.saturating_add(taken as u64);
        if *wire_octets > octets_max.saturating_add(self.config.limits.drain_octets) {
            self.refuse(Refusal::DrainLimit);
        } else if decoder.is_finished() {
            let (fault, octets) = (decoder.fault(), size.octets());
            if decoder.has_normalised() {
                self.outputs.notice(Notice::BARE_LF);
            }
            self.end_data(fault.map(Refusal::BodyFraming), octets);
        }
        taken
    }

    fn end_data(&mut self, fault: Option<Refusal>, octets: u64) {
        self.deadlines.arm_command(&self.config.limits);
        let is_too_large = octets > self.message_octets_max();
        match fault.or(is_too_large.then_some(Refusal::MessageTooLarge)) {
            Some(refusal) => self.reject_body(refusal),
            None => self.commit(octets),
        }
    }
}
