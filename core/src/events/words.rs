//! Events in words, for people.

use std::fmt;

use super::details::{In, To};
use super::{Details, Event, What};

/// Without the time: `192.0.2.7 on listener smtp was refused at RCPT by rule rcpt.unknown: ...`.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::SessionClosed { reason } => {
                self.subject(f)?;
                write!(f, " was disconnected: {reason}")
            }
            What::Refused { .. } => self.refused(f),
            What::Attack { rule, verb, class, evidence } => {
                self.subject(f)?;
                write!(f, " ({class}) tried {verb}, which breaks rule {rule}: {evidence}")
            }
            What::Quirk { quirk } => {
                self.subject(f)?;
                write!(f, " was tolerated by quirk {quirk}")
            }
            What::Authenticated { user, mechanism } => {
                self.subject(f)?;
                write!(f, " authenticated as {user} by {mechanism}")
            }
            What::Scanned { .. } | What::Unscanned { .. } => self.scan(f),
            What::Stripped { fields } => {
                self.mail(f)?;
                write!(f, " had headers that its sender has no right to set; they were removed: {fields}")
            }
            What::Accepted { .. } => self.accepted(f),
            What::Notified { sender, notification, action, recipients } => {
                self.mail(f)?;
                let plural = if *recipients == 1 { "" } else { "s" };
                write!(f, ": {sender} is told of {recipients} recipient{plural} ({action}) in {notification}")
            }
            What::Delivered { .. }
            | What::Deferred { .. }
            | What::Deleted { .. }
            | What::Quarantined { .. }
            | What::Bounced { .. }
            | What::Replaced { .. }
            | What::Removed { .. } => self.recipient(f),
            What::Rewritten { .. } => self.rewritten(f),
            What::Stuck { doing, seconds } => {
                self.mail(f)?;
                write!(f, " is stuck: {doing} goes on for {seconds} s")
            }
            What::BackgroundStarted { .. }
            | What::BackgroundFinished { .. }
            | What::VirusFound { .. }
            | What::Remedied { .. }
            | What::MailRead { .. } => self.mailboxes(f),
            What::EngineLoaded { .. }
            | What::EngineUnloaded { .. }
            | What::EngineFailed { .. }
            | What::EngineMisconfigured { .. }
            | What::EngineUnexpected { .. } => self.engine(f),
            What::QuarantineListed { .. }
            | What::QuarantineShown { .. }
            | What::QuarantineReleased { .. }
            | What::QuarantineWithheld { .. }
            | What::QuarantineDeleted { .. }
            | What::QuarantineVirusFound { .. }
            | What::QuarantineExpired { .. } => self.quarantine(f),
            What::Damaged { .. } | What::Missing { .. } | What::NotSent { .. } => self.lost(f),
            What::Ordered { .. }
            | What::Refusing { .. }
            | What::Accepting
            | What::Cut { .. }
            | What::Stalled { .. }
            | What::Resumed { .. } => self.queue(f),
            What::QueueVirusFound { .. } => self.infected_in_queue(f),
            What::ClockJumped { by_ms } => {
                let (seconds, way) =
                    (by_ms.unsigned_abs() / 1_000, if *by_ms < 0 { "back" } else { "ahead" });
                write!(f, "the clock of this machine jumped {way} by {seconds} s")
            }
            What::Gap { lost } => write!(f, "{lost} events are missing in the log here"),
        }
    }
}

// === impl Event ===

impl Event {
    fn accepted(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let What::Accepted { details, octets, user } = &self.what else { return Ok(()) };
        let Details { sender, recipients, protocol, .. } = details;
        self.mail(f)?;
        write!(f, " was accepted from ")?;
        self.subject(f)?;
        if let Some(user) = user {
            write!(f, " (user {user})")?;
        }
        let plural = if *recipients == 1 { "" } else { "s" };
        write!(f, ": sender {sender}, {recipients} recipient{plural}, {octets} octets")?;
        protocol.as_ref().map_or(Ok(()), |protocol| write!(f, ", over {protocol}"))?;
        write!(f, "{}", To(details))?;
        match (&details.upstream, &details.reply) {
            (Some(upstream), Some(reply)) => write!(f, "; {upstream} has taken it: {reply}"),
            _ => Ok(()),
        }
    }

