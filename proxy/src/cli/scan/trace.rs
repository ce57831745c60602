//! `gatepost scan trace`: the way of infected mail. Reads the event log and the mailboxes themselves, so it works beside a
//! running server and without one.

use std::collections::BTreeSet;
use std::io;

use clap::Args;
use gatepost_core::events::{Event, History, What};
use gatepost_core::queue::QueueId;
use gatepost_core::store::{self, ContentHash, Copied, MailStore as _, SqliteStore};
use serde_json::json;
use tokio::runtime::Builder;

use super::super::output::{Output, Table, precise_time, printable, time};
use super::super::{Failure, Site};
use crate::data_folder::DataFolder;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What a scan calls the threat, the BLAKE3 of a message in hex, or a queue id.
    #[arg(value_name = "NAME|HASH|QUEUE-ID")]
    subject: String,
    /// For scripts.
    #[arg(long)]
    json: bool,
}

/// What can be asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    Threat(String),
    Content(ContentHash),
    Mail(QueueId),
}

/// What is known of it.
#[derive(Debug, Default)]
struct Traced {
    /// What lies in mailboxes now.
    copies: Vec<(ContentHash, Copied)>,
    /// All of the mails that it came as, as far back as the log goes.
    events: Vec<Event>,
    /// Sessions in which it was found, and that no mail came out of.
    refused_in: BTreeSet<String>,
}

pub(super) fn execute(arguments: &Arguments, site: &Site, output: &mut Output) -> Result<(), Failure> {
    let traced = trace(&Subject::of(&arguments.subject), site)?;
    if arguments.json {
        output.json(&traced.json())?;
        output.finish()?;
    }
    if traced.copies.is_empty() && traced.events.is_empty() {
        let subject = printable(&arguments.subject);
        return Err(Failure::general(format!("neither the event log nor a mailbox knows of {subject}")));
    }
    if arguments.json {
        return Ok(());
    }
    for event in &traced.events {
        output.line(format_args!("{}  {}", precise_time(event.at_ms), printable(&event.to_string())))?;
    }
    for session in &traced.refused_in {
        output.line(format_args!("refused in session {}, nobody got it", printable(session)))?;
    }
    if !traced.copies.is_empty() {
        let mut table = Table::new(&["MAILBOX", "FOLDER", "UID", "MAIL", "RECEIVED"]);
        for (_, copy) in &traced.copies {
            table.row([&copy.mailbox, &copy.folder, &copy.uid, &copy.queue_id, &time(copy.received_at_ms)]);
        }
        output.line("it lies in:")?;
        output.line(table)?;
    }
    match traced.readers() {
        readers if readers.is_empty() => output.line("the log knows of nobody who has read it"),
        readers => {
            output.line(format_args!("read by: {}", readers.into_iter().collect::<Vec<_>>().join(", ")))
        }
    }
}

fn trace(subject: &Subject, site: &Site) -> Result<Traced, Failure> {
    let folder = site.data()?;
    let history = History::open(&folder.events());
    let unreadable = |error| Failure::general(format!("the event log cannot be read: {error}"));
    let copies = copies(subject, &folder)?;
    let mut mails: BTreeSet<_> = copies.iter().map(|(_, copy)| copy.queue_id.to_string()).collect();
    let named = match subject {
        Subject::Mail(id) => {
            mails.insert(id.to_string());
            Vec::new()
        }
        Subject::Threat(name) => history.of_finding(name).map_err(unreadable)?.events,
        Subject::Content(content) => history.of_finding(&content.to_string()).map_err(unreadable)?.events,
    };
    mails.extend(named.iter().filter_map(|event| event.about.queue_id.clone()));
    let mut events = story(&history, mails).map_err(unreadable)?;
    let refused_in = refused_in(&history, &named).map_err(unreadable)?;
    // What a session has refused.
    events.extend(named.into_iter().filter(|event| event.about.queue_id.is_none()));
    events.sort_by_key(|event| event.at_ms);
    told_once(&mut events);
    Ok(Traced { copies, events, refused_in })
}

/// A finding of a session may have led to a mail in queue or quarantine all the same: where the session has one, nothing is said.
fn refused_in(history: &History, named: &[Event]) -> io::Result<BTreeSet<String>> {
    let of_session = named.iter().filter(|event| event.about.queue_id.is_none());
    let mut sessions: BTreeSet<String> = of_session.filter_map(|event| event.about.session.clone()).collect();
    if sessions.is_empty() {
        return Ok(sessions);
    }
    for event in history.of_sessions(&sessions)?.events {
        if let (Some(session), Some(_)) = (&event.about.session, &event.about.queue_id) {
            sessions.remove(session);
        }
    }
    Ok(sessions)
}

/// A rewriting is noted for either of the ids.
fn told_once(events: &mut Vec<Event>) {
    let mut rewritten = Vec::new();
    events.retain(|event| {
        let What::Rewritten { .. } = &event.what else { return true };
        let is_new = !rewritten.contains(&event.what);
        if is_new {
            rewritten.push(event.what.clone());
        }
        is_new
    });
}

/// All of these mails, and of those that they went on as: rewritten, kept from a mailbox, released.
fn story(history: &History, mut mails: BTreeSet<String>) -> io::Result<Vec<Event>> {
    let mut events = history.of_mails(&mails)?.events;
    for _ in 0..LIVES_MAX {
        let known = mails.len();
        mails.extend(events.iter().filter_map(|event| event.what.goes_on_as().cloned()));
        if mails.len() == known {
            break;
        }
        events = history.of_mails(&mails)?.events;
    }
    Ok(events)
}

