//! The way back from a token, a session or a queue id to what happened. Reads the files themselves, so it works beside
//! a running server and without one.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use gatepost_smtp::wire::token::Token;
use memchr::memmem;

use super::writer::files;
use super::{Event, What};

/// The event log as it lies on the disk.
#[derive(Debug, Clone)]
pub struct History {
    folder: PathBuf,
}

/// What a search came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// In the order in which they happened.
    pub events: Vec<Event>,
    /// When the oldest event of the whole log happened, milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Lines that are no events: torn by a crash, or of a newer version.
    pub unreadable: u64,
    /// Events that the log says it lacks, wherever they belong.
    pub lost: u64,
}

// === impl History ===

impl History {
    /// The log in that folder, which may be empty or missing.
    #[must_use]
    pub fn open(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// All of the sessions in which a reply had this token.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn of_token(&self, token: Token) -> io::Result<Found> {
        let wanted = token.to_string();
        let named = self.search(&wanted, |event| token_of(event) == Some(&wanted))?;
        let sessions: BTreeSet<_> =
            named.events.iter().filter_map(|event| event.about.session.clone()).collect();
        if sessions.is_empty() {
            return Ok(named);
        }
        let mut whole = Found { events: Vec::new(), ..named.clone() };
        for session in sessions {
            whole.events.extend(self.of_session(&session)?.events);
        }
        // A connection that was refused before it became a session.
        whole.events.extend(named.events.into_iter().filter(|event| event.about.session.is_none()));
        whole.events.sort_by_key(|event| event.at_ms);
        Ok(whole)
    }

    /// All of one session, and what became of its mails.
    ///
    /// # Errors
    /// As above.
    pub fn of_session(&self, session: &str) -> io::Result<Found> {
        self.search(session, |event| event.about.session.as_deref() == Some(session))
    }

    /// All of one mail.
    ///
    /// # Errors
    /// As above.
    pub fn of_mail(&self, queue_id: &str) -> io::Result<Found> {
        self.search(queue_id, |event| event.about.queue_id.as_deref() == Some(queue_id))
    }

    /// `needle` stands in every line that can match: the others are not parsed.
    fn search(&self, needle: &str, matches: impl Fn(&Event) -> bool) -> io::Result<Found> {
        let mut found = Found::default();
        let needles = [needle, GAP].map(memmem::Finder::new);
        for path in self.files()? {
            let file = match File::open(path) {
                Ok(file) => file,
                // The writer has removed it meanwhile: it was the oldest.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for line in BufReader::new(file).split(b'\n') {
                let line = line?;
                let is_first = found.since_ms.is_none();
                if is_first
                    || needles.iter().any(|needle| needle.find(&line).is_some())
                    || !line.ends_with(b"}")
                {
                    found.take(&line, &matches);
                }
            }
        }
        found.events.sort_by_key(|event| event.at_ms);
        Ok(found)
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        match files(&self.folder) {
            Ok(files) => Ok(files.into_iter().map(|(_, path)| path).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

// === impl Found ===

impl Found {
    fn take(&mut self, line: &[u8], matches: impl Fn(&Event) -> bool) {
        let Ok(event) = serde_json::from_slice::<Event>(line) else {
            self.unreadable = self.unreadable.saturating_add(1);
            return;
        };
        self.since_ms = Some(self.since_ms.unwrap_or(event.at_ms));
        if let What::Gap { lost } = event.what {
            self.lost = self.lost.saturating_add(lost);
        }
        if matches(&event) {
            self.events.push(event);
        }
    }
}

fn token_of(event: &Event) -> Option<&String> {
    match &event.what {
        What::Refused { token, .. } => token.as_ref(),
        _ => None,
    }
}

/// In every line that tells of a gap.
const GAP: &str = "\"log.gap\"";

#[cfg(test)]
mod tests {
    use super::super::{About, Log};
    use super::*;

    fn refused(token: Option<&str>) -> What {
        What::Refused {
            rule: "rcpt.unknown".into(),
            verb: "RCPT".into(),
            code: Some(550),
            evidence: Some("<nobody@x>".into()),
            limit: None,
            token: token.map(str::to_owned),
        }
    }

    fn about(session: &str, queue_id: Option<&str>) -> About {
        let peer = "192.0.2.7:4711".parse().ok();
        About {
            session: Some(session.into()),
            queue_id: queue_id.map(str::to_owned),
            peer,
            ..About::default()
        }
    }

    async fn filled(folder: &Path) -> History {
        let log = Log::start(folder, None).unwrap();
        let delivered = || What::Delivered { recipient: "<me@x>".into() };
        let user = || What::Authenticated { user: "7K3F9Q".into(), mechanism: "PLAIN".into() };
        log.record(about("S1", None), user());
        log.record(about("S2", None), user());
        log.record(about("S1", None), refused(Some("7K3F9Q")));
        log.record(about("S1", Some("Q1")), delivered());
        log.flush().await;
        History::open(folder)
    }

    #[tokio::test]
    async fn a_token_leads_to_its_session_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let history = filled(folder.path()).await;
        let found = history.of_token("7k3f9q".parse().unwrap()).unwrap();
        assert_eq!(found.events, history.of_session("S1").unwrap().events);
        assert_eq!(found.events.len(), 3);
        assert_eq!(history.of_mail("Q1").unwrap().events.len(), 1);
    }

    #[tokio::test]
    async fn a_search_in_vain_tells_how_far_back_it_went() {
        let folder = tempfile::tempdir().unwrap();
        let history = filled(folder.path()).await;
        let found = history.of_token("000000".parse().unwrap()).unwrap();
        assert!(found.events.is_empty() && found.since_ms.is_some());
        let nowhere = History::open(&folder.path().join("none"));
        assert_eq!(nowhere.of_mail("Q1").unwrap(), Found::default());
    }
}
