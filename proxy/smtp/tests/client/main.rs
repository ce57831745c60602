//! Scripted dialogs with the client machine, from its first word to its last, and properties of all dialogs.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

mod body;
mod dialog;
mod failures;
mod hand_on;
mod hand_on_to_anybody;
mod introduction;
mod lmtp;
mod opening;
mod properties;
mod scram;
mod secured;
mod server;
mod transaction;
mod verify;
