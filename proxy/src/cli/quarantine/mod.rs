//! `gatepost quarantine`: infected mail, and the operator's hand on it. Works on the running server by its control socket, and
//! without a server on the files.

mod files;
mod filter;

use clap::Subcommand;
use gatepost_core::quarantine::FoundLater;
use gatepost_core::queue::QueueId;
use serde_json::json;

use self::filter::Matching;
use super::arguments::Form;
use super::output::{Output, Table, printable, time};
use super::queue::{Source, confirm_deletion};
use super::{Exit, Failure, Site};
use crate::control::client::Part;
use crate::control::kept::{Kept, KeptDetails, LetGo, QuarantineFilter, QuarantineRequest};
use crate::control::message::{Line, Request};
use crate::control::queued::Reached;
pub(super) use files::answer_from_files;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List mails in quarantine, oldest first.
    List {
        #[command(flatten)]
        matching: Matching,
        #[command(flatten)]
        form: Form,
    },
    /// Show what was found in one mail, how it came in, and its headers.
    Show {
        /// The queue id that it had.
        id: QueueId,
        #[command(flatten)]
        form: Form,
    },
    /// Send mails on to those they were kept from.
    ///
    /// Each is scanned again first, and stays if it is infected now. Exits with 1 if one stays.
    Release {
        #[command(flatten)]
        matching: Matching,
        /// Also what is infected. What was found there will not count any more, wherever the same content turns up.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        form: Form,
    },
    /// Delete mails for good.
    Delete {
        #[command(flatten)]
        matching: Matching,
        /// Do not ask before several mails are deleted.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        form: Form,
    },
}

pub(super) fn execute(command: &Command, site: &Site, output: &mut Output) -> Result<(), Failure> {
    let folder = site.data()?;
    match command {
        Command::List { matching, form } => {
            let filter = matching.filter()?;
            list(&mut Source::open(&folder)?, filter, form.json, output)
        }
        Command::Show { id, form } => show(&mut Source::open(&folder)?, *id, form.json, output),
        Command::Release { matching, force, form } => {
            let filter = matching.explicit_filter()?;
            release(&mut Source::open(&folder)?, filter, *force, form.json, output)
        }
        Command::Delete { matching, yes, form } => {
            let filter = matching.explicit_filter()?;
            let mut source = Source::open(&folder)?;
            if !yes {
                let list = QuarantineRequest::List(filter.clone());
                confirm_deletion(&mut source, Request::Quarantine(list), "mails", output)?;
            }
            delete(&mut source, filter, form.json, output)
        }
    }
}

fn list(
    source: &mut Source,
    filter: QuarantineFilter,
    as_json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let nothing =
        if filter == QuarantineFilter::default() { "the quarantine is empty" } else { "no mail matches" };
    let mut mails: Vec<Kept> = Vec::new();
    source.ask(Request::Quarantine(QuarantineRequest::List(filter)), &mut |part| {
        if let Part::Line(Line::Kept(kept)) = part {
            mails.push(*kept);
        }
        Ok(())
    })?;
    if as_json {
        return output.json(&json!(mails));
    }
    if mails.is_empty() {
        return output.line(nothing);
    }
    let mut table = Table::new(&["ID", "KEPT", "SIZE", "FOUND", "FROM", "TO"]);
    for mail in &mails {
        let Kept { id, kept_at_ms, octets, threat, found_later, sender, recipients, .. } = mail;
        let later = found_later.as_ref().map_or_else(String::new, |later| format!(", {}", later.threat));
        let found = format!("{threat}{later}");
        table.row([id, &time(*kept_at_ms), octets, &found, sender, &recipients.join(" ")]);
    }
    output.line(table)
}

fn show(source: &mut Source, id: QueueId, as_json: bool, output: &mut Output) -> Result<(), Failure> {
    source.ask(Request::Quarantine(QuarantineRequest::Show(id.to_string())), &mut |part| match part {
        Part::Line(Line::KeptDetails(details)) if as_json => output.json(&json!(details)),
        Part::Line(Line::KeptDetails(details)) => describe(&details, output),
        _ => Ok(()),
    })
}

