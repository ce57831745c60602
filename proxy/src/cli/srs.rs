//! `gatepost srs`: what rewritten senders are signed with.

use clap::Subcommand;

use super::output::Output;
use super::{Failure, Site};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Sign rewritten senders with a new secret. A running server does so within a second. Bounces that come to senders
    /// signed with one of the three secrets before it are still taken.
    Rotate,
}

pub(super) fn execute(command: &Command, site: &Site, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Rotate => {
            site.directory()?.rotate_secret().map_err(Failure::general)?;
            output.line("rewritten senders are signed with a new secret")
        }
    }
}
