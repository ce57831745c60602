//! TRANSACTION (RFC 1939 section 5), and UPDATE (section 6), which QUIT alone leads to.

use std::fmt::Write as _;

use gatepost_smtp::server::Identity;

use super::command::{Command, Invalid};
use super::contract::{Answer, CloseReason, Entry, Question};
use super::messages::Messages;
use super::multiline::Multiline;
use super::outbox::Outbox;
use super::reply::Reply;
use super::session::State;

/// A mailbox is open.
#[derive(Debug)]
pub(super) struct Transaction {
    /// Whose.
    pub(super) identity: Identity,
    messages: Messages,
    /// What to do with the message that was asked for.
    fetch: Option<Fetch>,
}

#[derive(Debug, Clone, Copy)]
enum Fetch {
    Whole,
    Top { lines: u64 },
}

// === impl Transaction ===

impl Transaction {
    pub(super) const fn new(identity: Identity, messages: Messages) -> Self {
        Self { identity, messages, fetch: None }
    }

    /// Takes a line without its CRLF.
    pub(super) fn line(mut self, outbox: &mut Outbox, line: &[u8]) -> State {
        let done = match Command::parse(line) {
            Ok(Command::Quit) => return self.quit(outbox),
            Ok(command) => self.command(outbox, &command),
            Err(Invalid::Unknown) => return outbox.refuse(Reply::UNKNOWN, State::Transaction(self)),
            Err(Invalid::Arguments) => return outbox.refuse(Reply::ARGUMENTS, State::Transaction(self)),
        };
        // Numbers that are no (longer) messages are everyday life, not errors that count.
        if let Err(reply) = done {
            outbox.reply(reply);
        }
        State::Transaction(self)
    }

    /// Takes the message that was asked for.
    pub(super) fn answer(mut self, outbox: &mut Outbox, answer: Answer) -> State {
        match (self.fetch.take(), answer) {
            (Some(fetch), Answer::Message(message)) => {
                outbox.reply(Reply::MESSAGE_FOLLOWS);
                outbox.transfer(match fetch {
                    Fetch::Whole => Multiline::new(message, None),
                    Fetch::Top { lines } => Multiline::new(message, Some(lines)),
                });
            }
            (Some(_), Answer::Withheld) => outbox.reply(Reply::WITHHELD),
            (Some(_), Answer::Replaced) => outbox.reply(Reply::REPLACED),
            (Some(_), Answer::Gone) => outbox.reply(Reply::GONE),
            (Some(_), _) => outbox.reply(Reply::MESSAGE_UNAVAILABLE),
            (None, _) => {}
        }
        State::Transaction(self)
    }

    fn command(&mut self, outbox: &mut Outbox, command: &Command) -> Result<(), Reply> {
        match *command {
            Command::Stat => self.stat(outbox),
            Command::List(number) => self.list(outbox, number, |_, entry| entry.octets.to_string())?,
            Command::Uidl(number) => self.list(outbox, number, Messages::unique_id)?,
            Command::Retr(number) => self.fetch(outbox, number, Fetch::Whole)?,
            Command::Top { message, lines } => self.fetch(outbox, message, Fetch::Top { lines })?,
            Command::Dele(number) => {
                self.messages.mark(number)?;
                outbox.reply(Reply::MARKED);
            }
            Command::Noop => outbox.reply(Reply::DONE),
            Command::Rset => {
                self.messages.unmark_all();
                outbox.reply(Reply::DONE);
            }
            Command::Capa => outbox.capabilities(),
            Command::Stls
            | Command::Utf8
            | Command::User(_)
            | Command::Pass(_)
            | Command::Auth { .. }
            | Command::Quit => return Err(Reply::NOT_NOW),
        }
        Ok(())
    }

    fn quit(self, outbox: &mut Outbox) -> State {
        let uids = self.messages.deleted_uids();
        if uids.is_empty() {
            return outbox.close_with(Reply::GOODBYE, CloseReason::Quit);
        }
        outbox.ask(Question::Delete { uids });
        State::Update(Update)
    }

    fn stat(&self, outbox: &mut Outbox) {
        let (count, octets) = self.messages.totals();
        outbox.line(format_args!("+OK {count} {octets}"));
    }

    /// LIST and UIDL: one message, or all.
    fn list(
        &self,
        outbox: &mut Outbox,
        number: Option<usize>,
        column: impl Fn(&Messages, Entry) -> String,
    ) -> Result<(), Reply> {
        if let Some(number) = number {
            let entry = self.messages.entry(number)?;
            outbox.line(format_args!("+OK {number} {}", column(&self.messages, entry)));
            return Ok(());
        }
        let mut lines = String::from("+OK\r\n");
        for (number, entry) in self.messages.entries() {
            // Writing to a String cannot fail.
            let _ = write!(lines, "{number} {}\r\n", column(&self.messages, entry));
        }
        lines.push_str(".\r\n");
        outbox.send(lines);
        Ok(())
    }

    fn fetch(&mut self, outbox: &mut Outbox, number: usize, fetch: Fetch) -> Result<(), Reply> {
        let entry = self.messages.entry(number)?;
        self.fetch = Some(fetch);
        let is_read = !matches!(fetch, Fetch::Top { lines: 0 });
        outbox.ask(Question::Fetch { uid: entry.uid, is_read });
        Ok(())
    }
}

/// Marked messages are being deleted.
#[derive(Debug)]
pub(super) struct Update;

// === impl Update ===

impl Update {
    /// Takes the answer to the deletion.
    pub(super) fn answer(self, outbox: &mut Outbox, answer: &Answer) -> State {
        if *answer == Answer::Deleted {
            outbox.close_with(Reply::GOODBYE, CloseReason::Quit)
        } else {
            outbox.close_with(Reply::NOT_DELETED, CloseReason::NotDeleted)
        }
    }
}
