//! The command line: what can be asked for, and which exit code says what came of it.

mod arguments;
mod config;
mod directory;
mod dkim;
mod exit;
mod explain;
mod mailbox;
mod mbox;
mod output;
mod password;
mod quarantine;
mod queue;
mod run;
mod scan;
mod signals;
mod site;
mod srs;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{Args, CommandFactory as _, Parser, Subcommand};

pub use exit::{Exit, Failure};
use output::Output;
use site::Site;

use crate::scan_helper;

/// Gatepost: an SMTP front end with its own queue, scanner and mailboxes.
#[derive(Debug, Parser)]
#[command(name = "gatepost", version, max_term_width = 110, after_help = AFTER_HELP, after_long_help = AFTER_LONG_HELP)]
#[command(subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

/// Where everything is.
#[derive(Debug, Clone, Default, Args)]
struct Place {
    /// Configuration file. Without one the embedded default holds: all on loopback, AUTH required.
    #[arg(long, global = true, value_name = "FILE", env = "GATEPOST_CONFIG")]
    config: Option<PathBuf>,
    /// Data folder: queue, mailboxes, accounts, certificate. Goes before the one in the configuration.
    #[arg(long, global = true, value_name = "FOLDER")]
    data: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT; SIGHUP reloads configuration, certificate and rules.
    ///
    /// The first start without a configuration makes the data folder, a self-signed certificate and the user
    /// me@localhost, whose password is shown once on a terminal, or else written to first-user.txt in the data folder.
    Run(run::Arguments),
    /// Write or check a configuration file.
    #[command(subcommand)]
    Config(config::Command),
    /// Add, list and remove users, and set their passwords and classes. A running server sees it within a second.
    #[command(subcommand)]
    User(directory::UserCommand),
    /// Give users further addresses, and have mail go on to other servers.
    #[command(subcommand)]
    Alias(directory::AliasCommand),
    /// Say which domains live here.
    #[command(subcommand)]
    Domain(directory::DomainCommand),
    /// Make keys that mail is signed with, and show their DNS records.
    #[command(subcommand)]
    Dkim(dkim::Command),
    /// Look after what senders of forwarded mail are rewritten with.
    #[command(subcommand)]
    Srs(srs::Command),
    /// Tell why something was refused, or what became of a mail.
    Explain(explain::Arguments),
    /// Look into the queue, hold, release, retry and delete what is in it.
    #[command(subcommand)]
    Queue(queue::Command),
    /// Look into the quarantine, release and delete what is in it.
    #[command(subcommand)]
    Quarantine(quarantine::Command),
    /// Read and export mailboxes. Every message passes the virus scanner first.
    #[command(subcommand)]
    Mailbox(mailbox::Command),
    /// Scan files as the server would scan mail, or mailboxes in the background. Exits with 1 if a file is infected or cannot
    /// be scanned.
    Scan(scan::Arguments),
    /// What the server starts to run scan commands with.
    #[command(hide = true)]
    ScanHelper(scan_helper::Arguments),
}

/// Parses, does, reports, and says how it went.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let error = without_hidden(error);
            // What cannot be printed (a closed pipe) cannot be reported either.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS };
        }
    };
    if let Command::ScanHelper(arguments) = &cli.command {
        return scan_helper::run(arguments);
    }
    let mut output = Output::stdout();
    match execute(cli, &mut output).and_then(|()| output.finish()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure);
            failure.exit().into()
        }
    }
}

/// Commands that no operator gives are not suggested to him either.
fn without_hidden(mut error: clap::Error) -> clap::Error {
    if let Some(ContextValue::Strings(mut names)) = error.remove(ContextKind::SuggestedSubcommand) {
        let cli = Cli::command();
        names.retain(|name| !cli.find_subcommand(name).is_some_and(clap::Command::is_hide_set));
        if !names.is_empty() {
            error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(names));
        }
    }
    error
}

fn execute(cli: Cli, output: &mut Output) -> Result<(), Failure> {
    let site = Site::new(cli.place);
    match cli.command {
        Command::Run(arguments) => run::run(&site, &arguments, output),
        Command::Config(command) => config::execute(&command, &site, output),
        Command::User(command) => directory::user(&command, &site, output),
        Command::Alias(command) => directory::alias(&command, &site, output),
        Command::Domain(command) => directory::domain(&command, &site, output),
        Command::Dkim(command) => dkim::execute(&command, output),
        Command::Srs(command) => srs::execute(&command, &site, output),
        Command::Explain(arguments) => explain::execute(&arguments, &site, output),
        Command::Queue(command) => queue::execute(&command, &site, output),
        Command::Quarantine(command) => quarantine::execute(&command, &site, output),
        Command::Mailbox(command) => mailbox::execute(&command, &site, output),
        Command::Scan(arguments) => scan::execute(&arguments, &site, output),
        // It has neither a site nor an output.
        Command::ScanHelper(_) => Ok(()),
    }
}

const AFTER_HELP: &str = "`gatepost --help` shows examples, files and exit codes.";

const AFTER_LONG_HELP: &str = "\
Examples:
  gatepost run                                  try it: everything on 127.0.0.1, one user made
  gatepost config init > gatepost.toml          a commented configuration
  gatepost config check gatepost.toml           what is wrong with it, and where
  gatepost domain add example.org               mail for example.org stays here
  gatepost user add ann@example.org             asks for a password
  gatepost queue list --json                    for scripts
  gatepost queue hold --domain example.org      keep its mail back, also what comes later
  gatepost scan background status               how far the scan of mailboxes has come
  gatepost scan trace Eicar_Test_File            how it came in, whom it reached, who has read it
  gatepost quarantine list                      infected mail, and what was found in it
  gatepost explain 7K3F9Q                       why a reply with [7K3F9Q] refused what it refused
  gatepost mailbox export ann@example.org --output ann.mbox

Files:
  The data folder is --data, or `data` of the configuration, or $GATEPOST_DATA, or $STATE_DIRECTORY,
  or $XDG_DATA_HOME/gatepost, or ~/.local/share/gatepost. Others must not be able to read it.

Exit codes:
   0  done
   1  failed, or `scan` found something
  64  wrong arguments
  69  cannot start: a port is taken, or another server uses the data folder; or no server runs, and one is needed
  73  an output file cannot be made
  78  the configuration, a key or the permissions of a file are wrong";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_long_help_names_every_exit_code() {
        let help = Cli::command().render_long_help().to_string();
        for exit in Exit::ALL {
            let code = exit.code();
            assert!(help.lines().any(|line| line.trim_start().starts_with(&format!("{code}  "))), "{code}");
        }
    }

    #[test]
    fn a_hidden_command_is_not_suggested() {
        let error = Cli::try_parse_from(["gatepost", "scann"]).unwrap_err();
        assert!(error.to_string().contains("scan-helper"), "or there is nothing to hide: {error}");
        let told = without_hidden(error).to_string();
        assert!(told.contains("'scan'") && !told.contains("scan-helper"), "{told}");
    }

    #[test]
    fn help_is_a_command_as_well() {
        let asked = |word| Cli::try_parse_from(["gatepost", word]).unwrap_err().to_string();
        assert_eq!(asked("help"), asked("--help"));
    }

    #[test]
    fn a_password_cannot_be_given_as_an_argument() {
        for arguments in
            [["gatepost", "user", "add", "a@b", "secret"], ["gatepost", "user", "passwd", "a@b", "secret"]]
        {
            assert!(Cli::try_parse_from(arguments).is_err());
        }
    }
}
