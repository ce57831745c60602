//! What MAIL and RCPT have said, once it has all been accepted.

use crate::wire::params::{MailParams, RcptParams};
use crate::wire::path::{ForwardPath, ReversePath};

/// One accepted RCPT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// To whom.
    pub path: ForwardPath,
    /// NOTIFY, ORCPT.
    pub params: RcptParams,
}

/// The SMTP envelope (RFC 5321 section 2.3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// From whom.
    pub reverse_path: ReversePath,
    /// SIZE, BODY, SMTPUTF8, AUTH, RET, ENVID.
    pub params: MailParams,
    /// At least one where a body follows; in the order of RCPT.
    pub recipients: Vec<Recipient>,
}
