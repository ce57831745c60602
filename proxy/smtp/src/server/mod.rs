//! The receiving side of SMTP as a machine without I/O.

pub mod close_reason;
pub mod contract;
pub mod envelope;
pub mod explain;
pub mod session;

pub use close_reason::CloseReason;
pub use contract::{
    Answer, AuthOffer, BodySink, Config, Identity, Limits, Mechanism, Notice, Output, PeerFacts, Question,
    Ticket, TlsFacts, TlsMode,
};
pub use envelope::{Envelope, Recipient};
pub use explain::Refusal;
pub use session::Session;
