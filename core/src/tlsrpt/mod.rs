//! TLSRPT: a domain hears once a day what came of TLS with its mail exchangers (RFC 8460).
//!
//! ```text
//! delivery/remote: a session -> ledger: counted by day, domain and policy
//! a day is over -> record: who wants to know? -> report: JSON in a mail -> queue
//! ```
//! Results are kept until they are reported, or nobody could be asked for two days. A domain that asks for no reports gets
//! none.

pub mod ledger;
pub mod record;
mod report;
pub mod reporter;

pub use ledger::{Failure, Ledger};
pub use reporter::{Reporter, Settings};

use crate::delivery::hop::{HopFailure, TlsFailure};

/// What can go wrong (section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultType {
    /// STARTTLS is not offered, or refused.
    StarttlsNotSupported,
    /// The certificate is for another name.
    CertificateHostMismatch,
    /// The certificate is of another time.
    CertificateExpired,
    /// Nobody whom we know vouches for the certificate.
    CertificateNotTrusted,
    /// Whatever else went wrong in the handshake, or with the exchanger itself.
    ValidationFailure,
    /// None of the TLSA records can be checked.
    TlsaInvalid,
    /// DNSSEC does not hold.
    DnssecInvalid,
    /// The MTA-STS policy that the domain announces cannot be fetched.
    StsPolicyFetchError,
    /// What was fetched is no policy.
    StsPolicyInvalid,
    /// The web server that has the policy does not prove its name.
    StsWebpkiInvalid,
}

// === impl ResultType ===

impl ResultType {
    /// What a failure is to the domain; `None` where it is not one of TLS.
    #[must_use]
    pub const fn of(failure: &HopFailure) -> Option<Self> {
        use rustls::CertificateError as Why;
        Some(match failure {
            HopFailure::Tls(TlsFailure::Certificate(why)) => match why {
                Why::NotValidForName | Why::NotValidForNameContext { .. } => Self::CertificateHostMismatch,
                Why::Expired
                | Why::ExpiredContext { .. }
                | Why::NotValidYet
                | Why::NotValidYetContext { .. } => Self::CertificateExpired,
                Why::UnknownIssuer | Why::BadSignature | Why::Revoked => Self::CertificateNotTrusted,
                _ => Self::ValidationFailure,
            },
            // Nothing that the domain could mend.
            HopFailure::Tls(TlsFailure::Unusable(_)) => return None,
            HopFailure::Tls(_) => Self::ValidationFailure,
            failure if failure.is_of_tls() => Self::StarttlsNotSupported,
            _ => return None,
        })
    }

    /// As the RFC has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::StarttlsNotSupported => "starttls-not-supported",
            Self::CertificateHostMismatch => "certificate-host-mismatch",
            Self::CertificateExpired => "certificate-expired",
            Self::CertificateNotTrusted => "certificate-not-trusted",
            Self::ValidationFailure => "validation-failure",
            Self::TlsaInvalid => "tlsa-invalid",
            Self::DnssecInvalid => "dnssec-invalid",
            Self::StsPolicyFetchError => "sts-policy-fetch-error",
            Self::StsPolicyInvalid => "sts-policy-invalid",
            Self::StsWebpkiInvalid => "sts-webpki-invalid",
        }
    }
}
