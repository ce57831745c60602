//! Plays cases against the real binary, several at a time, and compares with the model.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use gatepost_tests::mail;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;

use super::model::{self, Outcome, SMUGGLED};
use super::place::Way;

/// One session.
#[derive(Debug, Clone)]
pub struct Case {
    pub way: Way,
    /// In front of the variant.
    pub lead: Vec<u8>,
    pub variant: Vec<u8>,
    /// Where what is sent is cut in two; `None` sends it in one write.
    pub cut: Option<usize>,
}

// === impl Case ===

impl Case {
    /// Behind text in a body.
    pub fn behind_text(variant: &[u8]) -> Self {
        let lead = b"Subject: outer\r\n\r\nouter".to_vec();
        Self { way: Way::Plain, lead, variant: variant.to_vec(), cut: None }
    }

    /// At every octet of the variant, one in front of it, and a few behind it.
    pub fn cut_everywhere(self) -> Vec<Self> {
        let (start, end) = (self.lead.len(), self.lead.len() + self.variant.len());
        (start.saturating_sub(1)..=end + 8).map(|at| Self { cut: Some(at), ..self.clone() }).collect()
    }

    /// All octets behind the 354: the variant, commands that it might set free, the true end, and QUIT.
    fn octets(&self) -> Vec<u8> {
        [&self.lead, &self.variant[..], SMUGGLED, b".\r\nQUIT\r\n"].concat()
    }
}

/// A server with a listener without AUTH, and a mailbox for everything.
pub fn server(sections: &str) -> Server {
    Setup::new().open_listener().user("you@localhost").sections(sections).log_level("info").start()
}

/// Plays them all; then the mailbox must hold what the model says, no mail more and none less.
///
/// # Panics
/// With the cases that came out otherwise.
pub fn play(server: &Server, cases: &[Case]) {
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..PLAYERS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (said, expected) = (session(server, case), model::read(&case.octets()).replies);
                    let is_right = said.len() == expected.len()
                        && said.iter().zip(&expected).all(|(said, start)| said.starts_with(start));
                    if !is_right {
                        let mut failures = failures.lock().expect("no player has panicked");
                        failures.push(format!("{}: {said:?} instead of {expected:?}", shown(case)));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no player has panicked");
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
    assert_delivered(server, cases.iter().flat_map(|case| model::read(&case.octets()).mails));
}

/// Everything that the server says from the body on.
fn session(server: &Server, case: &Case) -> Vec<String> {
    let mut smtp = case.way.open(server);
    let octets = case.octets();
    match case.cut {
        Some(at) => {
            let (first, second) = octets.split_at(at);
            smtp.send(first);
            // The server shall see them as two reads.
            thread::sleep(Duration::from_millis(1));
            // Where it has closed already, what it said is still to be read.
            smtp.wire().try_send(second).ok();
        }
        None => smtp.send(&octets),
    }
    smtp.rest().lines().map(str::to_owned).collect()
}

/// All octets behind RCPT: the content by BDAT, cut in two, and QUIT.
pub fn two_chunks(content: &[u8], cut: usize) -> Vec<u8> {
    let (first, second) = content.split_at(cut);
    let begin = format!("BDAT {}\r\n", first.len());
    let end = format!("BDAT {} LAST\r\n", second.len());
    [begin.as_bytes(), first, end.as_bytes(), second, b"QUIT\r\n"].concat()
}

/// # Panics
/// Where `you@localhost` has other mails than these, or one that the next server could read in two ways.
pub fn assert_delivered(server: &Server, mails: impl Iterator<Item = Vec<u8>>) {
    let mut expected = BTreeMap::<Vec<u8>, usize>::new();
    mails.for_each(|mail| *expected.entry(mail).or_default() += 1);
    let mut found = BTreeMap::<Vec<u8>, usize>::new();
    server.wait_for_empty_queue();
    for stored in server.inbox_of(&server.users[1], expected.values().sum()) {
        assert!(!model::has_fault(&stored), "{}", stored.escape_ascii());
        *found.entry(mail::below_trace(&stored).to_vec()).or_default() += 1;
    }
    for (mail, count) in &expected {
        assert_eq!(found.get(mail), Some(count), "{}", mail.escape_ascii());
    }
    assert_eq!(found.len(), expected.len(), "a mail that nobody sent");
}

fn shown(case: &Case) -> String {
    let Case { way, lead, variant, cut } = case;
    let lead = &lead[lead.len().saturating_sub(20)..];
    format!("{way:?} {} [{}] cut at {cut:?}", lead.escape_ascii(), variant.escape_ascii())
}

/// What a mail of a model's outcome must be.
#[test]
fn the_model_knows_the_true_end_from_a_false_one() {
    let replies = |variant: &[u8]| model::read(&Case::behind_text(variant).octets());
    let Outcome { replies: said, mails } = replies(b"\r\n.\r\n");
    assert_eq!(said, ["250 2.0.0", "250 2.1.0", "250 2.1.5", "250 2.0.0", "500 5.5.", "221 2.0.0"]);
    assert_eq!(mails, [&b"Subject: outer\r\n\r\nouter\r\n"[..], b"Subject: smuggled\r\n"]);
    assert_eq!(replies(b"\n.\n"), Outcome { replies: vec!["554 5.6.0"], mails: Vec::new() });
    let Outcome { replies: said, mails } = replies(b"\r\n..\r\n");
    assert_eq!((said, mails.len()), (vec!["250 2.0.0", "221 2.0.0"], 1));
    assert!(mails[0].starts_with(b"Subject: outer\r\n\r\nouter\r\n.\r\nMAIL FROM:"));
    assert_eq!(replies(b"\r\n.\r\n\n").replies, ["250 2.0.0", "500 5.5.2"]);
}

const PLAYERS: usize = 8;
