//! `gatepost queue`: what waits for delivery, and the operator's hand on it. Works on the running server by its control
//! socket, and without a server on the files.

mod filter;
mod look;
mod orders;
mod repair;
pub(super) mod source;

use std::path::PathBuf;

use clap::Subcommand;
use gatepost_core::events::History;
use gatepost_core::queue::QueueId;

use super::arguments::Form;
use super::output::Output;
use super::{Failure, Site};
use crate::control::message::Request;
use filter::Matching;
pub(super) use orders::confirm_deletion;
pub(super) use source::Source;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List messages with a pending recipient, oldest first.
    List {
        #[command(flatten)]
        matching: Matching,
        #[command(flatten)]
        form: Form,
    },
    /// Show everything about one message but its content.
    Show {
        /// Its queue id, as the 250 reply and `queue list` have it.
        id: QueueId,
        #[command(flatten)]
        form: Form,
    },
    /// Print one message as it would be delivered.
    Cat {
        /// Its queue id.
        id: QueueId,
        /// For scripts: the message as a JSON text, what is no UTF-8 replaced.
        #[arg(long)]
        json: bool,
    },
    /// Show how much waits, by domain and age, and what is held.
    Stats {
        /// Print the number of messages and nothing else.
        #[arg(long, conflicts_with = "json")]
        count: bool,
        #[command(flatten)]
        form: Form,
    },
    /// Keep messages back. Delivery leaves them alone until they are released or deleted.
    ///
    /// Chosen by --from alone, by --domain alone or by --all, mail that comes in later is kept back too. A message is held as a
    /// whole: with --domain and --to, its recipients elsewhere wait with it, and how many is said. A delivery that is under way
    /// goes on; where it is in vain, the message is held then.
    Hold {
        #[command(flatten)]
        matching: Matching,
        #[command(flatten)]
        form: Form,
    },
    /// Let messages go that were held.
    ///
    /// What kept back later mail is lifted by the same choice that set it; --all lifts everything.
    Release {
        #[command(flatten)]
        matching: Matching,
        #[command(flatten)]
        form: Form,
    },
    /// Try messages now, whatever their next time was. Held ones stay held.
    Retry {
        #[command(flatten)]
        matching: Matching,
        #[command(flatten)]
        form: Form,
    },
    /// Take messages out of the queue for good.
    ///
    /// One of --bounce and --silent must be said: a mail that vanishes is the sender's last to know of. A message goes as a whole:
    /// with --domain and --to, for its recipients elsewhere too, and how many is said.
    Delete {
        #[command(flatten)]
        matching: Matching,
        #[command(flatten)]
        end: End,
        /// Do not ask before several messages are deleted.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        form: Form,
    },
    /// Check every record, and every body file that a message needs. Exits with 1 if something is not as it was written.
    ///
    /// What a start of the server has found, told and set aside before is shown, and is no reason for 1 any more.
    Verify {
        #[command(flatten)]
        form: Form,
    },
    /// Write all mail that can be read to a folder: ID.eml, and its envelope as ID.json. The queue stays as it is.
    ///
    /// For a queue that is damaged. It believes nothing, so mail that was delivered may be among it.
    Salvage {
        /// The folder; made if it is missing.
        #[arg(long, value_name = "FOLDER")]
        output: PathBuf,
        #[command(flatten)]
        form: Form,
    },
}

/// What becomes of deleted messages.
#[derive(Debug, Clone, Copy, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct End {
    /// The senders get a notification, unless they asked for none; notifications themselves are never answered.
    #[arg(long)]
    bounce: bool,
    /// Nobody is told.
    #[arg(long)]
    silent: bool,
}

pub(super) fn execute(command: &Command, site: &Site, output: &mut Output) -> Result<(), Failure> {
    let folder = site.data()?;
    match command {
        Command::List { matching, form } => {
            look::list(&mut Source::open(&folder)?, matching.filter()?, form.json, output)
        }
        Command::Show { id, form } => {
            let events = History::open(&folder.events());
            look::show(&mut Source::open(&folder)?, &events, *id, form.json, output)
        }
        Command::Cat { id, json } => look::cat(&mut Source::open(&folder)?, *id, *json, output),
        Command::Stats { count, form } => look::stats(&mut Source::open(&folder)?, *count, form.json, output),
        Command::Verify { form } => repair::verify(&folder, form.json, output),
        Command::Salvage { output: to, form } => repair::salvage(&folder, to, form.json, output),
        Command::Hold { matching, form } => {
            let filter = matching.explicit_filter()?;
            orders::hold(&mut Source::open(&folder)?, &filter, form.json, output)
        }
        Command::Release { matching, form } => {
            let filter = matching.explicit_filter()?;
            orders::release(&mut Source::open(&folder)?, &filter, form.json, output)
        }
        Command::Retry { matching, form } => {
            let filter = matching.explicit_filter()?;
            orders::retry(&mut Source::open(&folder)?, &filter, form.json, output)
        }
        Command::Delete { matching, end, yes, form } => {
            let filter = matching.explicit_filter()?;
            let mut source = Source::open(&folder)?;
            if !yes {
                let what =
                    if end.bounce { "messages; their senders are told" } else { "messages; nobody is told" };
                confirm_deletion(&mut source, Request::List(filter.clone()), what, output)?;
            }
            orders::delete(&mut source, &filter, end.bounce, form.json, output)
        }
    }
}
