//! The harness for tests of the real binary.
//!
//! In scope: starting `gatepost` in a folder of its own on free loopback ports, real mail programs as its clients, and
//! scripted sockets for what no well-behaved program would send. Out of scope: anything that a test of one crate can
//! see; those tests live beside their code.
//!
//! ```text
//! binary -> process -> setup -> server (start, signals, log)
//!                                    ^ command: users, aliases, mailboxes
//!                                    ^ smtp, pop3: scripted sockets over wire, with trust and scram
//!                                    ^ clients: swaks, curl, msmtp, Python, Exim
//!                                    ^ balancer: HAProxy
//!                                    ^ plain_clients: swaks, curl, msmtp, Python, nodemailer before any server
//! postfix, dovecot, exim, aiosmtpd: real mail servers to send to
//! pass_through: a server that hands sessions on
//! exchange: a stand-in for one that must not face the internet
//! fault: a disk that fails or is slow; clock: a clock that somebody sets
//! next_hop: a mail server that misbehaves as a test wants
//! clamd: a virus scanner; icap: a server that asks it; repairer: one that cleans; slow_scanner: one that takes its time
//! web: a web server with one page
//! dns: a name server that knows what a test wants
//! attackers: thousands of connections that want to hold the server's places (see the program `siege`)
//! mail: what is sent, and what must be read back; corpus: mails that show whether an octet was changed
//! ```
//!
//! Helpers panic on surprise: a panic is how a test says what it saw.

pub mod aiosmtpd;
pub mod attackers;
pub mod authority;
pub mod balancer;
pub mod binary;
pub mod clamd;
pub mod clients;
pub mod clock;
pub mod command;
pub mod corpus;
pub mod dns;
pub mod dovecot;
pub mod exchange;
pub mod exim;
pub mod fault;
pub mod http;
pub mod icap;
mod icap_service;
mod line;
pub mod mail;
pub mod next_hop;
pub mod pass_through;
pub mod plain_clients;
pub mod pop3;
pub mod ports;
pub mod postfix;
pub mod process;
pub mod repairer;
pub mod scram;
mod secrets;
pub mod server;
pub mod setup;
pub mod slow_scanner;
pub mod smtp;
pub mod trust;
mod unconfigured;
pub mod user;
pub mod web;
pub mod wire;

/// Waits until something becomes true, half a minute at the most.
///
/// # Panics
/// When it does not.
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed().as_secs() < 30, "in vain: {what}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
