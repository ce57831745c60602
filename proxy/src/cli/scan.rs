//! `gatepost scan`: what the server's scanner says about files and about what lies in mailboxes, and how its engines do.

mod background;
mod trace;

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use gatepost_core::events;
use gatepost_core::scan::inspect::inspect;
use gatepost_core::scan::{Metrics, Verdict};
use prometheus::Registry;
use serde_json::json;

use super::output::{Output, Table, complain};
use super::{Exit, Failure, Site};
use crate::config::{Log, LogLevel};
use crate::control::Client;
use crate::control::client::Part;
use crate::control::message::{Engine, Line, Request};
use crate::scan_helper::{self, Helpers};
use crate::{services, telemetry};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Files of any kind, `-` for standard input; each is scanned as it is and as a mail.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How long one file may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show how the engines of the running server do. Exits with 1 if one cannot be asked.
    Status {
        /// For scripts.
        #[arg(long)]
        json: bool,
    },
    /// Have the engines of the running server look for new signatures at once. Exits with 1 if one does not take them.
    Reload {
        /// For scripts.
        #[arg(long)]
        json: bool,
    },
    /// Scan what lies in mailboxes again, on the running server.
    #[command(subcommand)]
    Background(background::Command),
    /// Tell how infected mail came in, whom it reached, and who has read it.
    Trace(trace::Arguments),
}

/// What came of the files.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    files: usize,
    infected: usize,
    /// Out of time, not to be looked into, or an engine has failed.
    unscanned: usize,
    unreadable: usize,
}

pub(super) fn execute(arguments: &Arguments, site: &Site, output: &mut Output) -> Result<(), Failure> {
    match &arguments.command {
        Some(Command::Status { json }) => engines(Request::ScanStatus, *json, site, output),
        Some(Command::Reload { json }) => engines(Request::ScanReload, *json, site, output),
        Some(Command::Background(command)) => background::execute(command, site, output),
        Some(Command::Trace(arguments)) => trace::execute(arguments, site, output),
        None => scan(arguments, site, output),
    }
}

fn scan(arguments: &Arguments, site: &Site, output: &mut Output) -> Result<(), Failure> {
    let helpers =
        scan_helper::start_apart(site.config()?).map_err(|error| Failure::new(Exit::Configuration, error))?;
    // An engine that fails says why in a line of the log.
    let config = site.config()?;
    let log = Log { level: LogLevel::Warn, ..config.log };
    telemetry::log::start(log).map_err(Failure::general)?;
    let scanned = scan_with(&helpers, arguments, site, output);
    helpers.finish();
    scanned
}

fn scan_with(
    helpers: &Helpers,
    arguments: &Arguments,
    site: &Site,
    output: &mut Output,
) -> Result<(), Failure> {
    // Nobody scrapes a command; the engines count all the same.
    let metrics = Metrics::register(&Registry::new()).map_err(Failure::general)?;
    let rules = rules_folder(site)?;
    let (config, events) = (site.config()?, events::Log::discarding());
    let engines = services::start_engines(config, rules.as_deref(), None, helpers, &events, &metrics)
        .map_err(|error| Failure::new(Exit::Configuration, error))?;
    let mut tally = Tally::default();
    for path in &arguments.files {
        tally.files = tally.files.saturating_add(1);
        let octets = match read(path) {
            Ok(octets) => octets,
            Err(failure) => {
                output.finish()?;
                complain(&failure);
                tally.unreadable = tally.unreadable.saturating_add(1);
                continue;
            }
        };
        let inspection = inspect(&*engines, &octets, Duration::from_secs(arguments.timeout));
        output.line(format_args!("{}", path.display()))?;
        inspection.to_string().lines().try_for_each(|line| output.line(format_args!("  {line}")))?;
        tally.count(&inspection.verdict);
    }
    output.finish()?;
    if tally.is_clean() { Ok(()) } else { Err(Failure::general(tally)) }
}

