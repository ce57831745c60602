//! Mail for an address of ours that goes on to other servers.
//!
//! ```text
//! RCPT: directory.resolve -> Forwarded: has it room and a way out?
//! end of data: forward -> Submission: a recipient for each target, what each stands for, whom bounces go to -> queue
//! delivery: a transaction for each alias and destination, `Delivered-To:` before the mail, the sender rewritten (SRS)
//! a bounce: RCPT to the rewritten sender -> directory.resolve -> Rewritten: on to whom it stands for
//! ```
//! Addresses are expanded before 250, so that each target has its own state in the queue: what is delivered to one is not
//! sent again because another has failed, and an alias that is edited meanwhile changes nothing for mail that was
//! accepted. Only an address that led nowhere else then and does so at delivery is expanded there (`forward_late`), into a mail
//! of its own. Mailboxes here stay with the recipient that the sender named, as they do where an alias leads to them alone.
//!
//! Three things end what goes in circles: aliases that lead to themselves are refused when they are added, and followed
//! once; a mail that comes back to an alias says so by `Delivered-To:`; and every round adds a `Received:`.

mod forward;
pub(crate) mod secret;
pub mod srs;

pub use forward::{forward, forward_late, has_all};
