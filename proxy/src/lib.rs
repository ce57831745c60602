//! The edge: sockets, TLS, sessions; and the binary's parts.
//!
//! ```text
//! listener (permit, accept) -> admission -> connection (drive a machine) -> backend (the rooms of gatepost-core)
//!                              tls (handshake, reload)         authn (who is this?)
//! ```
//! Everything that waits for the network lives here, and nothing that blocks: files, SQLite, patterns and password
//! hashes have threads of their own behind the doors of `gatepost-core`.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod admin;
pub mod admission;
mod admission_file;
pub mod authn;
pub mod backend;
pub mod cli;
pub mod config;
pub mod connection;
pub mod control;
pub mod data_folder;
pub mod dkim_keys;
pub mod first_run;
pub mod hardening;
pub mod listener;
pub mod metrics;
pub mod open_files;
pub mod pass_through;
pub mod pauses_file;
pub mod private;
pub mod relay;
pub mod sandbox;
pub mod scan_helper;
pub mod server;
pub mod service_manager;
pub mod services;
pub mod session_id;
pub mod sockets;
mod state_file;
pub mod telemetry;
pub mod tls;
pub mod tls_results;
mod verdict_files;

#[cfg(test)]
mod testing;
