//! From the greeting to TLS: EHLO, STARTTLS. What follows is `introduction`, then `login`.

use super::awaited::Awaited;
use super::contract::{Failure, Output, Stage};
use super::session::Session;
use super::state::State;
use super::{Capabilities, Protocol, StartTls};
use crate::wire::reply_parse::{ReplyClass, ServerReply};

// === impl Session ===

impl Session {
    pub(super) fn greeted(&mut self, reply: ServerReply) {
        match reply.class() {
            ReplyClass::Positive => self.say_hello(),
            _ => self.refused(Stage::Greeting, reply),
        }
    }

    pub(super) fn say_hello(&mut self) {
        let verb = match self.config.protocol {
            Protocol::Smtp => "EHLO",
            Protocol::Lmtp => "LHLO",
        };
        let line = format!("{verb} {}\r\n", self.hello_name());
        self.command(Awaited::Ehlo, line.into_bytes());
    }

    pub(super) fn ehlo_replied(&mut self, reply: ServerReply) {
        match (reply.class(), self.config.protocol) {
            (ReplyClass::Positive, _) => {
                let keywords = reply.lines().iter().skip(1).map(String::as_str);
                self.offered = Capabilities::parse(keywords);
                self.secure_or_go_on();
            }
            // A server without extensions (RFC 5321 section 3.2); LMTP has none such.
            (ReplyClass::Permanent, Protocol::Smtp) if !self.is_of_before() => {
                let line = format!("HELO {}\r\n", self.hello_name());
                self.command(Awaited::Helo, line.into_bytes());
            }
            _ => self.refused(Stage::Hello, reply),
        }
    }

    pub(super) fn helo_replied(&mut self, reply: ServerReply) {
        match reply.class() {
            ReplyClass::Positive => self.secure_or_go_on(),
            _ => self.refused(Stage::Hello, reply),
        }
    }

    pub(super) fn starttls_replied(&mut self, reply: ServerReply, is_alone: bool) {
        match (reply.code(), reply.class(), self.config.starttls) {
            (READY, ..) if !is_alone => self.fail(Failure::Injected),
            (READY, ..) => {
                self.state = State::Upgrading;
                self.output(Output::Upgrade);
            }
            (_, ReplyClass::Temporary | ReplyClass::Permanent, StartTls::IfOffered | StartTls::Never) => {
                self.introduce();
            }
            _ => self.refused(Stage::StartTls, reply),
        }
    }

    fn secure_or_go_on(&mut self) {
        match self.config.starttls {
            _ if self.is_secured || self.has_introduced() => self.introduce(),
            StartTls::IfOffered | StartTls::Required if self.offered.starttls => {
                self.command(Awaited::StartTls, b"STARTTLS\r\n".to_vec());
            }
            StartTls::Required => self.fail(Failure::NoTls),
            StartTls::IfOffered | StartTls::Never => self.introduce(),
        }
    }

    /// Nothing can go on without it. What is neither yes nor no is a fault of the server's.
    pub(super) fn refused(&mut self, stage: Stage, reply: ServerReply) {
        self.fail(match reply.class() {
            ReplyClass::Temporary | ReplyClass::Permanent => Failure::Refused { stage, reply },
            ReplyClass::Positive | ReplyClass::Intermediate => Failure::Unexpected { stage, reply },
        });
    }
}

/// The one positive reply to STARTTLS (RFC 3207 section 4).
const READY: u16 = 220;
