//! ESMTP parameters of MAIL and RCPT, typed.

use super::path::Mailbox;

/// `BODY=` (RFC 6152, RFC 3030).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyKind {
    /// `7BIT`, also when nothing was said.
    #[default]
    SevenBit,
    /// `8BITMIME`.
    EightBitMime,
    /// `BINARYMIME`: legal only where switched on, and only with BDAT.
    BinaryMime,
}

/// `RET=` (RFC 3461 section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ret {
    /// The whole message comes back.
    Full,
    /// Its headers only.
    Hdrs,
}

/// `AUTH=` of MAIL (RFC 4954 section 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthParam {
    /// `AUTH=<>`.
    Unknown,
    /// The submitter, xtext decoded.
    Submitter(Mailbox),
}

/// Everything that MAIL may carry besides the path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MailParams {
    /// `SIZE=`, octets (RFC 1870).
    pub size: Option<u64>,
    /// `BODY=`.
    pub body: BodyKind,
    /// `SMTPUTF8` (RFC 6531).
    pub smtputf8: bool,
    /// `REQUIRETLS` (RFC 8689).
    pub requiretls: bool,
    /// `AUTH=`.
    pub auth: Option<AuthParam>,
    /// `RET=`.
    pub ret: Option<Ret>,
    /// `ENVID=`, xtext decoded, at most 100 octets (RFC 3461 section 4.4).
    pub envid: Option<String>,
}

/// `NOTIFY=` (RFC 3461 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notify {
    /// No notification of any kind.
    Never,
    /// At least one of the three is set.
    On {
        /// Report success.
        success: bool,
        /// Report failure.
        failure: bool,
        /// Report delay.
        delay: bool,
    },
}

/// `ORCPT=` (RFC 3461 section 4.2): `addr-type;xtext`, xtext decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginalRecipient {
    /// Such as `rfc822` or `utf-8`.
    pub kind: String,
    /// The address, at most 500 octets.
    pub address: String,
}

/// Everything that RCPT may carry besides the path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RcptParams {
    /// `NOTIFY=`.
    pub notify: Option<Notify>,
    /// `ORCPT=`.
    pub orcpt: Option<OriginalRecipient>,
}
