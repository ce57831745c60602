//! A mail that somebody is handing in: each of his commands is written anew for the server, and its reply told.
//!
//! Between two commands of one transaction the session rests as it does between two mails. What is written goes into the
//! buffer of whoever hands it on, because the octets of a body shall move once.

use std::io::Write as _;
use std::time::Instant;

use super::awaited::Awaited;
use super::contract::{Failure, Output, Stage, Unsuited};
use super::session::Session;
use super::state::State;
use super::{Capabilities, NotReady, SizeOffer};
use crate::wire::data::LineEncoder;
use crate::wire::params::{BodyKind, MailParams, RcptParams};
use crate::wire::path::{ForwardPath, ReversePath};
use crate::wire::reply_parse::{ReplyClass, ServerReply};

/// Why a command cannot be handed on. Nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotHandedOn {
    /// The server does not offer what it needs.
    #[error(transparent)]
    Unsuited(#[from] Unsuited),
    /// The session is in the middle of something else.
    #[error(transparent)]
    NotReady(#[from] NotReady),
}

// === impl Session ===

impl Session {
    /// Whether the server has a transaction that only `hand_on_reset` ends.
    #[must_use]
    pub const fn is_in_transaction(&self) -> bool {
        self.is_open
    }

    /// Whether nothing is awaited and nothing sent.
    #[must_use]
    pub fn is_resting(&self) -> bool {
        self.state == State::Idle
    }

    /// Whether the server offers what a MAIL needs.
    ///
    /// # Errors
    /// What it lacks.
    pub fn suits_mail(&self, path: &ReversePath, params: &MailParams) -> Result<(), Unsuited> {
        params_behind(path, params, &self.offered, self.is_secured).map(|_| ())
    }

    /// MAIL. Its reply is that to the command, and so it is with RCPT and RSET.
    ///
    /// # Errors
    /// Where the server lacks what a parameter needs, or a body is on its way.
    pub fn hand_on_mail(
        &mut self,
        now: Instant,
        path: &ReversePath,
        params: &MailParams,
        out: &mut Vec<u8>,
    ) -> Result<(), NotHandedOn> {
        self.begin_hand_on(now)?;
        let params = params_behind(path, params, &self.offered, self.is_secured)?;
        write(out, format_args!("MAIL FROM:{path}{params}\r\n"));
        self.awaited_of(Stage::Mail);
        Ok(())
    }

    /// RCPT.
    ///
    /// # Errors
    /// As `hand_on_mail`.
    pub fn hand_on_rcpt(
        &mut self,
        now: Instant,
        path: &ForwardPath,
        params: &RcptParams,
        out: &mut Vec<u8>,
    ) -> Result<(), NotHandedOn> {
        self.begin_hand_on(now)?;
        if matches!(path, ForwardPath::Mailbox(mailbox) if mailbox.needs_smtputf8()) && !self.offered.smtputf8
        {
            return Err(Unsuited::Utf8Address.into());
        }
        if *params != RcptParams::default() && !self.offered.dsn {
            return Err(Unsuited::Notices.into());
        }
        write(out, format_args!("RCPT TO:{path}{params}\r\n"));
        self.awaited_of(Stage::Rcpt);
        Ok(())
    }

    /// RSET.
    ///
    /// # Errors
    /// Where a body is on its way.
    pub fn hand_on_reset(&mut self, now: Instant, out: &mut Vec<u8>) -> Result<(), NotReady> {
        self.begin_hand_on(now)?;
        out.extend_from_slice(b"RSET\r\n");
        self.awaited_of(Stage::Reset);
        Ok(())
    }

    /// DATA. Behind 354 the body goes by `hand_on_body` and ends with `hand_on_end`; behind anything else it does not.
    ///
    /// # Errors
    /// Where replies are awaited, or a body is on its way.
    pub fn hand_on_data(&mut self, now: Instant, out: &mut Vec<u8>) -> Result<(), NotReady> {
        self.begin_hand_on(now)?;
        if !self.awaited.is_empty() {
            return Err(NotReady);
        }
        out.extend_from_slice(b"DATA\r\n");
        self.awaited_of(Stage::Data);
        Ok(())
    }

    /// Octets of the body, CRLF lines, with dots doubled. Octets that are none end the session without an end of data.
    pub fn hand_on_body(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        if self.state != State::Body {
            return;
        }
        let encoded = self.handed.as_mut().map(|encoder| encoder.encode(octets, out));
        if !matches!(encoded, Some(Ok(()))) {
            self.fail(Failure::BadContent);
        }
    }

    /// A chunk of a body that goes by BDAT, whatever its octets (RFC 3030): the replies to all but the last are looked at
    /// here, and told where they are refusals.
    ///
    /// # Errors
    /// Where the session is in the middle of something else.
    pub fn hand_on_chunk(
        &mut self,
        now: Instant,
        octets: &[u8],
        is_last: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), NotReady> {
        self.set_now(now);
        self.expect_silence();
        let is_between = matches!(self.state, State::Idle | State::Conversing)
            && self.awaited.iter().all(|awaited| *awaited == Awaited::HandedChunk);
        if !is_between {
            return Err(NotReady);
        }
        let last = if is_last { " LAST" } else { "" };
        write(out, format_args!("BDAT {}{last}\r\n", octets.len()));
        out.extend_from_slice(octets);
        self.state = State::Conversing;
        self.awaited.push_back(if is_last {
            Awaited::HandedOn(Stage::EndOfData)
        } else {
            Awaited::HandedChunk
        });
        self.arm();
        Ok(())
    }

    /// Chunks whose replies are not there yet.
    #[must_use]
    pub fn awaited_replies(&self) -> usize {
        self.awaited.len()
    }

    /// The body behind DATA is whole: its reply decides.
    ///
    /// # Errors
    /// Where there is none, or it ends in the middle of a line's end. Then nothing was ended.
    pub fn hand_on_end(&mut self, now: Instant, out: &mut Vec<u8>) -> Result<(), NotReady> {
        self.set_now(now);
        self.expect_silence();
        if self.state != State::Body {
            return Err(NotReady);
        }
        match self.handed.take().map(|encoder| encoder.end_data(out)) {
            Some(Ok(())) => {
                self.awaited_of(Stage::EndOfData);
                Ok(())
            }
            _ => {
                self.fail(Failure::BadContent);
                Err(NotReady)
            }
        }
    }

    pub(super) fn handed_on_replied(&mut self, stage: Stage, reply: ServerReply) {
        match stage {
            Stage::Auth => return self.relayed_auth_replied(reply),
            Stage::Extension => return self.extension_replied(reply),
            Stage::Blob => return self.blob_replied(reply),
            _ => {}
        }
        match (stage, reply.class()) {
            (Stage::Data, ReplyClass::Intermediate) => {
                self.handed = Some(LineEncoder::for_data());
                self.state = State::Body;
            }
            (Stage::Data, ReplyClass::Positive) | (_, ReplyClass::Intermediate) => {
                return self.refused(stage, reply);
            }
            (Stage::Mail, ReplyClass::Positive) => self.is_open = true,
            (Stage::Reset, ReplyClass::Positive) | (Stage::EndOfData, _) => self.is_open = false,
            _ => {}
        }
        self.output(Output::Replied(reply));
        self.rest_if_answered();
    }

    pub(super) fn handed_chunk_replied(&mut self, reply: ServerReply) {
        match reply.class() {
            ReplyClass::Positive => self.rest_if_answered(),
            _ => self.refused(Stage::Body, reply),
        }
    }

    pub(super) fn rest_if_answered(&mut self) {
        if self.state == State::Conversing && self.awaited.is_empty() {
            self.state = State::Idle;
        }
    }

    /// Between two mails, or behind commands that were handed on.
    fn begin_hand_on(&mut self, now: Instant) -> Result<(), NotReady> {
        self.set_now(now);
        self.expect_silence();
        let is_handed_on = |awaited: &Awaited| {
            matches!(awaited, Awaited::HandedOn(Stage::Mail | Stage::Rcpt | Stage::Reset))
        };
        match self.state {
            State::Idle => Ok(()),
            State::Conversing if !self.awaited.is_empty() && self.awaited.iter().all(is_handed_on) => Ok(()),
            _ => Err(NotReady),
        }
    }

    /// A reply that has begun where none was due would be whole behind the next command, and be taken for its.
    pub(super) fn expect_silence(&mut self) {
        if self.awaited.is_empty() && self.reader.is_within_reply() {
            self.fail(Failure::Unsolicited(self.stage()));
        }
    }

    pub(super) fn awaited_of(&mut self, stage: Stage) {
        self.state = State::Conversing;
        self.awaited.push_back(Awaited::HandedOn(stage));
        self.arm();
    }
}

/// The parameters of a MAIL for a server that offers this. What only speaks of the mail is left out where it says nothing
/// to the server (SIZE, AUTH); what asks for something is not.
fn params_behind(
    path: &ReversePath,
    params: &MailParams,
    offered: &Capabilities,
    is_secured: bool,
) -> Result<MailParams, Unsuited> {
    let is_utf8_sender = matches!(path, ReversePath::Mailbox(mailbox) if mailbox.needs_smtputf8());
    let lacks = [
        (params.requiretls && !(is_secured && offered.requiretls), Unsuited::RequireTls),
        ((params.smtputf8 || is_utf8_sender) && !offered.smtputf8, Unsuited::Utf8Address),
        (params.body == BodyKind::BinaryMime && !(offered.binarymime && offered.chunking), Unsuited::Binary),
        (params.body == BodyKind::EightBitMime && !offered.eight_bit_mime, Unsuited::EightBit),
        ((params.ret.is_some() || params.envid.is_some()) && !offered.dsn, Unsuited::Notices),
        (
            matches!((offered.size, params.size), (SizeOffer::Limit(most), Some(size)) if size > most),
            Unsuited::TooLarge,
        ),
    ];
    if let Some(unsuited) = lacks.into_iter().find_map(|(is_lacking, why)| is_lacking.then_some(why)) {
        return Err(unsuited);
    }
    Ok(MailParams {
        size: params.size.filter(|_| offered.size != SizeOffer::None),
        auth: params.auth.clone().filter(|_| offered.auth),
        ..params.clone()
    })
}

pub(super) fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "writing into memory does not fail");
}
