//! Every kind of event, with its number and its name. Both stay what they are: scripts rely on them.

use std::borrow::Cow;
use std::net::SocketAddr;

use gatepost_smtp::server::Evidence;
use serde::{Deserialize, Deserializer, Serialize};

use super::Details;
use crate::clock::now_ms;
use crate::intake::Origin;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// To whom.
    #[serde(flatten)]
    pub about: About,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// By what an event is found again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_id: Option<String>,
    /// The listener's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// The other side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<SocketAddr>,
}

/// The catalogue. Texts of a peer are escaped and bounded (`evidence`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event")]
pub enum What {
    /// A session ended by something else than QUIT or its peer's leaving.
    #[serde(rename = "session.closed")]
    SessionClosed {
        /// Why, by the stable name of the reason.
        reason: Cow<'static, str>,
    },
    /// A connection, command or mail was refused.
    #[serde(rename = "refused")]
    Refused {
        /// The rule that decided.
        rule: Cow<'static, str>,
        /// The verb it was in; `connect` before the banner.
        verb: Cow<'static, str>,
        /// The reply's code; POP3 has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<u16>,
        /// What it was decided on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evidence: Option<String>,
        /// The limit behind the rule.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<String>,
        /// The name in the reply.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<String>,
    },
    /// A verb that is for servers, or for nobody, from a peer without the right to it. It was refused as well.
    #[serde(rename = "attack")]
    Attack {
        /// The rule that it broke.
        rule: Cow<'static, str>,
        /// The verb.
        verb: Cow<'static, str>,
        /// What the peer is.
        class: Cow<'static, str>,
        /// What it said.
        evidence: String,
    },
    /// A deviation was tolerated, as the configuration allows this peer.
    #[serde(rename = "quirk")]
    Quirk {
        /// Its name in the configuration.
        quirk: Cow<'static, str>,
    },
    /// Somebody has proved who he is.
    #[serde(rename = "authenticated")]
    Authenticated {
        /// The account.
        user: String,
        /// The SASL mechanism.
        mechanism: Cow<'static, str>,
    },
    /// A scan in the session or in the queue did not say "clean".
    #[serde(rename = "mail.scanned")]
    Scanned {
        /// What it said.
        verdict: String,
        /// Of the mail.
        #[serde(flatten)]
        details: Details,
    },
    /// Infected parts of a mail were cleaned or taken out.
    #[serde(rename = "mail.rewritten")]
    Rewritten {
        /// The mail as it was.
        original: String,
        /// The mail that goes on in its place.
        rewritten_as: String,
        /// What was found.
        threat: String,
        /// Parts that a text stands in the place of.
        removed: usize,
        /// Parts that an engine has cleaned.
        cleaned: usize,
        /// Parts that no engine could clean; a text stands in their place.
        clean_failed: usize,
        /// Of the mail.
        #[serde(flatten)]
        details: Details,
    },
    /// Trust headers were taken out of a mail whose sender has no right to them.
    #[serde(rename = "mail.headers_stripped")]
    Stripped {
        /// Their names, each with its number.
        fields: String,
    },
    /// A mail was made durable and answered with 250.
    #[serde(rename = "mail.accepted")]
    Accepted {
        /// Of the mail, as far as its envelope and its session tell.
        #[serde(flatten)]
        details: Details,
        /// Of the body.
        octets: u64,
        /// Who handed it in, where he has proved who he is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
    },
    /// The sender is told what became of his mail.
    #[serde(rename = "mail.notified")]
    Notified {
        /// Who.
        sender: String,
        /// The notification's own queue id.
        notification: String,
        /// What matters most of what it tells: `failed`, `delayed`, `relayed` or `delivered`.
        action: Cow<'static, str>,
        /// Of how many recipients it tells.
        recipients: usize,
    },
    /// A mail was dealt with although no scan had vouched for it in time: in its session, or on its way into mailboxes.
    #[serde(rename = "mail.unscanned")]
    Unscanned {
        /// What the scan said.
        verdict: String,
        /// What `fail` of its listener makes of it: `open`, `closed` or `hold`.
        fail: Cow<'static, str>,
        /// Of the mail.
        #[serde(flatten)]
        details: Details,
    },
    /// What the disk holds of a mail is not what was written, and it is lost. The mail is named by what can be read.
    #[serde(rename = "mail.damaged")]
    Damaged {
        /// The file in `corrupt/` that has the rest of it.
        set_aside: String,
    },
    /// A mail went with a part of the queue, and nothing says what became of it.
    #[serde(rename = "mail.missing")]
    Missing {
        /// How many recipients are without an end.
        recipients: usize,
    },
    /// A file in the pickup folder was no mail, or must not be sent; it lies among the bad mail.
    #[serde(rename = "pickup.refused")]
    NotSent {
        /// What it was called.
        name: String,
        /// Why, with an enhanced status code first.
        reason: String,
    },
    /// A recipient has the mail.
    #[serde(rename = "recipient.delivered")]
    Delivered {
        /// Whose envelope address it was.
        recipient: String,
    },
    /// A recipient's copy was deleted because policy wants it so.
    #[serde(rename = "recipient.deleted")]
    Deleted {
        /// Whose.
        recipient: String,
        /// What was found in it.
        threat: String,
        /// Of the mail.
        #[serde(flatten)]
        details: Details,
    },
    /// A recipient's copy lies in the quarantine.
    #[serde(rename = "recipient.quarantined")]
    Quarantined {
        /// Whose.
        recipient: String,
        /// What was found in it.
        threat: String,
        /// Of the mail.
        #[serde(flatten)]
        details: Details,
    },
    /// A recipient gets another mail instead, without what was found in this one.
    #[serde(rename = "recipient.replaced")]
    Replaced {
        /// Who.
        recipient: String,
        /// The other mail's queue id.
        by: String,
    },
    /// A recipient was given up.
    #[serde(rename = "recipient.bounced")]
    Bounced {
        /// Who.
        recipient: String,
        /// Why, with an enhanced status code first.
        reason: String,
    },
    /// An operator took a recipient's copy out of the queue, and nobody was told.
    #[serde(rename = "recipient.removed")]
    Removed {
        /// Who.
        recipient: String,
        /// By whose order.
        by: String,
    },
    /// A recipient was not served in this attempt.
    #[serde(rename = "recipient.deferred")]
    Deferred {
        /// Who.
        recipient: String,
        /// Why, with an enhanced status code first.
        reason: String,
    },
    /// A delivery goes on beyond all its time limits: a bug, or a machine that stands still.
    #[serde(rename = "mail.stuck")]
    Stuck {
        /// Which part of it.
        doing: Cow<'static, str>,
        /// For how long.
        seconds: u64,
    },
    /// A scan engine can be asked from now on, with these signatures.
    #[serde(rename = "scan.engine_loaded")]
    EngineLoaded {
        /// Its name in the configuration.
        engine: String,
        /// As it calls them.
        signatures: String,
    },
    /// A scan engine is not asked any longer, until it answers again.
    #[serde(rename = "scan.engine_unloaded")]
    EngineUnloaded {
        /// Its name in the configuration.
        engine: String,
        /// What it failed at.
        reason: String,
    },
    /// A scan engine could not be loaded.
    #[serde(rename = "scan.engine_failed")]
    EngineFailed {
        /// Its name in the configuration.
        engine: String,
        /// Why not.
        reason: String,
    },
    /// A scan engine, or its signatures, are not set up as this server needs them.
    #[serde(rename = "scan.engine_misconfigured")]
    EngineMisconfigured {
        /// Its name in the configuration.
        engine: String,
        /// What is wrong.
        reason: String,
    },
    /// A scan engine did what its protocol does not know.
    #[serde(rename = "scan.unexpected")]
    EngineUnexpected {
        /// Its name in the configuration.
        engine: String,
        /// What it did.
        reason: String,
    },
    /// Somebody has looked through the quarantine.
    #[serde(rename = "quarantine.listed")]
    QuarantineListed {
        /// Who.
        by: String,
        /// What he saw.
        messages: usize,
    },
    /// Somebody has looked at a mail in quarantine.
    #[serde(rename = "quarantine.shown")]
    QuarantineShown {
        /// Who.
        by: String,
        /// Of the mail.
        #[serde(flatten)]
        details: Details,
    },
    /// A mail went from the quarantine back into the queue.
    #[serde(rename = "quarantine.released")]
    QuarantineReleased {
        /// Who wanted it.
        by: String,
        /// Its new queue id.
        released_as: String,
        /// Of the mail, and for whom it was released.
        #[serde(flatten)]
        details: Details,
        /// The findings that do not count any more in this content. Older versions have written one alone, not as a list.
        #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_several")]
        overruled: Vec<String>,
    },
    /// A mail was to go from the quarantine, and stays.
    #[serde(rename = "quarantine.withheld")]
    QuarantineWithheld {
        /// Who wanted it.
        by: String,
        /// Why it stays.
        reason: String,
        /// Of the mail.
        #[serde(flatten)]
        details: Details,
    },
    /// A mail in quarantine was deleted.
    #[serde(rename = "quarantine.deleted")]
    QuarantineDeleted {
        /// By whom.
        by: String,
        /// Of the mail.
        #[serde(flatten)]
        details: Details,
    },
    /// A mail in quarantine had to go.
    #[serde(rename = "quarantine.expired")]
    QuarantineExpired {
        /// Why.
        why: Cow<'static, str>,
        /// Of the mail.
        #[serde(flatten)]
        details: Details,
    },
    /// Newer signatures found a virus in a mail that was in quarantine for something else.
    #[serde(rename = "quarantine.virus_found")]
    QuarantineVirusFound {
        /// The BLAKE3 of its body, in hex: what copies share.
        content: String,
        /// What was found.
        threat: String,
        /// In which part.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<String>,
        /// What was found in it before.
        before: String,
    },
    /// A scan in the background has begun.
    #[serde(rename = "scan.background_started")]
    BackgroundStarted {
        /// Of what: `mailboxes`, `queue` or `quarantine`.
        #[serde(default = "of_mailboxes")]
        place: Cow<'static, str>,
        /// The mailbox database, where it is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        database: Option<String>,
        /// By what: `new-signatures`, `command` or `schedule`.
        reason: Cow<'static, str>,
        /// With which engine, signatures and policy.
        signatures: String,
        /// Messages that were there.
        messages: u64,
    },
    /// It has ended.
    #[serde(rename = "scan.background_finished")]
    BackgroundFinished {
        /// Of what, as above.
        #[serde(default = "of_mailboxes")]
        place: Cow<'static, str>,
        /// The mailbox database, where it is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        database: Option<String>,
        /// `finished`, or `stopped` by an order.
        outcome: Cow<'static, str>,
        /// Messages that it came past.
        messages: u64,
        /// Bodies that were scanned.
        scanned: u64,
        /// Infected ones among them.
        infected: u64,
        /// Those without a verdict.
        unfinished: u64,
        /// How long it took.
        seconds: u64,
    },
    /// A virus was found in a message that lies in a mailbox; nobody can read it from now on.
    #[serde(rename = "mailbox.virus_found")]
    VirusFound {
        /// The mailbox database.
        database: String,
        /// Whose.
        mailbox: String,
        /// In which folder.
        folder: String,
        /// Its uid there.
        uid: u32,
        /// Its BLAKE3, in hex: what copies share.
        content: String,
        /// What was found.
        threat: String,
        /// By what: `background`, `proactive` or `access`.
        found_by: Cow<'static, str>,
        /// Of the mail; its recipients are those who have it in this database.
        #[serde(flatten)]
        details: Details,
    },
    /// Something was done about an infected message in a mailbox.
    #[serde(rename = "mailbox.remedied")]
    Remedied {
        /// The mailbox database; older versions do not tell.
        #[serde(default)]
        database: String,
        /// Whose.
        mailbox: String,
        /// In which folder.
        folder: String,
        /// The uid that it had there.
        uid: u32,
        /// Its BLAKE3, in hex.
        content: String,
        /// What was found.
        threat: String,
        /// By what: `background` or `access`.
        found_by: Cow<'static, str>,
        /// `rewritten`, `quarantined` or `deleted`.
        action: Cow<'static, str>,
        /// The uid of what is left of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        new_uid: Option<u32>,
        /// Its name in quarantine, as it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kept_as: Option<String>,
        /// Of the mail; its recipients are those who had it in this database.
        #[serde(flatten)]
        details: Details,
    },
    /// A reader got a message, or more of it than its header.
    #[serde(rename = "mailbox.read")]
    MailRead {
        /// The mailbox.
        mailbox: String,
        /// Who.
        user: String,
        /// How.
        protocol: Cow<'static, str>,
        /// Which message.
        uid: u32,
    },
    /// The queue was given an order.
    #[serde(rename = "queue.ordered")]
    Ordered {
        /// By whom.
        by: String,
        /// `hold`, `release`, `retry`, `delete` (nobody is told) or `bounce`.
        order: Cow<'static, str>,
        /// About which messages, as it stands in the request.
        filter: String,
        /// How many it changed.
        messages: usize,
        /// How many it would have changed but for a delivery under way.
        in_delivery: usize,
    },
    /// Newer signatures found a virus in a mail that waits: it goes nowhere from now on.
    #[serde(rename = "queue.virus_found")]
    QueueVirusFound {
        /// The BLAKE3 of its body, in hex: what copies share.
        content: String,
        /// What was found.
        threat: String,
        /// `deferred` or `waiting`: it is treated at once as infected mail is; `held`: when it is released.
        state: Cow<'static, str>,
        /// How long it has waited.
        waited_s: u64,
        /// Of the envelope.
        sender: String,
        /// How many recipients wait for it.
        waiting: usize,
        /// Who, as far as an event has room.
        waiting_for: Vec<String>,
        /// How many have had an end before: their own events say which.
        ended: usize,
        /// Who, as far as an event has room.
        ended_for: Vec<String>,
    },
    /// No mail is accepted from now on.
    #[serde(rename = "queue.refusing")]
    Refusing {
        /// Why: `full`, or `failed` behind a write or a flush.
        reason: Cow<'static, str>,
    },
    /// Mail is accepted again.
    #[serde(rename = "queue.accepting")]
    Accepting,
    /// A part of the queue does not get on.
    #[serde(rename = "queue.stalled")]
    Stalled {
        /// Which: `writer`, which hangs in the disk, or `delivery`, where nobody takes mail that is due.
        part: Cow<'static, str>,
        /// For how long.
        seconds: u64,
    },
    /// It gets on again.
    #[serde(rename = "queue.resumed")]
    Resumed {
        /// Which part.
        part: Cow<'static, str>,
        /// After how long.
        seconds: u64,
    },
    /// A file of the queue is shorter than it was.
    #[serde(rename = "queue.cut")]
    Cut {
        /// Its name.
        segment: String,
        /// How much is gone.
        octets: u64,
    },
    /// The clock of this machine was set, or the machine slept: times before and behind this do not agree.
    #[serde(rename = "clock.jumped")]
    ClockJumped {
        /// By how many milliseconds; below zero: back.
        by_ms: i64,
    },
    /// Events are missing here: more came than could be written.
    #[serde(rename = "log.gap")]
    Gap {
        /// How many.
        lost: u64,
    },
}

