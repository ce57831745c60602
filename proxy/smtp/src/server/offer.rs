//! What EHLO lists, and so what the machine accepts.

use super::{Mechanism, Session, TlsMode};
use crate::client::Capabilities;
use crate::wire::verb::Verb;
use crate::wire::xclient;

/// The keywords of the EHLO reply, in its order.
pub(super) fn keywords(session: &Session) -> Vec<String> {
    let mut keywords = vec!["PIPELINING".to_owned(), format!("SIZE {}", session.message_octets_max())];
    if may_start_tls(session) && session.offers(Verb::StartTls) {
        keywords.push("STARTTLS".to_owned());
    }
    let mechanisms = mechanisms(session);
    let may_authenticate = !mechanisms.is_empty() && session.identity.is_none();
    let names: Vec<_> = mechanisms.into_iter().map(Mechanism::name).collect();
    let names = names.join(" ");
    if may_authenticate && session.offers(Verb::Auth) {
        keywords.push(format!("AUTH {names}"));
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
        Verb::XExps if !may_authenticate => None,
        Verb::XExps => Some(format!("X-EXPS {names}")),
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

/// The SASL mechanisms that are offered now. EXTERNAL needs a certificate that was verified. One that binds to the TLS channel needs TLS 1.3: in TLS 1.2 the exporter is
/// unique only with the extended master secret (RFC 9266 section 4.2), of which the edge cannot be sure.
pub(super) fn mechanisms(session: &Session) -> Vec<Mechanism> {
    let offer = &session.config.auth;
    match session.tls() {
        Some(tls) => {
            let binds = tls.version == "TLSv1.3";
            let is_usable = |mechanism: &Mechanism| match mechanism {
                Mechanism::External => session.has_certificate,
                mechanism => binds || !mechanism.binds_channel(),
            };
            offer.inside_tls.iter().copied().filter(is_usable).collect()
        }
        None => {
            let is_usable =
                |mechanism: &Mechanism| *mechanism != Mechanism::External && !mechanism.binds_channel();
            offer.outside_tls.iter().copied().filter(is_usable).collect()
        }
    }
}