/// Asks the running server, which alone knows.
fn engines(request: Request, as_json: bool, site: &Site, output: &mut Output) -> Result<(), Failure> {
    let Some(mut client) = Client::connect(&site.data()?).map_err(Failure::general)? else {
        return Err(Failure::no_server());
    };
    let mut engines: Vec<Engine> = Vec::new();
    let take = &mut |part: Part<'_>| {
        if let Part::Line(Line::Engine(engine)) = part {
            engines.push(*engine);
        }
        Ok(())
    };
    client.ask(request, take).map_err(Failure::general)?;
    if as_json {
        output.json(&json!(engines))?;
    } else {
        let mut table = Table::new(&["ENGINE", "STATE", "SIGNATURES", "CALLS", "REMEMBERED", "KEPT", "SLOW"]);
        for engine in &engines {
            let Engine { name, signatures, calls, remembered, kept, slow_calls, .. } = engine;
            let state = if engine.available { "ready" } else { "down" };
            table.row([name, &state, signatures, calls, remembered, kept, slow_calls]);
        }
        output.line(table)?;
    }
    output.finish()?;
    let problems = engines.iter().filter_map(|engine| match &engine.problem {
        Some(problem) => Some(format!("{}: {problem}", engine.name)),
        None if !engine.available => Some(format!("{} cannot be asked", engine.name)),
        None => None,
    });
    let problems: Vec<String> = problems.collect();
    if problems.is_empty() { Ok(()) } else { Err(Failure::general(problems.join("; "))) }
}

/// The configured folder, or the data folder's where there is one; scanning needs no installation. One that was named
/// must be usable: its rules must not be left out in silence.
fn rules_folder(site: &Site) -> Result<Option<PathBuf>, Failure> {
    if let Some(rules) = &site.config()?.scan.rules {
        return Ok(Some(rules.clone()));
    }
    match site.data() {
        Ok(folder) => Ok(Some(folder.rules())),
        Err(failure) if site.named_data().is_some() => Err(failure),
        Err(_) => Ok(None),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable = |error: &dyn std::fmt::Display| Failure::general(format!("{}: {error}", path.display()));
    let mut octets = Vec::new();
    let read = if path.as_os_str() == "-" {
        io::stdin().lock().take(FILE_OCTETS_MAX.saturating_add(1)).read_to_end(&mut octets)
    } else {
        File::open(path)
            .and_then(|file| file.take(FILE_OCTETS_MAX.saturating_add(1)).read_to_end(&mut octets))
    };
    match read {
        Ok(count) if u64::try_from(count).is_ok_and(|count| count <= FILE_OCTETS_MAX) => Ok(octets),
        Ok(_) => Err(unreadable(&format_args!("larger than {FILE_OCTETS_MAX} octets"))),
        Err(error) => Err(unreadable(&error)),
    }
}

// === impl Tally ===

impl Tally {
    const fn count(&mut self, verdict: &Verdict) {
        let of_kind = match verdict {
            Verdict::Clean => return,
            Verdict::Infected { .. } => &mut self.infected,
            Verdict::Unscannable { .. } | Verdict::TimedOut | Verdict::Failed => &mut self.unscanned,
        };
        *of_kind = of_kind.saturating_add(1);
    }

    const fn is_clean(self) -> bool {
        self.infected == 0 && self.unscanned == 0 && self.unreadable == 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            (self.infected, "infected"),
            (self.unscanned, "without a verdict"),
            (self.unreadable, "not readable"),
        ];
        for (count, kind) in kinds.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{count} {kind}, ")?;
        }
        write!(f, "of {} file{}", self.files, if self.files == 1 { "" } else { "s" })
    }
}

/// The largest mail that a configuration can allow; a file is held in memory while it is scanned.
const FILE_OCTETS_MAX: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_clean_is_counted_by_its_kind() {
        let mut tally = Tally { files: 2, unreadable: 1, ..Tally::default() };
        tally.count(&Verdict::Infected { threat: "x".into() });
        assert_eq!(tally.to_string(), "1 infected, 1 not readable, of 2 files");
        let mut tally = Tally { files: 1, ..Tally::default() };
        tally.count(&Verdict::Clean);
        assert!(tally.is_clean());
        tally.count(&Verdict::Failed);
        assert!(!tally.is_clean());
        assert_eq!(tally.to_string(), "1 without a verdict, of 1 file");
    }
}
