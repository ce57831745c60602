//! The receiving side of SMTP as a machine without I/O.
//!
//! `contract` holds the values that cross its border and `session` takes them in; the other files tell the story of a
//! session in order, a file per state: `connect`, `hello`, `starttls`, `auth`, `mail`, `rcpt`, `body` (`data`, `chunk`),
//! `close`. `explain` is the only place that knows what a refusal sounds like.

mod auth;
mod body;
mod budget;
mod chunk;
mod close;
pub mod close_reason;
mod connect;
pub mod contract;
mod data;
mod deadline;
pub mod envelope;
pub mod evidence;
pub mod explain;
mod extension;
mod hello;
mod mail;
mod offer;
mod outputs;
mod precedence;
mod rcpt;
pub mod rights;
pub mod session;
mod starttls;
mod verb_table;

pub use close_reason::CloseReason;
pub use contract::{
    Answer, AuthOffer, BodySink, Config, Extension, Extensions, Identity, Limits, Mechanism, Notice, Output,
    PeerFacts, Question, Quirks, Ticket, TlsFacts, TlsMode,
};
pub use envelope::{Envelope, Recipient};
pub use evidence::{Evidence, Limit};
pub use explain::Refusal;
pub use rights::{ClassRights, PeerClass, Right, Rights};
pub use session::Session;
