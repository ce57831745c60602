//! What people here are told of a mail that was kept from them, or of which something was taken out.
//!
//! A warning has the null sender, and there is none about mail that has: so none leads to another.

use std::sync::{Arc, Mutex, PoisonError};

use gatepost_smtp::server::{Envelope, Recipient};
use gatepost_smtp::wire::params::{MailParams, Notify, RcptParams};
use gatepost_smtp::wire::path::{ForwardPath, ReversePath};
use prometheus::IntCounter;

use crate::intake::{Body, Origin, Submission, trace};
use crate::queue::{NewMessage, QueueId};
use crate::scan::{ItemName, PLAIN_WORDS_OCTETS_MAX};

/// Who is warned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Warnings {
    /// Recipients here whose mail went into the quarantine or away. `None`: they are not.
    pub recipient: Option<Template>,
    /// Senders here, where no notification tells them. `None`: they are not.
    pub sender: Option<Template>,
}

/// A subject and a text. In the text `{sender}`, `{received}`, `{threat}`, `{item}`, `{outcome}`, `{id}` and `{hostname}` stand for what
/// they say. What the mail itself says of its subject is not among them, since its author would write into our text; he does name
/// files, which is why these stand between quotation marks that they cannot end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    subject: String,
    text: String,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// The subject.
    #[error("a subject is a line of 1 to {SUBJECT_OCTETS_MAX} printable ASCII characters")]
    Subject,
    /// The text.
    #[error(
        "a text has 1 to {TEXT_OCTETS_MAX} octets of ASCII, and no line longer than {LINE_OCTETS_MAX} with what its names stand for"
    )]
    Text,
    /// A name that stands for nothing.
    #[error(
        "there is no {{{0}}}; the names are {{sender}}, {{received}}, {{threat}}, {{item}}, {{outcome}}, {{id}} and {{hostname}}"
    )]
    Name(String),
}

/// What a warning is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Occasion<'a> {
    pub(crate) sender: &'a ReversePath,
    /// When the mail came in, milliseconds since 1970.
    pub(crate) received_at_ms: u64,
    /// By which operators know it.
    pub(crate) id: QueueId,
    /// In which it came, or what stands for that.
    pub(crate) session: &'a str,
    pub(crate) threat: &'a str,
    /// In which it was found; `None` where only the finding itself is known.
    pub(crate) item: Option<&'a ItemName>,
    pub(crate) fate: Fate,
}

/// What has become of the mail, on its way or in a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Quarantined,
    Deleted,
    Rewritten,
    TakenOutOfMailbox,
    DeletedFromMailbox,
    RewrittenInMailbox,
}

/// How many warnings there were in this hour. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    hour: Arc<Mutex<(u64, u32)>>,
    counter: Option<IntCounter>,
}

// === impl Template ===

impl Template {
    /// Of a subject and a text, whose lines may end as they like.
    ///
    /// # Errors
    /// They make no template.
    pub fn new(subject: &str, text: &str) -> Result<Self, InvalidTemplate> {
        let is_printable = |octet: u8| octet.is_ascii_graphic() || octet == b' ';
        if subject.trim().is_empty()
            || subject.len() > SUBJECT_OCTETS_MAX
            || !subject.bytes().all(is_printable)
        {
            return Err(InvalidTemplate::Subject);
        }
        let text = text.replace("\r\n", "\n");
        let is_text = |octet: u8| is_printable(octet) || matches!(octet, b'\n' | b'\t');
        if text.trim().is_empty()
            || text.len() > TEXT_OCTETS_MAX
            || text.lines().any(|line| longest(line) > LINE_OCTETS_MAX)
            || !text.bytes().all(is_text)
        {
            return Err(InvalidTemplate::Text);
        }
        let wrong = pieces(&text).find_map(|piece| match piece {
            Piece::Name(name) if !NAMES.contains(&name) => Some(name.to_owned()),
            Piece::Name(_) | Piece::Text(_) => None,
        });
        match wrong {
            Some(name) => Err(InvalidTemplate::Name(name)),
            None => Ok(Self { subject: subject.to_owned(), text }),
        }
    }

    /// The mail, ready for the queue. Those who get it do not learn of each other.
    pub(super) fn make(
        &self,
        id: QueueId,
        to: &[ForwardPath],
        hostname: &str,
        now_ms: u64,
        occasion: Occasion<'_>,
    ) -> NewMessage {
        let body = self.render(id, hostname, now_ms, occasion);
        let quiet = RcptParams { notify: Some(Notify::Never), orcpt: None };
        let recipient = |path: &ForwardPath| Recipient { path: path.clone(), params: quiet.clone() };
        let recipients = to.iter().map(recipient).collect();
        let envelope =
            Envelope { reverse_path: ReversePath::Null, params: MailParams::default(), recipients };
        // In the events it belongs to the session in which the mail came.
        let origin = Origin::here(occasion.session.to_owned(), LISTENER, hostname, now_ms);
        let trace = trace::made_here(hostname, id, now_ms);
        let submission = Submission::new(envelope, origin);
        NewMessage { id, submission, trace, body: Body::Memory(body.into()), stamp: None }
    }

