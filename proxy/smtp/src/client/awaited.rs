//! What a reply answers, and how long it may take.

use std::time::Duration;

use super::Patience;
use super::contract::Stage;

/// What a reply answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Xclient,
    Auth(AuthStep),
    Reset,
    Mail,
    /// Index of the recipient.
    Rcpt(usize),
    Data,
    /// A chunk before the last.
    Chunk,
    /// The end of data, for one accepted recipient (LMTP) or for all of them.
    End,
    /// The end of an empty body, for recipients that were all refused (RFC 2920 section 3.1).
    EmptyEnd,
    Quit,
    /// A command of somebody else's, whose reply is told as it is.
    HandedOn(Stage),
    /// A chunk of somebody else's body, before the last.
    HandedChunk,
}

/// Where in an AUTH exchange the server's next reply stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AuthStep {
    /// It asks for the name.
    User,
    /// It asks for the password.
    Password,
    /// It gives salt, rounds and its nonce (SCRAM).
    ServerFirst,
    /// It proves that it knows the password (SCRAM).
    ServerFinal,
    /// It has all.
    Verdict,
}

// === impl Awaited ===

impl Awaited {
    /// What the session is about while it is awaited.
    pub(super) const fn stage(self) -> Stage {
        match self {
            Self::Greeting => Stage::Greeting,
            Self::Ehlo | Self::Helo => Stage::Hello,
            Self::StartTls => Stage::StartTls,
            Self::Xclient => Stage::Xclient,
            Self::Auth(_) => Stage::Auth,
            Self::Reset => Stage::Reset,
            Self::Mail => Stage::Mail,
            Self::Rcpt(_) => Stage::Rcpt,
            // An empty end has nothing in it that could be delivered.
            Self::Data | Self::EmptyEnd => Stage::Data,
            Self::Chunk | Self::HandedChunk => Stage::Body,
            Self::HandedOn(stage) => stage,
            Self::End => Stage::EndOfData,
            Self::Quit => Stage::Quit,
        }
    }

    /// How long to wait for it.
    pub(super) const fn patience(self, patience: &Patience) -> Duration {
        match self {
            Self::Greeting => patience.greeting,
            Self::Ehlo
            | Self::Helo
            | Self::StartTls
            | Self::Xclient
            | Self::Auth(_)
            | Self::Reset
            | Self::Mail
            | Self::Rcpt(_)
            | Self::Chunk
            | Self::HandedChunk => patience.command,
            Self::HandedOn(Stage::Data) => patience.data,
            Self::HandedOn(Stage::EndOfData) => patience.end_of_data,
            Self::HandedOn(_) => patience.command,
            Self::Data => patience.data,
            Self::End | Self::EmptyEnd => patience.end_of_data,
            Self::Quit => patience.quit,
        }
    }
}
