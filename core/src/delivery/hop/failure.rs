//! Why a next hop did not get as far as an answer for a recipient.

use std::io;

use gatepost_smtp::client::{Failure, Fault, Stage};
use gatepost_smtp::wire::reply_parse::{ReplyClass, ServerReply};

/// The end of a connection before its time. `Display` is for operators; `reason` has a status code in front.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum HopFailure {
    /// No connection.
    #[error("no connection: {0}")]
    Connect(io::ErrorKind),
    /// No connection in time.
    #[error("no connection in time")]
    ConnectTimedOut,
    /// No TLS.
    #[error(transparent)]
    Tls(#[from] TlsFailure),
    /// SMTP did not come to its end.
    #[error(transparent)]
    Session(#[from] Failure),
    /// The server does not undertake to keep the mail in TLS, as its sender asks (RFC 8689).
    #[error("REQUIRETLS is not supported")]
    NoRequireTls,
    /// Our own disk could not give the body.
    #[error("the body could not be read: {0}")]
    Body(io::ErrorKind),
}

/// Why there is no TLS where it was demanded.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TlsFailure {
    /// The server did not prove what it must.
    #[error("certificate not accepted: {}", said(.0))]
    Certificate(rustls::CertificateError),
    /// No common version, broken messages, an alert of the server.
    #[error("TLS handshake failed: {0}")]
    Handshake(rustls::Error),
    /// The connection ended in the handshake.
    #[error("connection lost in the TLS handshake: {0}")]
    Connection(io::ErrorKind),
    /// The handshake took too long.
    #[error("TLS handshake timed out")]
    TimedOut,
    /// It could not be begun.
    #[error(transparent)]
    Unusable(#[from] super::tls::Unusable),
}

// === impl HopFailure ===

impl HopFailure {
    /// Whose doing it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Connect(_) | Self::ConnectTimedOut => Fault::Network,
            Self::Tls(TlsFailure::Certificate(_) | TlsFailure::Handshake(_)) | Self::NoRequireTls => {
                Fault::Server
            }
            Self::Tls(TlsFailure::Connection(_) | TlsFailure::TimedOut) => Fault::Network,
            Self::Tls(TlsFailure::Unusable(_)) | Self::Body(_) => Fault::Ours,
            Self::Session(failure) => failure.fault(),
        }
    }

    /// Whether it is TLS that has failed, or was not offered where it was demanded.
    #[must_use]
    pub const fn is_of_tls(&self) -> bool {
        matches!(self, Self::Tls(_) | Self::Session(Failure::NoTls | Failure::Injected | Failure::TlsFailed))
            || matches!(self, Self::Session(Failure::Refused { stage: Stage::StartTls, .. }))
    }

    /// Whether a mail that must stay in TLS cannot go this way, now or later: what breaks off, takes too long or is put off
    /// may go better the next time.
    #[must_use]
    pub const fn keeps_from_tls(&self) -> bool {
        match self {
            Self::NoRequireTls
            | Self::Tls(TlsFailure::Certificate(_) | TlsFailure::Handshake(_))
            | Self::Session(Failure::NoTls) => true,
            Self::Session(Failure::Refused { stage: Stage::StartTls, reply }) => {
                matches!(reply.class(), ReplyClass::Permanent)
            }
            _ => false,
        }
    }

    /// What the server said, where it said something.
    #[must_use]
    pub const fn reply(&self) -> Option<&ServerReply> {
        match self {
            Self::Session(failure) => failure.reply(),
            _ => None,
        }
    }

    /// With a temporary enhanced status code in front (RFC 3463): `4.4.1 no connection: ...`.
    #[must_use]
    pub fn reason(&self) -> String {
        format!("{} {self}", self.status())
    }

    fn status(&self) -> &'static str {
        match self {
            Self::Connect(_) | Self::ConnectTimedOut => "4.4.1",
            Self::Tls(_) | Self::Session(Failure::NoTls | Failure::Injected | Failure::TlsFailed) => "4.7.5",
            Self::NoRequireTls => "4.7.30",
            Self::Session(
                Failure::NoAuth
                | Failure::Scram(_)
                | Failure::Refused { stage: Stage::Auth | Stage::StartTls, .. },
            ) => "4.7.0",
            Self::Session(Failure::Closed(_) | Failure::TimedOut(_) | Failure::ServiceClosing { .. }) => {
                "4.4.2"
            }
            Self::Session(Failure::NoXclient) => "4.3.5",
            Self::Session(Failure::Refused { .. }) => "4.3.2",
            Self::Session(Failure::Unexpected { .. } | Failure::Unsolicited(_) | Failure::NoReply { .. }) => {
                "4.5.0"
            }
            Self::Session(Failure::BadContent | Failure::Aborted(_)) | Self::Body(_) => "4.3.0",
        }
    }

    /// From the handshake's error, which hides what went wrong in an `io::Error`.
    pub(super) fn of_handshake(error: &io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        Self::Tls(match tls {
            Some(rustls::Error::InvalidCertificate(why)) => TlsFailure::Certificate(why.clone()),
            Some(other) => TlsFailure::Handshake(other.clone()),
            None => TlsFailure::Connection(error.kind()),
        })
    }
}