    fn scan(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Scanned { verdict, details } => {
                f.write_str("the scan of ")?;
                match self.about.queue_id {
                    Some(_) => self.mail(f)?,
                    None => {
                        f.write_str("a mail of ")?;
                        self.subject(f)?;
                    }
                }
                write!(f, " said: {verdict}{}", In(details))
            }
            What::Unscanned { verdict, fail, details } => {
                self.mail(f)?;
                write!(
                    f,
                    " has no scan that vouches for it ({verdict}), and its listener has fail = \"{fail}\""
                )?;
                write!(f, "{}", In(details))
            }
            _ => Ok(()),
        }
    }

    fn refused(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let What::Refused { rule, verb, code, evidence, limit, token } = &self.what else {
            return Ok(());
        };
        self.subject(f)?;
        write!(f, " was refused at {verb} by rule {rule}")?;
        if let Some(evidence) = evidence {
            write!(f, ": {evidence}")?;
        }
        if let Some(limit) = limit {
            write!(f, "; the limit is {limit}")?;
        }
        if let Some(code) = code {
            write!(f, "; reply {code}")?;
        }
        token.as_ref().map_or(Ok(()), |token| write!(f, " [{token}]"))
    }

    fn rewritten(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let What::Rewritten { original, rewritten_as, threat, removed, cleaned, clean_failed, details } =
            &self.what
        else {
            return Ok(());
        };
        let removed = removed.saturating_add(*clean_failed);
        write!(f, "mail {original} was rewritten as {rewritten_as}, since it was infected with {threat}: ")?;
        write!(f, "parts taken out: {removed}, cleaned: {cleaned}{}", In(details))
    }

    fn engine(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::EngineLoaded { engine, signatures } => {
                write!(f, "scan engine {engine} is loaded with signatures {signatures}")
            }
            What::EngineUnloaded { engine, reason } => {
                write!(f, "scan engine {engine} was given up: {reason}")
            }
            What::EngineFailed { engine, reason } => {
                write!(f, "scan engine {engine} could not be loaded: {reason}")
            }
            What::EngineMisconfigured { engine, reason } => {
                write!(f, "scan engine {engine} is not set up as it must be: {reason}")
            }
            What::EngineUnexpected { engine, reason } => {
                write!(f, "scan engine {engine} did something unexpected: {reason}")
            }
            _ => Ok(()),
        }
    }

    fn mailboxes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::BackgroundStarted { place, database, reason, signatures, messages } => {
                let name = database.as_deref().unwrap_or(place);
                write!(
                    f,
                    "a background scan of {name} ({messages} messages) began with {signatures}: {reason}"
                )
            }
            What::BackgroundFinished { place, database, outcome, messages, scanned, infected, .. } => {
                let name = database.as_deref().unwrap_or(place);
                write!(
                    f,
                    "the background scan of {name} is {outcome}: {messages} messages, {scanned} scanned, "
                )?;
                write!(f, "{infected} infected")
            }
            What::VirusFound { database, mailbox, folder, uid, threat, found_by, details, .. } => {
                self.mail(f)?;
                write!(f, " is infected with {threat} ({found_by}): message {uid} in {folder} of {mailbox}")?;
                write!(f, ", database {database}{}", In(details))
            }
            What::Remedied { mailbox, folder, uid, threat, action, new_uid, kept_as, details, .. } => {
                self.mail(f)?;
                write!(
                    f,
                    " was {action}, since it is infected with {threat}: message {uid} in {folder} of {mailbox}"
                )?;
                write!(f, "{}", In(details))?;
                new_uid.map_or(Ok(()), |uid| write!(f, ", which is message {uid} now"))?;
                kept_as.as_ref().map_or(Ok(()), |id| write!(f, "; in quarantine as {id}"))
            }
            What::MailRead { mailbox, user, protocol, uid } => {
                self.mail(f)?;
                write!(f, " was read by {user} over {protocol} from ")?;
                self.subject(f)?;
                write!(f, ": message {uid} of {mailbox}")
            }
            _ => Ok(()),
        }
    }

    fn quarantine(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let What::QuarantineListed { by, messages } = &self.what {
            return write!(f, "{by} looked through the quarantine: {messages} mails");
        }
        self.mail(f)?;
        match &self.what {
            What::QuarantineShown { by, details } => {
                write!(f, " in quarantine was looked at by {by}{}", In(details))
            }
            What::QuarantineReleased { by, released_as, details, overruled } => {
                let recipients = details.recipients;
                let plural = if recipients == 1 { "" } else { "s" };
                write!(f, " was released by {by} as {released_as} for {recipients} recipient{plural}")?;
                if !overruled.is_empty() {
                    write!(f, ", although it is infected: {}", overruled.join(", "))?;
                }
                write!(f, "{}", In(details))
            }
            What::QuarantineWithheld { by, reason, details } => {
                write!(f, " was to be released by {by} and stays in quarantine: {reason}{}", In(details))
            }
            What::QuarantineDeleted { by, details } => {
                write!(f, " was deleted from the quarantine by {by}{}", In(details))
            }
            What::QuarantineExpired { why, details } => {
                write!(f, " was removed from the quarantine: {why}{}", In(details))
            }
            What::QuarantineVirusFound { threat, before, .. } => {
                write!(f, " in quarantine is infected with {threat}; before, {before} was found")
            }
            _ => Ok(()),
        }
    }

    fn recipient(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Delivered { recipient } => self.outcome(f, "was delivered to", recipient, None),
            What::Deferred { recipient, reason } => {
                self.outcome(f, "could not be delivered yet to", recipient, Some(reason))
            }
            What::Deleted { recipient, threat, details } => {
                self.outcome(f, "was deleted by policy for", recipient, Some(threat))?;
                write!(f, "{}", In(details))
            }
            What::Quarantined { recipient, threat, details } => {
                self.outcome(f, "was put into quarantine for", recipient, Some(threat))?;
                write!(f, "{}", In(details))
            }
            What::Bounced { recipient, reason } => {
                self.outcome(f, "was given up for", recipient, Some(reason))
            }
            What::Replaced { recipient, by } => self.outcome(f, "was replaced for", recipient, Some(by)),
            What::Removed { recipient, by } => {
                self.outcome(f, "was taken out of the queue, and nobody told, for", recipient, None)?;
                write!(f, " by {by}")
            }
            _ => Ok(()),
        }
    }

    fn lost(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Damaged { set_aside } => {
                self.mail(f)?;
                write!(f, " was damaged on the disk and is lost; the rest of it is in corrupt/{set_aside}")
            }
            What::Missing { recipients } => {
                self.mail(f)?;
                write!(
                    f,
                    " is missing: a part of the queue is gone, and of {recipients} of its recipients "
                )?;
                f.write_str("nothing says whether they have it")
            }
            What::NotSent { name, reason } => {
                self.mail(f)?;
                write!(f, " was dropped as {name} and is not sent, but lies in badmail/: {reason}")
            }
            _ => Ok(()),
        }
    }

    fn queue(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Ordered { by, order, filter, messages, in_delivery } => {
                write!(f, "{by} gave the queue the order to {order} {filter}: {messages} messages")?;
                if *in_delivery > 0 {
                    write!(f, ", and {in_delivery} in delivery")?;
                }
                Ok(())
            }
            What::Refusing { reason } => write!(f, "the queue takes no mail: {reason}"),
            What::Accepting => f.write_str("the queue takes mail again"),
            What::Stalled { part, seconds } if part == "writer" => {
                write!(f, "the queue's writer hangs in the disk for {seconds} s")
            }
            What::Stalled { seconds, .. } => {
                write!(f, "mail is due, and no worker has taken any for {seconds} s")
            }
            What::Resumed { part, seconds } => {
                write!(f, "the queue's {part} gets on again after {seconds} s")
            }
            What::Cut { segment, octets } => {
                write!(f, "{segment} of the queue is shorter than it was; {octets} octets are lost")
            }
            _ => Ok(()),
        }
    }

    fn infected_in_queue(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let What::QueueVirusFound {
            threat,
            state,
            waited_s,
            sender,
            waiting,
            waiting_for,
            ended,
            ended_for,
            ..
        } = &self.what
        else {
            return Ok(());
        };
        self.mail(f)?;
        write!(
            f,
            " waits in the queue ({state}, for {waited_s} s) and is infected with {threat}: from {sender}"
        )?;
        recipients(f, "waiting", *waiting, waiting_for)?;
        recipients(f, "ended before", *ended, ended_for)
    }

    fn outcome(
        &self,
        f: &mut fmt::Formatter<'_>,
        verb: &str,
        recipient: &str,
        reason: Option<&str>,
    ) -> fmt::Result {
        self.mail(f)?;
        write!(f, " {verb} {recipient}")?;
        reason.map_or(Ok(()), |reason| write!(f, ": {reason}"))
    }

    fn subject(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.about.peer {
            Some(peer) => write!(f, "{}", peer.ip())?,
            None => write!(f, "the peer")?,
        }
        self.about.listener.as_ref().map_or(Ok(()), |listener| write!(f, " on listener {listener}"))
    }

    fn mail(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.about.queue_id {
            Some(queue_id) => write!(f, "mail {queue_id}"),
            None => write!(f, "the mail"),
        }
    }
}

