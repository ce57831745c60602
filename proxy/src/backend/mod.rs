//! The seam behind the edge: what takes a mail over. A session that is passed through to a server behind has none: see
//! `pass_through`.
//!
//! One transaction: `Backend::begin` (MAIL), `recipient` (each RCPT), `prepare` (DATA or the first BDAT), octets into
//! `sink` with `settle` between reads, then `commit`. **250 comes only out of `commit`.** Dropping a transaction before
//! that is the abort: it leaves nothing behind.

pub mod behind;
pub mod embedded;
mod keeping;
pub mod pass_through;
mod received;

use gatepost_core::BoxFuture;
use gatepost_core::intake::Origin;
use gatepost_smtp::server::{BodySink, Envelope, Refusal, Rights};
use gatepost_smtp::wire::params::{MailParams, RcptParams};
use gatepost_smtp::wire::path::{ForwardPath, ReversePath};

pub use embedded::Embedded;

/// Takes mails over. Chosen per listener.
pub trait Backend: std::fmt::Debug + Send + Sync + 'static {
    /// MAIL: may this peer, who has these rights, send as that address, and is there room?
    ///
    /// # Errors
    /// The refusal that MAIL is answered with.
    fn begin<'a>(
        &'a self,
        origin: Origin,
        rights: Rights,
        reverse_path: &'a ReversePath,
        params: &'a MailParams,
    ) -> BoxFuture<'a, Result<Box<dyn Transaction>, Refusal>>;
}

/// One mail on its way in. Dropped without `commit`, it leaves nothing behind.
pub trait Transaction: Send {
    /// RCPT: is this mailbox ours, or may this peer relay?
    ///
    /// # Errors
    /// The refusal that this RCPT is answered with; the transaction goes on.
    fn recipient<'a>(
        &'a mut self,
        path: &'a ForwardPath,
        params: &'a RcptParams,
    ) -> BoxFuture<'a, Result<(), Refusal>>;

    /// DATA or the first BDAT: makes ready for the body of this envelope.
    ///
    /// # Errors
    /// The refusal that DATA or BDAT is answered with.
    fn prepare(&mut self, envelope: Envelope) -> BoxFuture<'_, Result<(), Refusal>>;

    /// Where body octets go after `prepare`; never blocks.
    fn sink(&mut self) -> &mut dyn BodySink;

    /// Whether `settle` has something to do before more octets are put.
    fn wants_settling(&self) -> bool;

    /// Moves what is too much for memory elsewhere. A failure is kept for `commit` to report, because SMTP has no reply in
    /// the middle of a body.
    fn settle(&mut self) -> BoxFuture<'_, ()>;

    /// The body is whole: makes the mail durable and returns its queue id.
    ///
    /// A peer that disconnects meanwhile is not noticed: the commit runs to its end, and the peer, which saw no reply,
    /// may send the mail again (RFC 5321 section 6.1: the one window in which SMTP duplicates and never loses).
    ///
    /// # Errors
    /// Nothing was accepted; the refusal is the final reply.
    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<String, Refusal>>;
}

/// Takes octets where there is no transaction to take them.
#[derive(Debug, Default)]
pub struct Discard;

// === impl Discard ===

impl BodySink for Discard {
    fn put(&mut self, _octets: &[u8]) {}
}
