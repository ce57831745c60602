//! Scripted dialogs with the session machine, a file per state, and properties of all dialogs.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

mod auth;
mod chunk;
mod close;
mod data;
mod deadline;
mod evidence;
mod extension;
mod framing;
mod group;
mod hello;
mod mail;
mod properties;
mod quirk;
mod rcpt;
mod relayed;
mod scenario;
mod starttls;
mod verb_table;
