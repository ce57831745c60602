//! Everything after 250: what a mail goes through once the edge has taken it.
//!
//! ```text
//! intake -> queue (disk) -> scan -> delivery -> store -> access
//!                directory: who lives here, who may log in
//! ```
//! Rooms in the order of the data. Plain owned values cross their doors, so any of them could become a process
//! boundary. Blocking work (files, SQLite, patterns, password hashes) has threads of its own, bounded, never the
//! runtime's.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod access;
pub mod background;
pub mod badmail;
pub mod checked_json;
pub mod clock;
pub mod delivery;
pub mod directory;
pub mod disk;
pub mod dkim;
pub mod events;
pub mod filter;
pub mod findings;
pub mod forwarding;
pub mod intake;
pub mod memory;
pub mod pickup;
pub mod proactive;
pub mod quarantine;
pub mod queue;
pub mod remedy;
pub mod scan;
pub mod store;
pub mod threads;
pub mod tlsrpt;

/// A boxed future: what an object-safe seam returns.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
