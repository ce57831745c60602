//! What changes the queue.

use std::io::{self, BufRead as _, IsTerminal as _};

use super::super::output::Output;
use super::super::{Exit, Failure};
use super::source::Source;
use crate::control::client::Part;
use crate::control::message::{Line, Request};
use crate::control::queued::{Filter, Order, Reached};

pub(super) fn hold(
    source: &mut Source,
    filter: &Filter,
    json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let stands = stands(filter);
    let reached = give(source, filter, Order::Hold(filter.clone()))?;
    tell(reached, "held", json, output)?;
    if stands && !json {
        output.line("mail that comes in later is held too, until the same choice, or --all, is released")?;
    }
    Ok(())
}

pub(super) fn release(
    source: &mut Source,
    filter: &Filter,
    json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let reached = give(source, filter, Order::Release(filter.clone()))?;
    tell(reached, "released", json, output)
}

pub(super) fn retry(
    source: &mut Source,
    filter: &Filter,
    json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let reached = give(source, filter, Order::Retry(filter.clone()))?;
    tell(reached, "due now", json, output)
}

pub(super) fn delete(
    source: &mut Source,
    filter: &Filter,
    bounce: bool,
    json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let reached = give(source, filter, Order::Delete { filter: filter.clone(), bounce })?;
    tell(reached, if bounce { "given up" } else { "deleted" }, json, output)
}

/// A person who deletes more than one mail is asked. `list` names them one a line; `what` says what they are, and what becomes
/// of them.
pub(in crate::cli) fn confirm_deletion(
    source: &mut Source,
    list: Request,
    what: &str,
    output: &mut Output,
) -> Result<(), Failure> {
    if !(io::stdin().is_terminal() && output.is_terminal()) {
        return Ok(());
    }
    let mut count = 0_usize;
    source.ask(list, &mut |_| {
        count = count.saturating_add(1);
        Ok(())
    })?;
    if count <= 1 {
        return Ok(());
    }
    output.line(format_args!("delete for good {count} {what}? (yes or no)"))?;
    output.finish()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(Failure::general)?;
    if matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        Ok(())
    } else {
        Err(Failure::general("nothing was deleted"))
    }
}

fn give(source: &mut Source, filter: &Filter, order: Order) -> Result<Reached, Failure> {
    let mut reached = Reached::default();
    source.ask(Request::Change(order), &mut |part| {
        if let Part::Line(Line::Affected(told)) = part {
            reached = told;
        }
        Ok(())
    })?;
    if !filter.ids.is_empty() && reached == Reached::default() {
        let text = "none of these messages is in the queue, or what was asked for holds already";
        return Err(Failure::new(Exit::Failure, text));
    }
    Ok(reached)
}

fn tell(reached: Reached, what: &str, json: bool, output: &mut Output) -> Result<(), Failure> {
    let Reached { messages, in_delivery, other_recipients } = reached;
    if json {
        let reached = serde_json::json!({
            "messages": messages, "in_delivery": in_delivery, "other_recipients": other_recipients,
        });
        return output.json(&reached);
    }
    let plural = if messages == 1 { "message" } else { "messages" };
    output.line(format_args!("{messages} {plural} {what}"))?;
    if in_delivery > 0 {
        output.line(format_args!(
            "{in_delivery} in delivery right now; see `gatepost queue list` for what becomes of them"
        ))?;
    }
    if other_recipients > 0 {
        let plural = if other_recipients == 1 { "recipient" } else { "recipients" };
        output.line(format_args!(
            "{other_recipients} {plural} elsewhere too: a message is {what} for all its recipients at once"
        ))?;
    }
    Ok(())
}

/// Whether such a hold covers what comes in later.
fn stands(filter: &Filter) -> bool {
    let Filter { ids, sender, recipient, domain, before_ms, since_ms, held, state } = filter;
    let is_of_a_time = before_ms.is_some() || since_ms.is_some() || held.is_some() || state.is_some();
    let is_about_some = !ids.is_empty() || is_of_a_time;
    !is_about_some && recipient.is_none() && (sender.is_none() || domain.is_none())
}
