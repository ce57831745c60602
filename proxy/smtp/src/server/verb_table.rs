//! What each verb needs: one row a verb. A verb without a row is refused.
//!
//! The rest of the machine has no opinion of its own on these things: EHLO's reply, the line reader and the precedence of
//! refusals all ask here. `verb_table.md` shows what comes out of it, command by command.

use super::rights::Right;
use crate::wire::limits;
use crate::wire::verb::Verb;

/// What a verb needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// To whom EHLO lists it.
    pub(super) offer: Offer,
    /// Without it, it is refused whatever its argument and wherever it stands.
    pub(super) right: Option<Right>,
    /// What must be there to work on it.
    pub(super) needs: Needs,
    /// Where in a session it is legal.
    pub(super) places: Places,
    /// The longest line, octets with CRLF.
    pub(super) line_octets_max: usize,
}

/// To whom EHLO lists a verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    /// Every ESMTP server has it.
    Nobody,
    /// Each class, as long as it is of use.
    Everybody,
    /// Each class that has its right, where there is somebody to work on it.
    Holders,
}

/// What must be there to work on a verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Only us.
    Nothing,
    /// A listener that can start TLS.
    Tls,
    /// A mechanism that is offered now.
    Mechanism,
    /// A server behind us.
    PassThrough,
    /// A server behind us, and a mechanism that is offered now.
    MechanismAndPassThrough,
    /// Something that does not exist.
    TheImpossible,
}

/// Where a session stands when a command comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Neither EHLO nor HELO was said.
    Start,
    /// HELO was said, and no MAIL since.
    Helo,
    /// EHLO was said, and no MAIL since.
    Ehlo,
    /// MAIL was accepted.
    Mail,
    /// And at least one RCPT.
    Rcpt,
    /// And at least one BDAT.
    Chunks,
}

/// A set of places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Places(u8);

/// The row of a verb; `None` for one that is for nobody.
pub(super) const fn row(verb: Verb) -> Option<Row> {
    use {Needs as N, Offer as O};
    Some(match verb {
        Verb::Ehlo | Verb::Helo | Verb::Rset | Verb::Noop | Verb::Quit | Verb::Vrfy | Verb::Help => {
            Row::new(O::Nobody, None, N::Nothing, ANYWHERE)
        }
        Verb::StartTls => Row::new(O::Everybody, None, N::Tls, BEHIND_EHLO),
        Verb::Auth => Row::new(O::Everybody, None, N::Mechanism, IDLE).line(limits::AUTH_LINE_OCTETS),
        Verb::Mail => {
            Row::new(O::Nobody, Some(Right::Submit), N::Nothing, BEFORE_MAIL).line(limits::MAIL_LINE_OCTETS)
        }
        Verb::Rcpt => {
            Row::new(O::Nobody, Some(Right::Submit), N::Nothing, BEFORE_BODY).line(limits::RCPT_LINE_OCTETS)
        }
        Verb::Data => Row::new(O::Nobody, Some(Right::Submit), N::Nothing, WITH_RECIPIENT),
        Verb::Bdat => Row::new(O::Everybody, Some(Right::Submit), N::Nothing, WITHIN_BODY),
        Verb::Xexch50 => Row::new(O::Holders, Some(Right::AcceptExch50), N::PassThrough, WITH_RECIPIENT)
            .line(limits::XEXCH50_LINE_OCTETS),
        Verb::XLink2State => Row::new(O::Holders, Some(Right::AcceptLinkState), N::PassThrough, IDLE)
            .line(limits::LINK_STATE_LINE_OCTETS),
        Verb::XExps => Row::new(O::Holders, Some(Right::AcceptServerAuth), N::MechanismAndPassThrough, IDLE)
            .line(limits::AUTH_LINE_OCTETS),
        Verb::Etrn | Verb::Atrn => Row::new(O::Holders, Some(Right::AcceptDequeue), N::PassThrough, IDLE),
        Verb::Opaque(_) => Row::new(O::Holders, Some(Right::AcceptOpaque), N::PassThrough, BEFORE_BODY_ESMTP),
        Verb::Xclient => Row::new(O::Holders, Some(Right::AcceptXclient), N::Nothing, IDLE),
        // A proxy cannot take part in a TLS of their own, and nobody reads what XFORWARD says.
        Verb::XAnonymousTls => Row::new(O::Nobody, Some(Right::AcceptServerTls), N::TheImpossible, IDLE),
        Verb::Xforward => Row::new(O::Nobody, Some(Right::AcceptXclient), N::TheImpossible, IDLE),
        Verb::Forbidden(_) | Verb::Http | Verb::Unknown => return None,
    })
}

/// The longest line of a verb, octets with CRLF.
pub(super) const fn line_octets_max(verb: Verb) -> usize {
    match row(verb) {
        Some(row) => row.line_octets_max,
        None => limits::COMMAND_LINE_OCTETS,
    }
}

// === impl Row ===

impl Row {
    /// With the line of RFC 5321 section 4.5.3.1.4.
    const fn new(offer: Offer, right: Option<Right>, needs: Needs, places: Places) -> Self {
        Self { offer, right, needs, places, line_octets_max: limits::COMMAND_LINE_OCTETS }
    }

    const fn line(self, octets_max: usize) -> Self {
        Self { line_octets_max: octets_max, ..self }
    }
}

// === impl Places ===

impl Places {
    const fn of(places: &[Place]) -> Self {
        let mut bits = 0;
        let mut rest = places;
        while let [place, others @ ..] = rest {
            bits |= place.bit();
            rest = others;
        }
        Self(bits)
    }

    pub(super) const fn contains(self, place: Place) -> bool {
        self.0 & place.bit() != 0
    }
}

impl Place {
    const fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

const ANYWHERE: Places =
    Places::of(&[Place::Start, Place::Helo, Place::Ehlo, Place::Mail, Place::Rcpt, Place::Chunks]);
const BEHIND_EHLO: Places = Places::of(&[Place::Ehlo, Place::Mail, Place::Rcpt, Place::Chunks]);
const IDLE: Places = Places::of(&[Place::Ehlo]);
const BEFORE_MAIL: Places = Places::of(&[Place::Helo, Place::Ehlo]);
/// RCPT is over once the body has begun (RFC 3030 section 2).
const BEFORE_BODY: Places = Places::of(&[Place::Mail, Place::Rcpt]);
const BEFORE_BODY_ESMTP: Places = Places::of(&[Place::Ehlo, Place::Mail, Place::Rcpt]);
/// DATA and BDAT cannot be mixed (RFC 3030 section 2).
const WITH_RECIPIENT: Places = Places::of(&[Place::Rcpt]);
const WITHIN_BODY: Places = Places::of(&[Place::Rcpt, Place::Chunks]);
