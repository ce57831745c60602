//! Fuzz targets: a plain function each, which is given octets and panics where a promise does not hold.
//!
//! ```text
//! fuzz_targets/X.rs (libFuzzer, instrumented) -> TARGETS "X" -> a module's `check` <- tests/replay.rs (any toolchain)
//! ```
//! Most targets compare the code with a small reference that does the same thing naively, in another way. The first
//! octet or two of an input choose how the rest arrives and on what listener, so that a corpus stays readable.

pub mod body;
pub mod client;
pub mod command;
pub mod config;
pub mod header_firewall;
pub mod line;
pub mod networks;
pub mod pair;
pub mod pop3;
pub mod proxy_header;
pub mod queue_record;
pub mod recovery;
pub mod reply;
pub mod rights;
pub mod sasl;
pub mod scan_plan;
pub mod session;
pub mod trace;
pub mod upstream;

mod input;
mod mailbox;
mod message;
mod peer;

/// One fuzz target: its name in `fuzz_targets/`, `corpus/` and `regressions/`, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All of them, in the order of a mail's way.
pub const TARGETS: &[Target] = &[
    ("networks", networks::check),
    ("proxy_header", proxy_header::check),
    ("line", line::check),
    ("command", command::check),
    ("reply", reply::check),
    ("data", body::check_data),
    ("bdat", body::check_chunks),
    ("session_model", session::check_against_model),
    ("session_split", session::check_splits),
    ("starttls", session::check_starttls),
    ("rights", rights::check),
    ("sasl", sasl::check),
    ("pop3", pop3::check_splits),
    ("pop3_message", pop3::check_message),
    ("config", config::check),
    ("header_firewall", header_firewall::check),
    ("trace", trace::check),
    ("queue_record", queue_record::check),
    ("recovery", recovery::check),
    ("scan_plan", scan_plan::check_hostile),
    ("scan_mime", scan_plan::check_honest),
    ("client", client::check),
    ("upstream", upstream::check),
    ("pair", pair::check),
];