/// What a verifier of ours says stands in a wrapper, which shows the types around it.
fn said(why: &rustls::CertificateError) -> String {
    match why {
        rustls::CertificateError::Other(rustls::OtherError(ours)) => ours.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use gatepost_smtp::client::scram::ScramFault;
    use gatepost_smtp::wire::reply_parse::ReplyReader;

    use super::*;

    #[test]
    fn only_what_stays_so_keeps_a_mail_from_tls() {
        let refused = |line: &[u8]| {
            let reply = ReplyReader::default().read(line).unwrap().1.unwrap();
            HopFailure::Session(Failure::Refused { stage: Stage::StartTls, reply })
        };
        let unknown = rustls::CertificateError::UnknownIssuer;
        for lasting in [
            HopFailure::NoRequireTls,
            TlsFailure::Certificate(unknown).into(),
            Failure::NoTls.into(),
            refused(b"502 5.5.1 no\r\n"),
        ] {
            assert!(lasting.keeps_from_tls(), "{lasting}");
        }
        for passing in [
            TlsFailure::TimedOut.into(),
            TlsFailure::Connection(io::ErrorKind::ConnectionReset).into(),
            Failure::Injected.into(),
            HopFailure::ConnectTimedOut,
            refused(b"454 4.7.0 later\r\n"),
        ] {
            assert!(!passing.keeps_from_tls(), "{passing}");
        }
    }

    #[test]
    fn every_failure_says_whose_it_is_and_that_it_may_pass() {
        let reply = || ReplyReader::default().read(b"535 5.7.8 no\r\n").unwrap().1.unwrap();
        let refused = |stage| HopFailure::Session(Failure::Refused { stage, reply: reply() });
        let table = [
            (HopFailure::ConnectTimedOut, Fault::Network, "4.4.1 no connection in time"),
            (TlsFailure::TimedOut.into(), Fault::Network, "4.7.5 TLS handshake timed out"),
            (Failure::NoTls.into(), Fault::Server, "4.7.5 TLS is required and was not offered"),
            (Failure::Closed(Stage::Data).into(), Fault::Network, "4.4.2 connection lost at DATA"),
            (
                Failure::Unsolicited(Stage::Idle).into(),
                Fault::Server,
                "4.5.0 a reply without a command at rest",
            ),
            (refused(Stage::Auth), Fault::Server, "4.7.0 AUTH refused: 535 5.7.8 no"),
            (refused(Stage::Greeting), Fault::Server, "4.3.2 the greeting refused: 535 5.7.8 no"),
            (
                HopFailure::Body(io::ErrorKind::NotFound),
                Fault::Ours,
                "4.3.0 the body could not be read: entity not found",
            ),
            (
                Failure::Scram(ScramFault::Unproven).into(),
                Fault::Server,
                "4.7.0 AUTH failed: no proof that it knows the password",
            ),
        ];
        for (failure, fault, reason) in table {
            assert_eq!((failure.fault(), failure.reason().as_str()), (fault, reason));
        }
        assert_eq!(refused(Stage::Auth).reply(), Some(&reply()));
    }
}
