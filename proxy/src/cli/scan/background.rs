//! `gatepost scan background`: begins, ends and shows the scans of mailboxes, queue and quarantine on the running server.

use std::io;

use clap::Subcommand;
use gatepost_core::background::State;
use serde_json::json;

use super::super::output::{Output, Table, time};
use super::super::{Failure, Site};
use crate::control::Client;
use crate::control::background::{BackgroundOrder, BackgroundStatus};
use crate::control::client::Part;
use crate::control::message::{Line, Request};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Scan mailboxes, queue and quarantine from the beginning, as far as the filters of the configuration let it.
    Start(Arguments),
    /// End the scan that runs. New signatures start another.
    Stop(Arguments),
    /// Tell how far the scan has come, or how the last one ended.
    Status(Arguments),
}

#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Arguments {
    /// For scripts.
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(command: &Command, site: &Site, output: &mut Output) -> Result<(), Failure> {
    let (order, Arguments { json }) = match command {
        Command::Start(arguments) => (BackgroundOrder::Start, *arguments),
        Command::Stop(arguments) => (BackgroundOrder::Stop, *arguments),
        Command::Status(arguments) => (BackgroundOrder::Status, *arguments),
    };
    let places = ask(order, site)?;
    if json {
        return output.json(&json!(places));
    }
    let mut table =
        Table::new(&["PLACE", "DATABASE", "STATE", "REASON", "BEGAN", "MESSAGES", "SCANNED", "INFECTED"]);
    for BackgroundStatus { place, database, scan } in places {
        let database = database.unwrap_or_else(|| "-".to_owned());
        match scan {
            None => table.row([&place, &database, &"never scanned", &"-", &"-", &"-", &"-", &"-"]),
            Some(scan) => {
                // What came in meanwhile is walked past as well.
                let messages = match scan.state {
                    State::Running => format!("{} of {}", scan.messages, scan.total.max(scan.messages)),
                    State::Stopped | State::Finished => scan.messages.to_string(),
                };
                let (state, reason) = (scan.state.name(), scan.reason.name());
                let began = time(scan.started_at_ms);
                table.row([
                    &place,
                    &database,
                    &state,
                    &reason,
                    &began,
                    &messages,
                    &scan.scanned,
                    &scan.infected,
                ]);
            }
        }
    }
    output.line(table)
}

fn ask(order: BackgroundOrder, site: &Site) -> Result<Vec<BackgroundStatus>, Failure> {
    let client = Client::connect(&site.data()?).map_err(Failure::general)?;
    let mut client = client.ok_or_else(Failure::no_server)?;
    let mut places = Vec::new();
    client
        .ask(Request::BackgroundScan(order), &mut |part| match part {
            Part::Line(Line::BackgroundScan(status)) => {
                places.push(*status);
                Ok(())
            }
            Part::Line(_) | Part::Octets(_) => Err(io::ErrorKind::InvalidData.into()),
        })
        .map_err(Failure::general)?;
    Ok(places)
}