    fn render(&self, id: QueueId, hostname: &str, now_ms: u64, occasion: Occasion<'_>) -> String {
        let subject = &self.subject;
        let date = trace::date(now_ms);
        let mut mail = format!(
            "From: Mail Delivery System <MAILER-DAEMON@{hostname}>\r\n\
             To: undisclosed-recipients:;\r\n\
             Subject: {subject}\r\n\
             Date: {date}\r\n\
             Message-ID: <{id}@{hostname}>\r\n\
             Auto-Submitted: auto-generated\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=us-ascii\r\n\r\n"
        );
        for line in self.text.lines() {
            for piece in pieces(line) {
                match piece {
                    Piece::Text(text) => mail.push_str(text),
                    Piece::Name(name) => mail.push_str(&occasion.value(name, hostname)),
                }
            }
            mail.push_str("\r\n");
        }
        mail
    }
}

// === impl Occasion ===

impl Occasion<'_> {
    /// An address may have anything in it that its quotes allow.
    fn value(&self, name: &str, hostname: &str) -> String {
        let text = match name {
            "sender" => self.sender.to_string(),
            "received" => trace::date(self.received_at_ms),
            "threat" => self.threat.to_owned(),
            "item" => self.item.map_or_else(|| ITEM_UNKNOWN.to_owned(), ItemName::plain_words),
            "outcome" => self.fate.words().to_owned(),
            "id" => self.id.to_string(),
            _ => hostname.to_owned(),
        };
        text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
    }
}

// === impl Fate ===

impl Fate {
    const fn words(self) -> &'static str {
        match self {
            Self::Quarantined => "put into quarantine",
            Self::Deleted => "deleted",
            Self::Rewritten => "delivered without what was infected",
            Self::TakenOutOfMailbox => "taken out of the mailbox and put into quarantine",
            Self::DeletedFromMailbox => "deleted from the mailbox",
            Self::RewrittenInMailbox => "replaced in the mailbox by what is not infected",
        }
    }
}

// === impl Pace ===

impl Pace {
    /// Counts with this counter what went into the queue.
    #[must_use]
    pub fn new(counter: Option<IntCounter>) -> Self {
        Self { counter, ..Self::default() }
    }

    pub(super) fn count(&self) {
        if let Some(counter) = &self.counter {
            counter.inc();
        }
    }

    /// Whether one more may go now.
    pub(super) fn take(&self, now_ms: u64, per_hour: u32) -> bool {
        let mut pace = self.hour.lock().unwrap_or_else(PoisonError::into_inner);
        let hour = now_ms.wrapping_div(HOUR_MS);
        if pace.0 != hour {
            *pace = (hour, 0);
        }
        let may = pace.1 < per_hour;
        pace.1 = pace.1.saturating_add(u32::from(may));
        may
    }
}

/// A part of a template.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Name(&'a str),
}

/// In one pass: what stands for a name is not looked at again. A brace without its other half is text.
fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let named = rest.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        if let Some((name, behind)) = named.filter(|(name, _)| is_name(name)) {
            rest = behind;
            return Some(Piece::Name(name));
        }
        let end = rest.get(first.len_utf8()..).and_then(|behind| behind.find('{'));
        let end = end.map_or(rest.len(), |end| end.saturating_add(first.len_utf8()));
        let (text, behind) = rest.split_at_checked(end).unwrap_or((rest, ""));
        rest = behind;
        Some(Piece::Text(text))
    })
}

/// How long a line may become.
fn longest(line: &str) -> usize {
    let octets = pieces(line).map(|piece| match piece {
        Piece::Text(text) => text.len(),
        Piece::Name("sender" | "hostname") => ADDRESS_OCTETS_MAX,
        Piece::Name("threat") => THREAT_OCTETS_MAX,
        Piece::Name("item") => PLAIN_WORDS_OCTETS_MAX,
        Piece::Name(_) => WORDS_OCTETS_MAX,
    });
    octets.fold(0, usize::saturating_add)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_lowercase())
}

