//! The receiving side of SMTP as a machine without I/O.
//!
//! `config` says what a listener allows, `rights` what a class of peers may do, `mechanisms` by what they prove who they
//! are. `contract` holds the values that cross the border, `session` takes them in, and `dispatch` hands a line on.
//! `precedence` is the order in which a command can be refused; it asks `verb_table` what each verb needs. The other files
//! tell the story of a session in order, a file per state: `connect`, `hello`, `starttls`, `auth`, `mail`, `rcpt`, `group`,
//! `extension`, `body` (`data`, `chunk`), `close`. `explain` is the only place that knows what a refusal of ours sounds
//! like, `said` is for those of a server behind.

mod auth;
mod body;
mod budget;
mod chunk;
mod close;
pub mod close_reason;
pub mod config;
mod connect;
pub mod contract;
mod data;
mod deadline;
mod dispatch;
pub mod envelope;
pub mod evidence;
pub mod explain;
mod extension;
mod group;
mod hello;
mod mail;
pub mod mechanisms;
mod offer;
mod outputs;
mod precedence;
mod rcpt;
pub mod rights;
mod said;
pub mod session;
mod starttls;
mod verb_table;

pub use close_reason::CloseReason;
pub use config::{AuthOffer, Config, Extensions, Limits, TlsMode};
pub use contract::{
    Answer, BodySink, Extension, Identity, Notice, Output, PeerFacts, Question, Quirks, Ticket, TlsFacts,
};
pub use envelope::{Envelope, Recipient};
pub use evidence::{Evidence, Limit};
pub use explain::Refusal;
pub use mechanisms::{Mechanism, Mechanisms};
pub use rights::{ClassRights, PeerClass, Right, Rights};
pub use session::Session;
