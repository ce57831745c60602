//! `gatepost queue`: what waits for delivery. Reads the segments themselves, so it works beside a running server and
//! without one.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Subcommand;
use gatepost_core::disk::RealDisk;
use gatepost_core::queue::{Details, Queue, QueueId, Snapshot, Summary};
use serde_json::{Value, json};

use super::output::{Output, Table, printable};
use super::{Exit, Failure, Site};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List messages with a pending recipient, oldest first.
    List {
        /// For scripts.
        #[arg(long)]
        json: bool,
    },
    /// Show everything about one message but its body.
    Show {
        /// Its queue id, as the 250 reply and `queue list` have it.
        id: String,
        /// For scripts.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn execute(command: &Command, site: &Site, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::List { json } => list(&snapshot(site)?, *json, output),
        Command::Show { id, json } => {
            let unknown = || Failure::new(Exit::Usage, format!("not a queue id: {id:?}"));
            let id: QueueId = id.parse().map_err(|_| unknown())?;
            let gone = || Failure::general(format!("{id} is not in the queue"));
            show(&snapshot(site)?.show(id).ok_or_else(gone)?, *json, output)
        }
    }
}

fn snapshot(site: &Site) -> Result<Snapshot, Failure> {
    Queue::inspect(Arc::new(RealDisk), &site.data()?.queue()).map_err(Failure::general)
}

fn list(snapshot: &Snapshot, as_json: bool, output: &mut Output) -> Result<(), Failure> {
    let messages = snapshot.list();
    if as_json {
        return output.json(&messages.iter().map(summary_json).collect::<Vec<_>>().into());
    }
    if messages.is_empty() {
        return output.line("the queue is empty");
    }
    let mut table = Table::new(&["ID", "RECEIVED", "SIZE", "TRIES", "NEXT", "FROM", "TO", "WHY"]);
    for message in &messages {
        let pending: Vec<_> =
            message.recipients.iter().filter(|to| to.pending).map(|to| &*to.address).collect();
        table.row([
            &message.id,
            &time(message.received_at_ms),
            &message.octets,
            &message.attempts,
            &due(message.not_before_ms),
            &message.sender,
            &pending.join(" "),
            &message.last_reason.as_deref().unwrap_or("-"),
        ]);
    }
    output.line(table)
}

fn show(details: &Details, as_json: bool, output: &mut Output) -> Result<(), Failure> {
    if as_json {
        return output.json(&details_json(details));
    }
    let Details { summary, submission, trace, stamp } = details;
    let origin = &submission.origin;
    let stamp = stamp.as_ref().map_or_else(|| "not yet".to_owned(), ToString::to_string);
    output.line(format_args!("id        {}", summary.id))?;
    output.line(format_args!(
        "received  {} by session {} on {}",
        time(summary.received_at_ms),
        origin.session,
        origin.listener
    ))?;
    output.line(format_args!("peer      {} as {}", origin.peer, printable(&origin.helo)))?;
    output.line(format_args!(
        "user      {}",
        origin.user.as_deref().map_or_else(|| "-".to_owned(), printable)
    ))?;
    output.line(format_args!("size      {} octets", summary.octets))?;
    output.line(format_args!("scanned   {stamp}"))?;
    output.line(format_args!("tries     {}, next {}", summary.attempts, due(summary.not_before_ms)))?;
    if let Some(reason) = &summary.last_reason {
        output.line(format_args!("why       {}", printable(reason)))?;
    }
    output.line(format_args!("from      {}", printable(&summary.sender)))?;
    for recipient in &summary.recipients {
        let state = if recipient.pending { "pending" } else { "done" };
        output.line(format_args!("to        {} ({state})", printable(&recipient.address)))?;
    }
    let trace = String::from_utf8_lossy(trace);
    trace.lines().try_for_each(|line| output.line(format_args!("trace     {}", printable(line))))
}

fn summary_json(message: &Summary) -> Value {
    let recipients: Vec<_> = message
        .recipients
        .iter()
        .map(|recipient| json!({ "address": recipient.address, "pending": recipient.pending }))
        .collect();
    json!({
        "id": message.id.to_string(),
        "received_at_ms": message.received_at_ms,
        "octets": message.octets,
        "sender": message.sender,
        "recipients": recipients,
        "attempts": message.attempts,
        "not_before_ms": message.not_before_ms,
        "last_reason": message.last_reason,
    })
}

fn details_json(details: &Details) -> Value {
    let origin = &details.submission.origin;
    let mut value = summary_json(&details.summary);
    if let Some(object) = value.as_object_mut() {
        object.insert("session".to_owned(), json!(origin.session));
        object.insert("listener".to_owned(), json!(origin.listener));
        object.insert("peer".to_owned(), json!(origin.peer.to_string()));
        object.insert("helo".to_owned(), json!(origin.helo));
        object.insert("user".to_owned(), json!(origin.user));
        object.insert("tls".to_owned(), json!(origin.tls.as_ref().map(|tls| &tls.version)));
        object.insert("stamp".to_owned(), json!(details.stamp.as_ref().map(ToString::to_string)));
        object.insert("trace".to_owned(), json!(String::from_utf8_lossy(&details.trace)));
    }
    value
}

/// Milliseconds since 1970 for a reader, in the local time zone's neutral form.
pub(super) fn time(at_ms: u64) -> String {
    i64::try_from(at_ms)
        .ok()
        .and_then(|at| jiff::Timestamp::from_millisecond(at).ok())
        .map_or_else(|| "-".to_owned(), |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

fn due(not_before_ms: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    if u128::from(not_before_ms) <= now { "now".to_owned() } else { time(not_before_ms) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_for_people() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(u64::MAX), "-");
        assert_eq!(due(0), "now");
    }
}
