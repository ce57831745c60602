//! The sending side of SMTP and LMTP as a machine without I/O.
//!
//! ```text
//! octets -> wire::reply_parse -> session: greeting, EHLO, STARTTLS, login -> transaction: MAIL .. end of data -> outcomes
//! ```
//! `config` is what the machine knows of a server beforehand, `contract` holds the values that cross its border, and
//! `session` takes them in. Feed one input (`feed`, `into_secured`, `tls_failed`, `proved`, `begin`, `body`, `abort`, `quit`,
//! `tick`, `eof`), drain `poll` until `None`, then wait for the next input or `deadline`, whichever comes first. `feed` takes all octets.
//!
//! A mail that is there as a whole goes by `begin`. One that somebody else is just handing in goes by `hand_on`, command by
//! command, each answered by the server's own reply.
//!
//! # Promises
//! - The server decides nothing that it was not asked: a reply to no command ends the session, and so does whatever
//!   stands between 220 to STARTTLS and the handshake.
//! - What the server said before TLS is forgotten inside it. A password is written inside TLS alone, and not
//!   at all where the server has SCRAM, whose arithmetic is the driver's: `scram`.
//! - Where it speaks for somebody, the server is told so by XCLIENT, inside TLS if there is any, or gets no mail.
//! - A recipient is `Accepted` by a positive reply to the end of the body and by nothing else. Where that reply does not
//!   come the recipient is `Lost`: whoever tries again may send the mail twice (`Failure::may_have_delivered`).
//! - The end of data is sent once, behind the whole body. A body that cannot be finished is broken off without it.
//! - Memory is bounded: one reply of `reply_parse::REPLY_OCTETS`, one group of commands, one part of a body.

mod awaited;
mod body;
pub mod capabilities;
pub mod config;
pub mod contract;
pub mod hand_on;
mod hand_on_servers;
pub mod introduction;
mod login;
mod opening;
pub mod scram;
pub mod session;
mod state;
mod transaction;

pub use capabilities::{Capabilities, SizeOffer};
pub use config::{Config, InvalidLogin, Login, Patience, Protocol, StartTls};
pub use contract::{Content, Failure, Fault, Mail, Outcome, Output, Stage, Unsuited};
pub use introduction::{Introduction, Represented};
pub use session::{NotReady, Session};
