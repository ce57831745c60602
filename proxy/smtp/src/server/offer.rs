//! What EHLO lists, and so what the machine accepts.

use super::verb_table::{self, Needs, Row};
use super::{Extensions, Mechanism, Session, TlsMode};
use crate::client::Capabilities;
use crate::wire::verb::Verb;
use crate::wire::xclient;

/// The keywords of the EHLO reply, in its order.
pub(super) fn keywords(session: &Session) -> Vec<String> {
    let mut keywords = vec!["PIPELINING".to_owned(), format!("SIZE {}", session.message_octets_max())];
    if may_start_tls(session) && session.offers(Verb::StartTls) {
        keywords.push("STARTTLS".to_owned());
    }
    if session.offers(Verb::Auth) {
        keywords.extend(authentication(session, Verb::Auth));
    }
    keywords.push("ENHANCEDSTATUSCODES".to_owned());
    keywords.extend(takes(session, |it| it.eight_bit_mime).then(|| "8BITMIME".to_owned()));
    keywords.extend(takes(session, |it| it.smtputf8).then(|| "SMTPUTF8".to_owned()));
    // BINARYMIME needs it (RFC 3030 section 3).
    let has_chunking = session.offers(Verb::Bdat);
    if has_chunking {
        keywords.push("CHUNKING".to_owned());
    }
    keywords.extend(takes(session, |it| it.dsn).then(|| "DSN".to_owned()));
    if takes_requiretls(session) {
        keywords.push("REQUIRETLS".to_owned());
    }
    if takes_binarymime(session) && has_chunking {
        keywords.push("BINARYMIME".to_owned());
    }
    let extensions = Verb::all().filter(|verb| !matches!(verb, Verb::StartTls | Verb::Auth | Verb::Bdat));
    keywords.extend(extensions.filter(|verb| session.offers(*verb)).filter_map(|verb| match verb {
        Verb::XExps => authentication(session, verb),
        Verb::Xclient => Some(format!("XCLIENT {}", xclient::OFFERED)),
        verb => Some(verb.name().to_owned()),
    }));
    keywords
}

/// Whether STARTTLS has not been done and can be.
pub(super) fn may_start_tls(session: &Session) -> bool {
    session.config.tls == TlsMode::StartTls && session.tls().is_none()
}

/// Whether a sender may ask that his mail goes on in verified TLS only: nobody can ask for that in the clear (RFC 8689
/// section 2).
pub(super) fn takes_requiretls(session: &Session) -> bool {
    session.tls().is_some() && takes(session, |it| it.requiretls)
}

/// Whether content may come that is not lines. Behind, such content needs chunks as well (RFC 3030 section 3).
pub(super) fn takes_binarymime(session: &Session) -> bool {
    session.config.binarymime && takes(session, |it| it.binarymime && it.chunking)
}

/// Whether whoever stands behind has this extension; what we are to keep ourselves has all.
pub(super) fn takes(session: &Session, has: impl Fn(&Capabilities) -> bool) -> bool {
    session.behind.as_ref().is_none_or(has)
}

/// Whether EHLO cannot be answered by what is known of the server behind: that depends on the session with it, where it
/// decides who somebody is, or works on verbs of servers.
pub(super) fn depends_on_behind(session: &Session) -> bool {
    let is_relayed = session.config.auth.is_relayed
        && session.identity.is_none()
        && local_mechanisms(session).any(Mechanism::is_relayable);
    let is_passed_through = matches!(session.config.extensions, Extensions::PassThrough { .. });
    let holds = |verb: Verb| verb_table::row(verb).is_some_and(|row| is_held(session, row));
    session.behind.is_some() && (is_relayed || (is_passed_through && Verb::all().any(holds)))
}

/// Whether it is a verb for a server behind, and this peer has the right to it.
fn is_held(session: &Session, row: Row) -> bool {
    matches!(row.needs, Needs::PassThrough | Needs::MechanismAndPassThrough)
        && row.right.is_some_and(|right| session.rights().contains(right))
}

fn authentication(session: &Session, verb: Verb) -> Option<String> {
    let mechanisms = mechanisms(session, verb);
    if mechanisms.is_empty() || session.identity.is_some() {
        return None;
    }
    let names: Vec<_> = mechanisms.into_iter().map(Mechanism::name).collect();
    Some(format!("{} {}", verb.name(), names.join(" ")))
}

/// The SASL mechanisms that are offered now, by AUTH or by X-EXPS: where a server behind decides who somebody is, those that
/// it has.
pub(super) fn mechanisms(session: &Session, verb: Verb) -> Vec<Mechanism> {
    let behind =
        session.behind.as_ref().filter(|_| session.config.auth.is_relayed).map(|behind| match verb {
            Verb::XExps => behind.server_mechanisms,
            _ => behind.mechanisms,
        });
    let has = |mechanism: &Mechanism| {
        behind.is_none_or(|behind| behind.contains(*mechanism) || *mechanism == Mechanism::External)
    };
    local_mechanisms(session).filter(has).collect()
}

/// Those that the listener has for this peer. EXTERNAL needs a certificate that was verified. One that binds to the TLS channel
/// needs TLS 1.3: in TLS 1.2 the exporter is unique only with the extended master secret (RFC 9266 section 4.2), of which
/// the edge cannot be sure.
fn local_mechanisms(session: &Session) -> impl Iterator<Item = Mechanism> {
    let offer = &session.config.auth;
    let (of_listener, binds) = match session.tls() {
        Some(tls) => (&offer.inside_tls, tls.version == "TLSv1.3"),
        None => (&offer.outside_tls, false),
    };
    let is_usable = move |mechanism: &Mechanism| match mechanism {
        Mechanism::External => session.has_certificate && session.tls().is_some(),
        mechanism => binds || !mechanism.binds_channel(),
    };
    of_listener.iter().copied().filter(is_usable)
}
