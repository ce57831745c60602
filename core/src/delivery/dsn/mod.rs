//! Notifications: telling a sender what became of his mail (RFC 3461, RFC 3464, RFC 6533).
//!
//! ```text
//! an attempt's results -> due: who is told what -> report: its fields, typed -> render: multipart/report
//!                                                        returned: the mail or its headers -^
//! ```
//! - A notification has the null sender and asks for none (`NOTIFY=NEVER`); a mail with the null sender gets none.
//! - What an attempt does is told in one notification for all its recipients, made durable in one batch with the record
//!   of what became of them: neither is there without the other.
//! - Whoever makes a notification with the whole mail has it scanned first (`closing/notify`); of what no scan vouches for now,
//!   the headers come back alone.

mod due;
mod field;
mod notifier;
mod render;
mod report;
mod returned;

pub(super) use due::{Facts, told};
pub(super) use notifier::{Notifier, Subject};
pub(super) use report::{Action, Told};
pub(super) use returned::wants_whole;
