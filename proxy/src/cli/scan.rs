//! `gatepost scan`: what the server's scanner says about files, and about what lies in mailboxes.

mod background;
mod trace;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use gatepost_core::events::Log;
use gatepost_core::scan::inspect::inspect;
use gatepost_core::scan::{Metrics, Verdict};
use prometheus::Registry;

use super::output::Output;
use super::{Exit, Failure, Site};
use crate::services;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Files of any kind; each is scanned as it is and as a mail. One that is called as a command is written ./background.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How long one file may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Scan what lies in mailboxes again, on the running server.
    #[command(subcommand)]
    Background(background::Command),
    /// Tell how infected mail came in, whom it reached, and who has read it.
    Trace(trace::Arguments),
}

pub(super) fn execute(arguments: &Arguments, site: &Site, output: &mut Output) -> Result<(), Failure> {
    match &arguments.command {
        Some(Command::Background(command)) => background::execute(command, site, output),
        Some(Command::Trace(arguments)) => trace::execute(arguments, site, output),
        None => scan_files(arguments, site, output),
    }
}

fn scan_files(arguments: &Arguments, site: &Site, output: &mut Output) -> Result<(), Failure> {
    // Nobody scrapes a command; the engines count all the same.
    let metrics = Metrics::register(&Registry::new()).map_err(Failure::general)?;
    let rules = rules_folder(site)?;
    let engines = services::start_engines(site.config()?, rules.as_deref(), &Log::discarding(), &metrics)
        .map_err(|error| Failure::new(Exit::Configuration, error))?;
    let mut suspects = 0_usize;
    for path in &arguments.files {
        let octets = read(path)?;
        let inspection = inspect(&*engines, &octets, Duration::from_secs(arguments.timeout));
        output.line(format_args!("{}", path.display()))?;
        inspection.to_string().lines().try_for_each(|line| output.line(format_args!("  {line}")))?;
        if inspection.verdict != Verdict::Clean {
            suspects = suspects.saturating_add(1);
        }
    }
    output.finish()?;
    match suspects {
        0 => Ok(()),
        _ => Err(Failure::general(format!("{suspects} of {} files are not clean", arguments.files.len()))),
    }
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
    let octets = std::fs::metadata(path).map_err(|error| unreadable(&error))?.len();
    if octets > FILE_OCTETS_MAX {
        return Err(unreadable(&format_args!("larger than {FILE_OCTETS_MAX} octets")));
    }
    std::fs::read(path).map_err(|error| unreadable(&error))
}

/// The largest mail that a configuration can allow; a file is held in memory while it is scanned.
const FILE_OCTETS_MAX: u64 = 1 << 30;