/// Those that an event has room for, and how many there are.
fn recipients(f: &mut fmt::Formatter<'_>, what: &str, count: usize, named: &[String]) -> fmt::Result {
    if count == 0 {
        return Ok(());
    }
    write!(f, "; {what}: {}", named.join(", "))?;
    match count.saturating_sub(named.len()) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::About;
    use super::*;

    fn said(what: What) -> String {
        let about = About {
            session: Some("S".into()),
            queue_id: Some("Q".into()),
            listener: Some("smtp".into()),
            peer: "192.0.2.7:4711".parse().ok(),
        };
        Event { at_ms: 0, about, what }.to_string()
    }

    #[test]
    fn a_refusal_is_told_with_rule_evidence_limit_and_reply() {
        let refused = What::Refused {
            rule: "size.message".into(),
            verb: "MAIL".into(),
            code: Some(552),
            evidence: Some("MAIL FROM:<a@b> SIZE=9".into()),
            limit: Some("8 octets".into()),
            token: Some("7K3F9Q".into()),
        };
        assert_eq!(
            said(refused),
            "192.0.2.7 on listener smtp was refused at MAIL by rule size.message: MAIL FROM:<a@b> SIZE=9; \
             the limit is 8 octets; reply 552 [7K3F9Q]"
        );
    }

    #[test]
    fn the_way_of_a_mail_is_told() {
        let details = Details { sender: "<a@b>".into(), recipients: 1, ..Details::default() };
        let accepted = What::Accepted { details, octets: 22, user: Some("me@localhost".into()) };
        assert_eq!(
            said(accepted),
            "mail Q was accepted from 192.0.2.7 on listener smtp (user me@localhost): sender <a@b>, 1 recipient, \
             22 octets"
        );
        assert_eq!(said(What::Delivered { recipient: "<me@x>".into() }), "mail Q was delivered to <me@x>");
        let removed = What::Removed { recipient: "<me@x>".into(), by: "uid 0".into() };
        assert_eq!(said(removed), "mail Q was taken out of the queue, and nobody told, for <me@x> by uid 0");
        let stuck = What::Stuck { doing: "sending it on".into(), seconds: 11_000 };
        assert_eq!(said(stuck), "mail Q is stuck: sending it on goes on for 11000 s");
        let stalled = |part: &'static str| said(What::Stalled { part: part.into(), seconds: 60 });
        assert_eq!(stalled("writer"), "the queue's writer hangs in the disk for 60 s");
        assert_eq!(stalled("delivery"), "mail is due, and no worker has taken any for 60 s");
        let resumed = What::Resumed { part: "writer".into(), seconds: 61 };
        assert_eq!(said(resumed), "the queue's writer gets on again after 61 s");
        let deferred = What::Deferred { recipient: "<me@x>".into(), reason: "4.2.0 busy".into() };
        assert_eq!(said(deferred), "mail Q could not be delivered yet to <me@x>: 4.2.0 busy");
    }

    #[test]
    fn a_finding_is_told_with_all_that_is_known_of_the_mail_and_nothing_else() {
        let mut details = Details {
            sender: "<a@b>".into(),
            recipients: 5,
            to: vec!["<c@d>".into(), "<e@f>".into()],
            subject: Some(r#"caf\xc3\xa9 \"x\""#.into()),
            protocol: Some("ESMTPS".into()),
            received_at_ms: Some(1),
            ..Details::default()
        };
        let scanned = |details: &Details| {
            said(What::Scanned { verdict: "infected: T".into(), details: details.clone() })
        };
        assert_eq!(
            scanned(&details),
            r#"the scan of mail Q said: infected: T, from <a@b>, subject "caf\xc3\xa9 \"x\"", over ESMTPS, to <c@d>, <e@f> and 3 more"#
        );
        details.recipients = 2;
        assert!(scanned(&details).ends_with(", to <c@d>, <e@f>"));
        assert_eq!(scanned(&Details::default()), "the scan of mail Q said: infected: T");
        let accepted = said(What::Accepted { details: details.clone(), octets: 22, user: None });
        assert!(accepted.ends_with("2 recipients, 22 octets, over ESMTPS, to <c@d>, <e@f>"), "{accepted}");
        details.upstream = Some("one".into());
        details.reply = Some("250 2.0.0 Ok: queued as X1".into());
        let passed = said(What::Accepted { details, octets: 22, user: None });
        assert!(
            passed.ends_with(", to <c@d>, <e@f>; one has taken it: 250 2.0.0 Ok: queued as X1"),
            "{passed}"
        );
    }
}
