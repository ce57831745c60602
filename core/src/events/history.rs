//! The way back from a token, a session or a queue id to what happened. Reads the files themselves, so it works beside
//! a running server and without one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
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

    /// All of these sessions.
    ///
    /// # Errors
    /// As above.
    pub fn of_sessions(&self, sessions: &BTreeSet<String>) -> io::Result<Found> {
        let is_one = |event: &Event| event.about.session.as_ref().is_some_and(|id| sessions.contains(id));
        self.search(SESSION, is_one)
    }

    /// All of one mail.
    ///
    /// # Errors
    /// As above.
    pub fn of_mail(&self, queue_id: &str) -> io::Result<Found> {
        self.search(queue_id, |event| event.about.queue_id.as_deref() == Some(queue_id))
    }

    /// All of these mails.
    ///
    /// # Errors
    /// As above.
    pub fn of_mails(&self, queue_ids: &BTreeSet<String>) -> io::Result<Found> {
        let is_one = |event: &Event| event.about.queue_id.as_ref().is_some_and(|id| queue_ids.contains(id));
        self.search(QUEUE_ID, is_one)
    }

    /// Everything in which this threat was found, whatever the case of its name, or this content (its hash in hex); with what was
    /// refused for it in a session, which never was a mail of this server, and what was released in spite of it.
    ///
    /// # Errors
    /// As above.
    pub fn of_finding(&self, name: &str) -> io::Result<Found> {
        let is_it = |said: &str| said.eq_ignore_ascii_case(name);
        self.search_any(&[QUEUE_ID, SCANNED], |event| match &event.what {
            What::Deleted { threat, .. }
            | What::Quarantined { threat, .. }
            | What::Rewritten { threat, .. } => is_it(threat),
            What::VirusFound { threat, content, .. }
            | What::Remedied { threat, content, .. }
            | What::QueueVirusFound { threat, content, .. }
            | What::QuarantineVirusFound { threat, content, .. } => is_it(threat) || is_it(content),
            What::QuarantineReleased { overruled, .. } => overruled.iter().any(|threat| is_it(threat)),
            What::Scanned { verdict, .. } => verdict.strip_prefix(INFECTED).is_some_and(is_it),
            _ => false,
        })
    }

    /// When the newest event happened, as far as it can be read, milliseconds since 1970.
    ///
    /// # Errors
    /// As above.
    pub fn newest_ms(&self) -> io::Result<Option<u64>> {
        let files = match files(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            files => files?,
        };
        for (_, path) in files.iter().rev() {
            let mut file = File::open(path)?;
            let octets = file.seek(SeekFrom::End(0))?;
            file.seek(SeekFrom::Start(octets.saturating_sub(TAIL_OCTETS)))?;
            let mut tail = Vec::new();
            file.read_to_end(&mut tail)?;
            let mut events = tail.rsplit(|octet| *octet == b'\n').flat_map(serde_json::from_slice::<Event>);
            if let Some(newest) = events.next() {
                return Ok(Some(newest.at_ms));
            }
        }
        Ok(None)
    }

    /// The mails that were accepted and of whose recipients some have no end here, and how many those are. Reads the whole
    /// log. A mail whose events were lost may be among them.
    ///
    /// # Errors
    /// As above.
    pub fn unfinished(&self) -> io::Result<BTreeMap<String, usize>> {
        let mut without_end: BTreeMap<String, i64> = BTreeMap::new();
        self.search(QUEUE_ID, |event| {
            let change = match &event.what {
                What::Accepted { details, .. } => i64::try_from(details.recipients).unwrap_or(i64::MAX),
                end if end.end_of().is_some() => -1,
                What::Damaged { .. } | What::Missing { .. } => i64::MIN,
                _ => 0,
            };
            if let Some(id) = event.about.queue_id.as_ref().filter(|_| change != 0) {
                // The end may be noted before the beginning: they come from different threads.
                let count = without_end.entry(id.clone()).or_default();
                *count = count.saturating_add(change);
            }
            false
        })?;
        let left = without_end.into_iter().filter(|(_, count)| *count > 0);
        Ok(left.map(|(id, count)| (id, usize::try_from(count).unwrap_or(usize::MAX))).collect())
    }

    fn search(&self, needle: &str, matches: impl FnMut(&Event) -> bool) -> io::Result<Found> {
        self.search_any(&[needle], matches)
    }

    /// One of the needles stands in every line that can match: the others are not parsed.
    fn search_any(&self, needles: &[&str], mut matches: impl FnMut(&Event) -> bool) -> io::Result<Found> {
        let mut found = Found::default();
        let needles: Vec<_> = needles.iter().chain(&[GAP]).map(memmem::Finder::new).collect();
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
                    found.take(&line, &mut matches);
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
    fn take(&mut self, line: &[u8], mut matches: impl FnMut(&Event) -> bool) {
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

/// In every line about a session.
const SESSION: &str = "\"session\":\"";

/// In every line about a mail.
const QUEUE_ID: &str = "\"queue_id\":\"";

/// In every line about a scan in a session or in the queue.
const SCANNED: &str = "\"mail.scanned\"";

/// Before the name of a threat, where a verdict is written.
const INFECTED: &str = "infected: ";

/// Holds some hundred events.
const TAIL_OCTETS: u64 = 64 * 1024;

/// In every line that tells of a gap.
const GAP: &str = "\"log.gap\"";

#[cfg(test)]
mod tests {
    use super::super::{About, Details, Log};
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
    async fn the_newest_event_is_found_behind_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let history = filled(folder.path()).await;
        let newest = history.of_mail("Q1").unwrap().events[0].at_ms;
        assert_eq!(history.newest_ms().unwrap(), Some(newest));
        let (_, path) = files(folder.path()).unwrap().remove(0);
        let mut file = File::options().append(true).open(path).unwrap();
        std::io::Write::write_all(&mut file, b"{\"at_ms\":7,\"ses").unwrap();
        assert_eq!(history.newest_ms().unwrap(), Some(newest));
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
    async fn a_threat_and_a_content_lead_to_the_mails_that_had_them() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::start(folder.path(), None).unwrap();
        let found = |threat: &str, content: &str| What::VirusFound {
            database: "default".into(),
            mailbox: "me@x".into(),
            folder: "INBOX".into(),
            uid: 1,
            content: content.into(),
            threat: threat.into(),
            found_by: "access".into(),
            details: Details::default(),
        };
        log.record(about("S1", Some("Q1")), found("Late", "aa"));
        log.record(
            about("S2", Some("Q2")),
            What::Scanned { verdict: "infected: Late".into(), details: Details::default() },
        );
        let refused = What::Scanned { verdict: "infected: Late".into(), details: Details::default() };
        log.record(about("S4", None), refused);
        let (by, released_as, details) = ("uid 0".into(), "Q6".into(), Details::default());
        let overruled = vec!["Other".into(), "Forced".into()];
        let released = What::QuarantineReleased { by, released_as, details, overruled };
        log.record(about("S5", Some("Q5")), released);
        log.record(about("S3", Some("Q3")), found("Other", "bb"));
        log.record(about("S3", Some("Q3")), What::Delivered { recipient: "<late>".into() });
        log.flush().await;
        let history = History::open(folder.path());
        let mails = |name: &str| -> Vec<_> {
            let events = history.of_finding(name).unwrap().events;
            events.into_iter().filter_map(|event| event.about.queue_id).collect()
        };
        assert_eq!(mails("LATE"), ["Q1", "Q2"]);
        assert_eq!(
            history.of_finding("late").unwrap().events.len(),
            3,
            "what was refused in a session as well"
        );
        assert_eq!(mails("bb"), ["Q3"]);
        assert_eq!(mails("forced"), ["Q5"]);
        assert!(mails("late>").is_empty());
        let both = BTreeSet::from(["Q1".to_owned(), "Q3".to_owned()]);
        assert_eq!(history.of_mails(&both).unwrap().events.len(), 3);
    }

    #[tokio::test]
    async fn a_mail_is_unfinished_until_each_of_its_recipients_has_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::start(folder.path(), None).unwrap();
        let accepted = |recipients| What::Accepted {
            details: Details { recipients, ..Details::default() },
            octets: 1,
            user: None,
        };
        let to = || "<me@x>".to_owned();
        let record = |id: &str, what: What| log.record(about("S1", Some(id)), what);
        record("Q1", What::Delivered { recipient: to() });
        record("Q1", accepted(1));
        record("Q2", accepted(3));
        record("Q2", What::Bounced { recipient: to(), reason: "5.1.1 x".into() });
        record("Q2", What::Deferred { recipient: to(), reason: "4.2.0 x".into() });
        record("Q3", accepted(1));
        record("Q3", What::Removed { recipient: to(), by: "uid 0".into() });
        record("Q4", accepted(2));
        record("Q4", What::Damaged { set_aside: "x".into() });
        log.flush().await;
        let unfinished = History::open(folder.path()).unfinished().unwrap();
        assert_eq!(unfinished, BTreeMap::from([("Q2".to_owned(), 2)]));
    }

    #[tokio::test]
    async fn a_search_in_vain_tells_how_far_back_it_went() {
        let folder = tempfile::tempdir().unwrap();
        let history = filled(folder.path()).await;
        let found = history.of_token("000000".parse().unwrap()).unwrap();
        assert!(found.events.is_empty() && found.since_ms.is_some());
        let nowhere = History::open(&folder.path().join("none"));
        assert_eq!(nowhere.newest_ms().unwrap(), None);
        assert_eq!(nowhere.of_mail("Q1").unwrap(), Found::default());
    }
}
