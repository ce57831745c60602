//! The one mapping from refusal to reply.

/// A refusal decided outside of the machine (directory, policy, storage, scanner). The machine's own refusals join it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// 550 5.1.1: no such mailbox here.
    UnknownRecipient,
    /// 550 5.7.1: neither a local domain nor a right to relay.
    RelayDenied,
    /// 550 5.7.1: the user may not send as this address.
    SenderNotOwned,
    /// 535 5.7.8.
    AuthenticationFailed,
    /// 454 4.7.0: the verification pool is full or the directory failed.
    AuthenticationUnavailable,
    /// 452 4.3.1: no space.
    StorageFull,
    /// 451 4.3.0: the flush failed, or the backend did.
    StorageFailed,
    /// 554 5.7.1: a virus was found.
    Infected,
    /// 451 4.7.1: the scanner gave no verdict and the listener fails closed.
    ScanUnavailable,
    /// 554 5.6.0: the content cannot be taken (broken or forbidden by policy).
    ContentRejected,
    /// 451 4.3.0: the directory or another part of ours failed.
    LocalError,
    /// 452 4.5.3.
    TooManyRecipients,
    /// 554 5.4.6: more Received headers than the loop limit.
    RoutingLoop,
}