/// What lies in mailboxes, `CONTENTS_MAX` bodies of each database with `COPIES_MAX` messages each at most.
fn copies(subject: &Subject, folder: &DataFolder) -> Result<Vec<(ContentHash, Copied)>, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(Failure::general)?;
    runtime.block_on(async {
        let mut copies = Vec::new();
        for name in folder.stores().map_err(Failure::general)? {
            let store = SqliteStore::open(&folder.store(&name), &store::Settings::default(), None)
                .map_err(Failure::general)?;
            let contents = match subject {
                Subject::Content(content) => Ok(vec![*content]),
                Subject::Mail(id) => store.contents_of(*id).await,
                Subject::Threat(name) => store.contents_with(name.clone(), CONTENTS_MAX).await,
            };
            for content in contents.map_err(Failure::general)? {
                let found = store.copies(content, COPIES_MAX).await.map_err(Failure::general)?;
                copies.extend(found.into_iter().map(|copy| (content, copy)));
            }
            store.close().await;
        }
        Ok(copies)
    })
}

// === impl Subject ===

impl Subject {
    fn of(text: &str) -> Self {
        let text = text.trim();
        let content = || text.parse().map(Self::Content).ok();
        let mail = || text.to_ascii_uppercase().parse().map(Self::Mail).ok();
        content().or_else(mail).unwrap_or_else(|| Self::Threat(text.to_owned()))
    }
}

// === impl Traced ===

impl Traced {
    fn readers(&self) -> BTreeSet<String> {
        let reader = |event: &Event| match &event.what {
            What::MailRead { user, .. } => Some(printable(user)),
            _ => None,
        };
        self.events.iter().filter_map(reader).collect()
    }

    fn json(&self) -> serde_json::Value {
        let copies: Vec<_> = self
            .copies
            .iter()
            .map(|(content, copy)| {
                json!({
                    "content": content.to_string(),
                    "mailbox": copy.mailbox,
                    "folder": copy.folder,
                    "uid": copy.uid,
                    "queue_id": copy.queue_id.to_string(),
                    "received_at_ms": copy.received_at_ms,
                })
            })
            .collect();
        json!({ "copies": copies, "readers": self.readers(), "refused_in": self.refused_in, "events": self.events })
    }
}

/// More than a person looks at: a threat with more bodies is better asked for by one of these.
const CONTENTS_MAX: usize = 100;
/// A mail to a whole company.
const COPIES_MAX: usize = 10_000;
/// Each further one reads the log once more; a mail that is released, found infected and kept again has lived twice.
const LIVES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use gatepost_core::events::{About, Details, Log};

    use super::*;

    #[test]
    fn a_subject_is_known_by_its_form() {
        let content = ContentHash::of(b"x");
        assert_eq!(Subject::of(&content.to_string()), Subject::Content(content));
        assert!(matches!(Subject::of("1m829761e0000"), Subject::Mail(_)));
        assert_eq!(Subject::of(" Eicar.Test "), Subject::Threat("Eicar.Test".to_owned()));
    }

    #[tokio::test]
    async fn what_a_session_refused_is_told_unless_mail_came_out_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::start(folder.path(), None).unwrap();
        let record = |session: &str, id: Option<&str>, what| {
            let queue_id = id.map(str::to_owned);
            log.record(About { session: Some(session.into()), queue_id, ..About::default() }, what);
        };
        let scanned = || What::Scanned { verdict: "infected: Late".into(), details: Details::default() };
        record("S1", None, scanned());
        record("S2", None, scanned());
        record("S2", Some("Q2"), What::Delivered { recipient: "<me@x>".into() });
        log.flush().await;
        let history = History::open(folder.path());
        let named = history.of_finding("late").unwrap().events;
        assert_eq!(refused_in(&history, &named).unwrap(), BTreeSet::from(["S1".to_owned()]));
    }

    #[test]
    fn a_rewriting_is_told_once() {
        let rewritten = |id: &str| {
            let what = What::Rewritten {
                original: "Q1".into(),
                rewritten_as: "Q2".into(),
                threat: "Late".into(),
                removed: 1,
                cleaned: 0,
                clean_failed: 0,
                details: Details::default(),
            };
            Event::now(About { queue_id: Some(id.into()), ..About::default() }, what)
        };
        let mut events = vec![rewritten("Q1"), rewritten("Q2")];
        told_once(&mut events);
        assert_eq!(events.len(), 1);
    }

    #[tokio::test]
    async fn a_mail_is_followed_through_all_that_it_went_on_as() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::start(folder.path(), None).unwrap();
        let record = |id: &str, what| {
            log.record(About { queue_id: Some(id.into()), ..About::default() }, what);
        };
        let to = || "<me@x>".to_owned();
        record("Q1", What::Replaced { recipient: to(), by: "Q2".into() });
        record("Q2", What::Delivered { recipient: to() });
        let (by, released_as) = ("uid 0".into(), "Q3".into());
        let details = Details::default();
        record("Q2", What::QuarantineReleased { by, released_as, details, overruled: Vec::new() });
        record("Q3", What::Delivered { recipient: to() });
        record("Q4", What::Delivered { recipient: to() });
        log.flush().await;
        let events = story(&History::open(folder.path()), BTreeSet::from(["Q1".to_owned()])).unwrap();
        let mails: BTreeSet<_> = events.iter().filter_map(|event| event.about.queue_id.as_deref()).collect();
        assert_eq!((events.len(), mails), (4, BTreeSet::from(["Q1", "Q2", "Q3"])));
    }
}
