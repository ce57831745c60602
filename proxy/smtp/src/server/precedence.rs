//! In which order a command can be refused. What a peer hears of a command that has several faults is the first of these,
//! so it never learns more than it has a right to.

use super::rights::{PeerClass, Right};
use super::verb_table::{self, Needs, Place};
use super::{Extensions, Refusal, Session, TlsMode, offer};
use crate::wire::params::BodyKind;
use crate::wire::verb::Verb;

/// A command as far as it can be judged without its argument.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) verb: Verb,
    /// Whether octets stand behind it already.
    pub(super) is_followed: bool,
}

type Check = fn(&Session, Asked) -> Result<(), Refusal>;

/// The precedence of refusals. Before these stands the framing of the line itself: bare CR, bare LF and NUL, then a line
/// over its verb's limit. Behind them stand the argument's grammar, and last its sizes.
const PRECEDENCE: [(&str, Check); 5] = [
    ("framing", Session::permit_company),
    ("verb", Session::permit_verb),
    ("right", Session::permit_right),
    ("availability", Session::permit_need),
    ("order", Session::permit_place),
];

// === impl Session ===

impl Session {
    /// Whether this verb may be used here and now, whatever its argument.
    pub(super) fn permit(&self, asked: Asked) -> Result<(), Refusal> {
        PRECEDENCE.iter().try_for_each(|(_, check)| check(self, asked))
    }

    /// Whether this verb may be used by this peer, wherever the session stands.
    pub(super) fn permit_anywhere(&self, asked: Asked) -> Result<(), Refusal> {
        self.permit_verb(asked)?;
        self.permit_right(asked)?;
        self.permit_need(asked)
    }

    /// Whether EHLO lists this verb.
    pub(super) fn offers(&self, verb: Verb) -> bool {
        let is_of_use = match verb_table::row(verb).map(|row| row.offer) {
            None | Some(verb_table::Offer::Nobody) => false,
            Some(verb_table::Offer::Everybody) => true,
            Some(verb_table::Offer::Holders) => {
                let asked = Asked { verb, is_followed: false };
                self.permit_right(asked).and_then(|()| self.permit_need(asked)).is_ok()
            }
        };
        is_of_use && !self.config.switched_off.contains(&verb)
    }

    /// Whether it is a verb that only attackers send, or a server's verb from a peer without the right to it.
    pub(super) fn is_attack(&self, verb: Verb) -> bool {
        match verb_table::row(verb) {
            Some(row) => {
                row.right.is_some_and(|right| right != Right::Submit && !self.rights().contains(right))
            }
            None => matches!(verb, Verb::Forbidden(_) | Verb::Http),
        }
    }

    pub(super) fn place(&self) -> Place {
        match (&self.transaction, &self.hello) {
            (Some(transaction), _) if transaction.chunks.is_some() => Place::Chunks,
            (Some(transaction), _) if transaction.envelope.recipients.is_empty() => Place::Mail,
            (Some(_), _) => Place::Rcpt,
            (None, Some(hello)) if hello.is_esmtp => Place::Ehlo,
            (None, Some(_)) => Place::Helo,
            (None, None) => Place::Start,
        }
    }

    /// Octets behind STARTTLS would be taken for TLS, and octets behind a DATA that is refused for commands.
    fn permit_company(&self, asked: Asked) -> Result<(), Refusal> {
        match asked.verb {
            Verb::StartTls if asked.is_followed => Err(Refusal::PlaintextAfterStarttls),
            Verb::Data if asked.is_followed => Err(Refusal::EarlyTalker),
            _ => Ok(()),
        }
    }

    fn permit_verb(&self, asked: Asked) -> Result<(), Refusal> {
        match asked.verb {
            Verb::Forbidden(_) => Err(Refusal::ForbiddenVerb),
            Verb::Http => Err(Refusal::ForeignProtocol),
            verb if verb_table::row(verb).is_none() || self.config.switched_off.contains(&verb) => {
                Err(Refusal::UnknownVerb)
            }
            _ => Ok(()),
        }
    }

    /// The answer must not depend on anything but the verb and the peer: another one would tell a stranger how far he has
    /// come.
    fn permit_right(&self, asked: Asked) -> Result<(), Refusal> {
        let Some(right) = verb_table::row(asked.verb).and_then(|row| row.right) else {
            return Ok(());
        };
        if self.rights().contains(right) {
            return Ok(());
        }
        Err(match right {
            Right::AcceptExch50 | Right::AcceptLinkState => Refusal::ServersOnly,
            Right::Submit if self.class() != PeerClass::Anonymous => Refusal::SubmissionDenied,
            // RFC 3207 section 4 and RFC 4954 section 6 give 530 to every command that needs them first.
            Right::Submit if offer::may_start_tls(self) && offer::mechanisms(self, Verb::Auth).is_empty() => {
                Refusal::StartTlsRequired
            }
            Right::Submit => Refusal::AuthenticationRequired,
            _ if self.class() == PeerClass::Anonymous => Refusal::ExtensionUnauthenticated,
            _ => Refusal::ExtensionDenied,
        })
    }

    fn permit_need(&self, asked: Asked) -> Result<(), Refusal> {
        let is_available = |is_available| if is_available { Ok(()) } else { Err(Refusal::NotImplemented) };
        let is_passed_through = || {
            matches!(self.config.extensions, Extensions::PassThrough { .. })
                && self.behind.as_ref().is_none_or(|behind| behind.verbs.contains(asked.verb))
        };
        match verb_table::row(asked.verb).map(|row| row.needs) {
            None | Some(Needs::Nothing) => Ok(()),
            Some(Needs::Tls) => is_available(self.config.tls != TlsMode::None),
            Some(Needs::Mechanism) => self.permit_mechanisms(asked.verb),
            Some(Needs::PassThrough) => is_available(is_passed_through()),
            Some(Needs::MechanismAndPassThrough) => {
                is_available(is_passed_through()).and_then(|()| self.permit_mechanisms(asked.verb))
            }
            Some(Needs::TheImpossible) => Err(Refusal::NotImplemented),
        }
    }

    fn permit_place(&self, asked: Asked) -> Result<(), Refusal> {
        let place = self.place();
        if !verb_table::row(asked.verb).is_some_and(|row| row.places.contains(place)) {
            return Err(self.out_of_place(asked.verb));
        }
        match (asked.verb, &self.transaction) {
            (Verb::StartTls, _) if !offer::may_start_tls(self) || !self.is_esmtp() => {
                Err(Refusal::BadSequence)
            }
            (Verb::Auth | Verb::XExps, _) if self.identity.is_some() => Err(Refusal::BadSequence),
            // BINARYMIME needs BDAT (RFC 3030 section 3).
            (Verb::Data, Some(transaction)) if transaction.envelope.params.body == BodyKind::BinaryMime => {
                Err(Refusal::BinaryNeedsChunks)
            }
            _ => Ok(()),
        }
    }

    /// RFC 5321 section 3.3 has another answer for a body without a recipient, where RCPTs were refused.
    fn out_of_place(&self, verb: Verb) -> Refusal {
        let has_refused = self.transaction.as_ref().is_some_and(|it| it.has_refused_recipient);
        match (verb, self.place()) {
            (Verb::Data | Verb::Bdat, Place::Mail) if has_refused => Refusal::NoValidRecipients,
            _ => Refusal::BadSequence,
        }
    }
}
