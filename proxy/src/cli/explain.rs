//! `gatepost explain`: why was this refused, and what became of that mail? Reads the event log itself, so it works
//! beside a running server and without one.

use std::collections::BTreeSet;

use clap::Args;
use gatepost_core::events::{Event, Found, History};
use gatepost_core::queue::QueueId;
use gatepost_smtp::wire::token::Token;
use serde_json::json;

use super::output::{Output, precise_time, printable};
use super::{Exit, Failure, Site};
use crate::session_id::SessionId;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The token in brackets at the end of a reply (7K3F9Q), a session of the log, or the queue id of a 250 reply.
    #[arg(value_name = "TOKEN|SESSION|QUEUE-ID")]
    id: String,
    /// For scripts: the events as they stand in the log.
    #[arg(long)]
    json: bool,
}

/// What can be asked about; their texts differ in length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Token(Token),
    Session(SessionId),
    Mail(QueueId),
}

pub(super) fn execute(arguments: &Arguments, site: &Site, output: &mut Output) -> Result<(), Failure> {
    let subject = Subject::parse(&arguments.id)?;
    let history = History::open(&site.data()?.events());
    let found = match subject {
        Subject::Token(token) => history.of_token(token),
        Subject::Session(session) => history.of_session(&session.to_string()),
        Subject::Mail(id) => history.of_mail(&id.to_string()),
    };
    let found = found.map_err(|error| Failure::general(format!("the event log cannot be read: {error}")))?;
    if found.events.is_empty() {
        return Err(Failure::general(nothing(&arguments.id, subject, &found)));
    }
    if arguments.json {
        return output.json(&json!(found.events));
    }
    tell(subject, &found, output)
}

fn tell(subject: Subject, found: &Found, output: &mut Output) -> Result<(), Failure> {
    for event in &found.events {
        output.line(format_args!("{}  {}", precise_time(event.at_ms), printable(&event.to_string())))?;
    }
    for session in values(found, |event| &event.about.session) {
        match subject {
            Subject::Mail(_) => output.line(format_args!("handed in by session {session}"))?,
            Subject::Token(_) | Subject::Session(_) => output.line(format_args!("session {session}"))?,
        }
    }
    if found.lost > 0 {
        output.line(format_args!("the log lacks {} events that came too fast to be written", found.lost))?;
    }
    Ok(())
}

fn nothing(id: &str, subject: Subject, found: &Found) -> String {
    let reach = match found.since_ms {
        Some(since_ms) => format!("the event log goes back to {}", precise_time(since_ms)),
        None => "the event log is empty".to_owned(),
    };
    let hint = match subject {
        Subject::Mail(id) => format!("; `gatepost queue show {id}` tells whether it still waits"),
        Subject::Token(_) => "; is this the data folder of the server that gave the reply?".to_owned(),
        Subject::Session(_) => {
            "; a session that refused nothing, took no mail and ended well leaves no event".to_owned()
        }
    };
    format!("nothing is known of {}: {reach}{hint}", printable(id))
}

fn values(found: &Found, field: impl Fn(&Event) -> &Option<String>) -> BTreeSet<&String> {
    found.events.iter().filter_map(|event| field(event).as_ref()).collect()
}

// === impl Subject ===

impl Subject {
    fn parse(text: &str) -> Result<Self, Failure> {
        let upper = text.trim().to_ascii_uppercase();
        let token = || upper.parse().map(Self::Token).ok();
        let session = || upper.parse().map(Self::Session).ok();
        let mail = || upper.parse().map(Self::Mail).ok();
        token().or_else(session).or_else(mail).ok_or_else(|| {
            Failure::new(Exit::Usage, format!("neither a token, a session nor a queue id: {text:?}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_known_by_its_form() {
        let session = SessionId::next();
        assert_eq!(Subject::parse(&session.to_string()).ok(), Some(Subject::Session(session)));
        assert!(matches!(Subject::parse("[7k3f9q]"), Ok(Subject::Token(_))));
        assert!(matches!(Subject::parse("1M829761E0000"), Ok(Subject::Mail(_))));
        for wrong in ["", "-", "7K3F9", "me@localhost", "1M829761E00001"] {
            assert!(Subject::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_search_in_vain_says_how_far_the_log_reaches() {
        let token = Subject::parse("7K3F9Q").unwrap();
        let found = Found { since_ms: Some(1_000), ..Found::default() };
        let said = nothing("7K3F9Q", token, &found);
        assert!(said.contains("goes back to 1970-01-01T00:00:01.000Z"), "{said}");
        assert!(nothing("7K3F9Q", token, &Found::default()).contains("is empty"));
    }
}