fn describe(details: &KeptDetails, output: &mut Output) -> Result<(), Failure> {
    let KeptDetails { kept, session, listener, peer, helo, user, header, .. } = details;
    let received = time(kept.received_at_ms);
    let or_none = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), printable);
    output.line(format_args!("id        {}", kept.id))?;
    output.line(format_args!("kept      {}", time(kept.kept_at_ms)))?;
    output.line(format_args!("found     {}", printable(&kept.threat)))?;
    output.line(format_args!("in        {}", or_none(&kept.item)))?;
    output.line(format_args!("by        {}", or_none(&kept.stamp)))?;
    if let Some(FoundLater { threat, item, stamp, found_at_ms }) = &kept.found_later {
        output.line(format_args!("later     {} at {}", printable(threat), time(*found_at_ms)))?;
        output.line(format_args!("in        {}", or_none(item)))?;
        output.line(format_args!("by        {}", printable(stamp)))?;
    }
    output.line(format_args!("received  {received} by session {session} on {listener}"))?;
    output.line(format_args!("peer      {peer} as {}", printable(helo)))?;
    output.line(format_args!("user      {}", or_none(user)))?;
    let damaged = if kept.damaged { ", not whole" } else { "" };
    output.line(format_args!("size      {} octets{damaged}", kept.octets))?;
    output.line(format_args!("from      {}", printable(&kept.sender)))?;
    output.line(format_args!("subject   {}", or_none(&kept.subject)))?;
    for recipient in &kept.recipients {
        output.line(format_args!("to        {}", printable(recipient)))?;
    }
    header.lines().try_for_each(|line| output.line(format_args!("header    {}", printable(line))))
}

fn release(
    source: &mut Source,
    filter: QuarantineFilter,
    force: bool,
    as_json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut answers: Vec<LetGo> = Vec::new();
    let request = QuarantineRequest::Release { filter, force };
    source.ask(Request::Quarantine(request), &mut |part| {
        if let Part::Line(Line::LetGo(answer)) = part {
            answers.push(answer);
        }
        Ok(())
    })?;
    if as_json {
        output.json(&json!(answers))?;
    } else if answers.is_empty() {
        output.line("no mail matches")?;
    } else {
        answers.iter().try_for_each(|answer| output.line(told(answer)))?;
    }
    let stay = answers.iter().filter(|answer| answer.failure.is_some()).count();
    if stay == 0 { Ok(()) } else { Err(Failure::new(Exit::Failure, format!("{stay} stay in quarantine"))) }
}

fn told(answer: &LetGo) -> String {
    let LetGo { id, released_as, overruled, failure, can_be_forced } = answer;
    let name = released_as.as_deref().unwrap_or("-");
    match (failure, overruled.as_slice()) {
        (Some(failure), _) if *can_be_forced => format!("{} (--force overrules that)", printable(failure)),
        (Some(failure), _) => printable(failure),
        (None, []) => format!("{id} goes to its recipients as {name}"),
        (None, threats) => {
            let (threats, verb) =
                (printable(&threats.join(", ")), if threats.len() == 1 { "does" } else { "do" });
            format!("{id} goes to its recipients as {name}; {threats} {verb} not count any more in it")
        }
    }
}

fn delete(
    source: &mut Source,
    filter: QuarantineFilter,
    as_json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let has_ids = !filter.ids.is_empty();
    let mut messages = 0;
    source.ask(Request::Quarantine(QuarantineRequest::Delete(filter)), &mut |part| {
        if let Part::Line(Line::Affected(Reached { messages: reached, .. })) = part {
            messages = reached;
        }
        Ok(())
    })?;
    if has_ids && messages == 0 {
        return Err(Failure::new(Exit::Failure, "none of these mails is in the quarantine"));
    }
    if as_json {
        return output.json(&json!({ "messages": messages }));
    }
    output.line(format_args!("{messages} deleted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_release_tells_what_would_help() {
        let failure = Some("Q1 is infected: Late".to_owned());
        let stays =
            LetGo { id: "Q1".into(), released_as: None, overruled: Vec::new(), failure, can_be_forced: true };
        assert_eq!(told(&stays), "Q1 is infected: Late (--force overrules that)");
        let stays = LetGo { can_be_forced: false, ..stays };
        assert_eq!(told(&stays), "Q1 is infected: Late");
        let overruled = vec!["Late".into(), "Other".into()];
        let gone = LetGo { released_as: Some("Q2".into()), overruled, failure: None, ..stays };
        assert!(told(&gone).ends_with("as Q2; Late, Other do not count any more in it"), "{}", told(&gone));
    }
}