/// A list, or one alone.
fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        One(String),
        Several(Vec<String>),
    }
    Ok(match Written::deserialize(deserializer)? {
        Written::One(threat) => vec![threat],
        Written::Several(threats) => threats,
    })
}

/// What older versions have not written.
const fn of_mailboxes() -> Cow<'static, str> {
    Cow::Borrowed("mailboxes")
}

/// A peer's text as an event may hold it: bounded, and escaped where it is not plain ASCII.
#[must_use]
pub fn evidence(text: &str) -> String {
    Evidence::of(text.as_bytes()).to_string()
}

// === impl Event ===

impl Event {
    /// Something that happens now.
    #[must_use]
    pub fn now(about: About, what: What) -> Self {
        Self { at_ms: now_ms(), about, what }
    }
}

// === impl About ===

impl From<&Origin> for About {
    fn from(origin: &Origin) -> Self {
        Self {
            session: Some(origin.session.clone()),
            queue_id: None,
            listener: Some(origin.listener.clone()),
            peer: Some(origin.peer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_older_versions_have_written_of_background_scans_is_still_read() {
        let line = r#"{"at_ms":7,"event":"scan.background_started","database":"default","reason":"command","signatures":"yara/1/5","messages":3}"#;
        let event: Event = serde_json::from_str(line).unwrap();
        let What::BackgroundStarted { place, database, .. } = &event.what else { panic!("{event:?}") };
        assert_eq!((place.as_ref(), database.as_deref()), ("mailboxes", Some("default")));
        assert!(event.to_string().starts_with("a background scan of default (3 messages) began"), "{event}");
    }

    #[test]
    fn what_older_versions_have_written_of_releases_is_still_read() {
        let read = |overruled: &str| {
            let line = format!(
                r#"{{"at_ms":7,"event":"quarantine.released","by":"uid 0","released_as":"Q2","recipients":1{overruled}}}"#
            );
            let event: Event = serde_json::from_str(&line).unwrap();
            assert_eq!(
                serde_json::from_str::<Event>(&serde_json::to_string(&event).unwrap()).unwrap(),
                event
            );
            let What::QuarantineReleased { overruled, .. } = event.what else { panic!("{event:?}") };
            overruled
        };
        assert_eq!(read(""), [""; 0]);
        assert_eq!(read(r#","overruled":"Late""#), ["Late"]);
        assert_eq!(read(r#","overruled":["Late","Second"]"#), ["Late", "Second"]);
    }
}