const NAMES: [&str; 7] = ["sender", "received", "threat", "item", "outcome", "id", "hostname"];
/// Where a record of the finding is all that is left.
const ITEM_UNKNOWN: &str = "the message";
/// Where other mail has the name of the listener that it came by.
const LISTENER: &str = "delivery";
/// With the field's name it is a line of the usual length, or two.
const SUBJECT_OCTETS_MAX: usize = 150;
/// A letter, not a book; the mail stays in the queue's memory.
const TEXT_OCTETS_MAX: usize = 8 * 1024;
/// RFC 5322 section 2.1.1.
const LINE_OCTETS_MAX: usize = 998;
/// RFC 5321 section 4.5.3.1.3, and some.
const ADDRESS_OCTETS_MAX: usize = 320;
const THREAT_OCTETS_MAX: usize = 128;
const WORDS_OCTETS_MAX: usize = 48;
const HOUR_MS: u64 = 60 * 60 * 1000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::delivery::testing::message;

    fn mail_about(text: &str, item: Option<&ItemName>, fate: Fate) -> String {
        let about = message(7, &["a@x.example"]);
        let occasion = Occasion {
            sender: &about.submission.envelope.reverse_path,
            received_at_ms: 0,
            id: about.id,
            session: "S",
            threat: "Eicar.Test",
            item,
            fate,
        };
        let to = ["<a@x.example>".parse().unwrap()];
        let made = Template::new("Kept back", text).unwrap().make(QueueId(8), &to, "mx.example", 0, occasion);
        assert_eq!(made.submission.envelope.reverse_path, ReversePath::Null);
        String::from_utf8(made.body.read().unwrap().to_vec()).unwrap()
    }

    fn mail(text: &str) -> String {
        mail_about(text, None, Fate::Quarantined)
    }

    #[test]
    fn names_stand_for_what_they_say_and_other_braces_for_themselves() {
        let mail = mail("{sender}, {received}: {threat} {outcome} as {id} by {hostname}\n{ and } and {");
        let (head, text) = mail.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("\r\nSubject: Kept back\r\n") && !mail.contains("a@x.example"), "{mail}");
        let expected = "<sender@example.org>, Thu, 1 Jan 1970 00:00:00 +0000: Eicar.Test put into quarantine as \
                        0000000000007 by mx.example";
        assert_eq!(text, format!("{expected}\r\n{{ and }} and {{\r\n"));
    }

    #[test]
    fn what_a_file_is_called_adds_neither_lines_nor_names_nor_an_end_of_its_quotation() {
        let said =
            |item| mail_about("In {item}.", item, Fate::Deleted).split_once("\r\n\r\n").unwrap().1.to_owned();
        let hostile = "x\".\r\n\r\nCall {hostname} now: \u{202e}\u{e9}.exe";
        let file = ItemName::root("message").inside_part(2).called(hostile);
        assert_eq!(said(Some(&file)), "In \"x?.????Call {hostname} now: ??.exe\".\r\n");
        let part = ItemName::root("message").inside_part(2);
        assert_eq!(said(Some(&part)), "In part 2.\r\n");
        assert_eq!(said(None), "In the message.\r\n");
    }

    #[test]
    fn what_names_stand_for_is_no_longer_than_lines_have_room_for() {
        for fate in [
            Fate::Quarantined,
            Fate::Deleted,
            Fate::Rewritten,
            Fate::TakenOutOfMailbox,
            Fate::DeletedFromMailbox,
            Fate::RewrittenInMailbox,
        ] {
            assert!(fate.words().len() <= WORDS_OCTETS_MAX, "{fate:?}");
        }
        let long = "x".repeat(500);
        let item = ItemName::root("message").inside_file(&long).inside_file(&long);
        let text = "{item} ".repeat(6);
        let mail = mail_about(&text, Some(&item), Fate::Rewritten);
        assert_eq!(mail.lines().map(str::len).max(), Some(6 * (PLAIN_WORDS_OCTETS_MAX + 1)));
        let text = "{item} ".repeat(8);
        assert_eq!(Template::new("s", &text), Err(InvalidTemplate::Text));
    }

    #[test]
    fn what_is_no_template_is_refused() {
        let text = |text: &str| Template::new("s", text).unwrap_err();
        assert_eq!(text("{subject}"), InvalidTemplate::Name("subject".to_owned()));
        for bad in
            [" \n", &"x".repeat(999), &"{sender} ".repeat(4), &"x\n".repeat(5_000), "a\u{1b}[2J", "\u{e9}"]
        {
            assert_eq!(text(bad), InvalidTemplate::Text);
        }
        for subject in ["", "a\r\nBcc: b@c", "\u{e9}"] {
            assert_eq!(Template::new(subject, "t"), Err(InvalidTemplate::Subject));
        }
    }

    #[test]
    fn so_many_go_in_an_hour_and_no_more() {
        let pace = Pace::default();
        let taken = |now_ms| (0..5).filter(|_| pace.take(now_ms, 2)).count();
        assert_eq!((taken(0), taken(HOUR_MS - 1), taken(HOUR_MS)), (2, 0, 2));
        assert!(!pace.take(9 * HOUR_MS, 0));
    }

    proptest! {
        #[test]
        fn every_template_makes_a_mail_of_lines(text in "[a-z{} \n\r\t]{1,200}") {
            if Template::new("s", &text).is_ok() {
                let mail = mail(&text);
                prop_assert!(mail.split("\r\n").all(|line| !line.contains(['\n', '\r']) && line.len() <= 998));
            }
        }
    }
}
