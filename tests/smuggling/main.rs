//! SMTP smuggling: text of a mail that another server, or this one, might take for its end and for commands behind it.
//!
//! ```text
//! variants (published and thought up) + every short mix of CR, LF and dots
//!     -> place (which stands in front of it, and how the session began)
//!     -> play (against the real binary, split anywhere)  == model (one definition of the end, read naively)
//! ```
//! What the replies say, and what is in the mailbox afterwards, must be what the model says, and nothing else.

mod chunks;
mod ends;
mod front;
mod model;
mod place;
mod play;
mod variants;
