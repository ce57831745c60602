//! What only looks.

use gatepost_core::clock::now_ms;
use gatepost_core::events::{History, evidence};
use gatepost_core::queue::QueueId;
use serde_json::json;

use super::super::Failure;
use super::super::output::{Output, Table, printable, time};
use super::source::Source;
use crate::control::client::Part;
use crate::control::message::{Line, Request};
use crate::control::queued::{Detailed, Filter, Item, State};
use crate::control::statistics::{DomainStatistics, Hold, Statistics};

pub(super) fn list(
    source: &mut Source,
    filter: Filter,
    as_json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let nothing = if filter == Filter::default() { "the queue is empty" } else { "no message matches" };
    let mut messages: Vec<Item> = Vec::new();
    source.ask(Request::List(filter), &mut |part| {
        if let Part::Line(Line::Item(item)) = part {
            messages.push(*item);
        }
        Ok(())
    })?;
    if as_json {
        return output.json(&json!(messages));
    }
    if messages.is_empty() {
        return output.line(nothing);
    }
    let mut table = Table::new(&["ID", "RECEIVED", "SIZE", "TRIES", "STATE", "NEXT", "FROM", "TO", "WHY"]);
    for message in &messages {
        let pending: Vec<_> =
            message.recipients.iter().filter(|to| to.pending).map(|to| &*to.address).collect();
        table.row([
            &message.id,
            &time(message.received_at_ms),
            &message.octets,
            &message.attempts,
            &message.state.name(),
            &next(message),
            &message.sender,
            &pending.join(" "),
            &message.last_reason.as_deref().unwrap_or("-"),
        ]);
    }
    output.line(table)
}

pub(super) fn show(
    source: &mut Source,
    events: &History,
    id: QueueId,
    as_json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    source.ask(Request::Show(id.to_string()), &mut |part| match part {
        Part::Line(Line::Details(mut details)) => {
            tell_ends(&mut details.item, events);
            if as_json { output.json(&json!(details)) } else { describe(&details, output) }
        }
        _ => Ok(()),
    })
}

/// The queue itself knows of recipients only whether they still wait. Without the event log that has to do.
fn tell_ends(item: &mut Item, events: &History) {
    let known = events.of_mail(&item.id).map(|found| found.events).unwrap_or_default();
    for recipient in item.recipients.iter_mut().filter(|recipient| !recipient.pending) {
        let address = evidence(&recipient.address);
        let ends = known.iter().rev().filter_map(|event| event.what.end_of());
        recipient.became = ends.filter(|(whose, _)| **whose == address).map(|(_, end)| end.to_owned()).next();
    }
}

pub(super) fn cat(
    source: &mut Source,
    id: QueueId,
    as_json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut whole = Vec::new();
    source.ask(Request::Cat(id.to_string()), &mut |part| match part {
        Part::Octets(octets) if as_json => {
            whole.extend_from_slice(octets);
            Ok(())
        }
        Part::Octets(octets) => output.octets(octets),
        Part::Line(_) => Ok(()),
    })?;
    if as_json {
        output.json(&json!({ "id": id.to_string(), "content": String::from_utf8_lossy(&whole) }))?;
    }
    Ok(())
}

pub(super) fn stats(
    source: &mut Source,
    count: bool,
    as_json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    source.ask(Request::Stats, &mut |part| match part {
        Part::Line(Line::Stats(stats)) if count => output.line(stats.messages),
        Part::Line(Line::Stats(stats)) if as_json => output.json(&json!(stats)),
        Part::Line(Line::Stats(stats)) => glance(&stats, output),
        _ => Ok(()),
    })
}

fn describe(details: &Detailed, output: &mut Output) -> Result<(), Failure> {
    let Detailed { item, session, listener, peer, helo, user, stamp, trace, .. } = details;
    let user = user.as_deref().map_or_else(|| "-".to_owned(), printable);
    let stamp = stamp.as_deref().unwrap_or("not yet");
    output.line(format_args!("id        {}", item.id))?;
    output
        .line(format_args!("received  {} by session {session} on {listener}", time(item.received_at_ms)))?;
    output.line(format_args!("peer      {peer} as {}", printable(helo)))?;
    output.line(format_args!("user      {user}"))?;
    output.line(format_args!("size      {} octets", item.octets))?;
    output.line(format_args!("scanned   {stamp}"))?;
    output.line(format_args!("state     {}", item.state.name()))?;
    output.line(format_args!("tries     {}, next {}", item.attempts, next(item)))?;
    if let Some(reason) = &item.last_reason {
        output.line(format_args!("why       {}", printable(reason)))?;
    }
    output.line(format_args!("from      {}", printable(&item.sender)))?;
    for recipient in &item.recipients {
        let end = recipient.became.as_deref().unwrap_or("done");
        let state = if recipient.pending { "pending" } else { end };
        let alias = recipient.stands_for.as_ref().map(|alias| format!(", for {}", printable(alias)));
        let alias = alias.unwrap_or_default();
        output.line(format_args!("to        {} ({state}{alias})", printable(&recipient.address)))?;
    }
    trace.lines().try_for_each(|line| output.line(format_args!("trace     {}", printable(line))))
}

fn glance(stats: &Statistics, output: &mut Output) -> Result<(), Failure> {
    let Statistics { messages, octets, held, in_delivery, deferred, .. } = stats;
    output.line(format_args!(
        "messages {messages}, octets {octets}, held {held}, in delivery {in_delivery}, put off before {deferred}"
    ))?;
    if let Some(oldest) = stats.oldest_ms {
        output.line(format_args!("the oldest is of {}", time(oldest)))?;
    }
    if stats.stopped {
        output.line("nothing is accepted since a flush failed")?;
    }
    for hold in &stats.holds {
        let what = match hold {
            Hold::Everything => "everything".to_owned(),
            Hold::Sender(from) if from.is_empty() => "from <>".to_owned(),
            Hold::Sender(from) => format!("from {}", printable(from)),
            Hold::Domain(to) => format!("for {}", printable(to)),
        };
        output.line(format_args!("held, later mail too: {what}"))?;
    }
    if stats.domains.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&AGES);
    for row in &stats.domains {
        let DomainStatistics { domain, messages, octets, held, ages } = row;
        let age = |index: usize| ages.get(index).copied().unwrap_or_default();
        let domain = if domain.is_empty() { "-" } else { domain };
        table.row([&domain, messages, octets, held, &age(0), &age(1), &age(2), &age(3), &age(4), &age(5)]);
    }
    output.line(table)
}

fn next(item: &Item) -> String {
    if item.given_up {
        "bounces".to_owned()
    } else if item.held {
        "held".to_owned()
    } else if item.state == State::InDelivery {
        "-".to_owned()
    } else {
        due(item.not_before_ms)
    }
}

/// Milliseconds since 1970 for a reader, in the local time zone's neutral form.
fn due(not_before_ms: u64) -> String {
    if not_before_ms <= now_ms() { "now".to_owned() } else { time(not_before_ms) }
}

/// The bounds of `queue::AGE_BOUNDS_MS`, in words.
const AGES: [&str; 10] = ["DOMAIN", "MESSAGES", "OCTETS", "HELD", "<5m", "<1h", "<4h", "<1d", "<3d", "OLDER"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_due_now() {
        assert_eq!(due(0), "now");
    }
}
