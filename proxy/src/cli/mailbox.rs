//! `gatepost mailbox`: what readers would get. Every message goes through the gate, as it does for POP3: an infected one
//! is not shown, and one with an old stamp is scanned first.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Subcommand, ValueEnum};
use gatepost_core::access::{AgeMax, Released, ScanGate, Way, Withheld};
use gatepost_core::disk::RealDisk;
use gatepost_core::events::Log;
use gatepost_core::quarantine;
use gatepost_core::scan::{self, Scanner};
use gatepost_core::store::{self, Databases, MailStore, SqliteStore};
use prometheus::Registry;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use super::output::{Output, Table, complain, time};
use super::site::folder_failure;
use super::{Exit, Failure, Site, mbox};
use crate::config::DatabaseScan;
use crate::private::{self, FILE_MODE};
use crate::scan_helper::{self, Helpers};
use crate::services::{self, Stores};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List mailboxes, or the messages of one.
    List {
        /// The mailbox, named as its user.
        mailbox: Option<String>,
        /// For scripts.
        #[arg(long)]
        json: bool,
    },
    /// Write one message to standard output, octet for octet.
    Show {
        /// The mailbox.
        mailbox: String,
        /// The message's number, as `mailbox list MAILBOX` shows it.
        uid: u32,
    },
    /// Write all messages of a mailbox to files. Infected ones are left out and named; the exit code is 1 then.
    Export {
        /// The mailbox.
        mailbox: String,
        /// mbox: one new file. eml: a folder with a file for each message.
        #[arg(long, value_enum, default_value_t = Format::Mbox)]
        format: Format,
        /// The file or folder.
        #[arg(long, short, value_name = "PATH")]
        output: PathBuf,
    },
    /// Delete a mailbox with all its messages, for good: that of a user who was removed.
    Remove {
        /// The mailbox; its user must be removed first.
        mailbox: String,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Format {
    /// One file, `From ` lines between messages (mboxrd).
    Mbox,
    /// UID.eml in a folder.
    Eml,
}

/// The mailboxes and the way to read them.
struct Reader {
    store: Arc<Databases>,
    gate: ScanGate,
    helpers: Helpers,
}

pub(super) fn execute(command: &Command, site: &Site, output: &mut Output) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let reader = Reader::open(site)?;
        let outcome = match command {
            Command::List { mailbox: None, json } => reader.list_mailboxes(*json, output).await,
            Command::List { mailbox: Some(mailbox), json } => reader.list(mailbox, *json, site, output).await,
            Command::Show { mailbox, uid } => reader.show(mailbox, *uid, output).await,
            Command::Export { mailbox, format, output: path } => {
                reader.export(mailbox, *format, path, site, output).await
            }
            Command::Remove { mailbox } => reader.remove(mailbox, site, output).await,
        };
        let Reader { store, gate, helpers } = reader;
        store.close().await;
        // With it the last who could ask them.
        drop(gate);
        helpers.finish();
        outcome
    })
}

/// How many messages lie in a mailbox; none where there are no mailboxes yet.
pub(super) fn messages_of(mailbox: &str, site: &Site) -> Result<usize, Failure> {
    let folder = site.data()?;
    let names = folder.stores().map_err(Failure::general)?;
    runtime()?.block_on(async {
        let mut messages: usize = 0;
        for name in names {
            let store = SqliteStore::open(&folder.store(&name), &store::Settings::default(), None)
                .map_err(Failure::general)?;
            let listing = store.list(mailbox).await.map_err(Failure::general);
            store.close().await;
            messages = messages.saturating_add(listing?.messages.len());
        }
        Ok(messages)
    })
}

fn runtime() -> Result<Runtime, Failure> {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(Failure::general)
}

// === impl Reader ===

impl Reader {
    fn open(site: &Site) -> Result<Self, Failure> {
        let (config, folder) = (site.config()?, site.data()?);
        let stores = Stores::open(config, &folder, None).map_err(Failure::general)?;
        let store = Arc::clone(stores.all());
        // Nobody scrapes a command; the scanner counts all the same.
        let metrics = scan::Metrics::register(&Registry::new()).map_err(Failure::general)?;
        let rules = services::rules(config, &folder);
        let helpers =
            scan_helper::start_apart(config).map_err(|error| Failure::new(Exit::Configuration, error))?;
        let engines =
            services::start_engines(config, Some(&rules), None, &helpers, &Log::discarding(), &metrics)
                .map_err(|error| Failure::new(Exit::Configuration, error))?;
        let overruled = quarantine::overruled(&RealDisk, &folder.quarantine()).map_err(Failure::general)?;
        let key = folder.find_stamp_key().map_err(|error| folder_failure(&error))?.unwrap_or_default();
        let settings = scan::Settings { overruled, key, ..services::scan_settings(config) };
        let scanner = Scanner::start(engines, &settings, metrics).map_err(Failure::general)?;
        let way = |(name, scan): (&str, &DatabaseScan)| {
            let age_max = AgeMax::new(scan.on_access_age_max);
            (name.to_owned(), Way { age_max, ..Way::default() })
        };
        let gate = ScanGate::new(store.clone(), scanner, None)
            .waiting(config.scan.reader_budget.duration())
            .going(config.databases.scans().map(way).collect());
        Ok(Self { store, gate, helpers })
    }

    async fn list_mailboxes(&self, as_json: bool, output: &mut Output) -> Result<(), Failure> {
        let mailboxes = self.store.mailboxes().await.map_err(Failure::general)?;
        if as_json {
            let mailboxes: Vec<_> = mailboxes
                .iter()
                .map(|mailbox| {
                    json!({ "name": mailbox.name, "messages": mailbox.messages, "octets": mailbox.octets })
                })
                .collect();
            return output.json(&mailboxes.into());
        }
        let mut table = Table::new(&["MAILBOX", "MESSAGES", "SIZE"]);
        for mailbox in mailboxes {
            table.row([&mailbox.name, &mailbox.messages, &mailbox.octets]);
        }
        output.line(table)
    }

    /// The mailbox of a user who has had no mail yet is an empty one; a name that nobody has is a slip.
    async fn listing(&self, mailbox: &str, site: &Site) -> Result<store::Listing, Failure> {
        let listing = self.store.list(mailbox).await.map_err(Failure::general)?;
        if listing.uid_validity == 0 && site.directory()?.snapshot().account(mailbox).is_none() {
            return Err(Failure::general(format!("there is no mailbox {mailbox}")));
        }
        Ok(listing)
    }

    async fn list(
        &self,
        mailbox: &str,
        as_json: bool,
        site: &Site,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let listing = self.listing(mailbox, site).await?;
        let threat = |message: &store::Summary| message.mark.as_ref().and_then(|mark| mark.threat.clone());
        if as_json {
            let messages: Vec<_> = listing
                .messages
                .iter()
                .map(|message| {
                    json!({
                        "uid": message.uid,
                        "octets": message.octets,
                        "received_at_ms": message.received_at_ms,
                        "threat": threat(message),
                    })
                })
                .collect();
            return output.json(&messages.into());
        }
        let mut table = Table::new(&["UID", "SIZE", "RECEIVED", "THREAT"]);
        for message in &listing.messages {
            let threat = threat(message).unwrap_or_else(|| "-".to_owned());
            table.row([&message.uid, &message.octets, &time(message.received_at_ms), &threat]);
        }
        output.line(table)
    }

    async fn show(&self, mailbox: &str, uid: u32, output: &mut Output) -> Result<(), Failure> {
        let released = self
            .gate
            .release(mailbox, uid)
            .await
            .map_err(|withheld| Failure::general(why(uid, &withheld)))?;
        output.octets(&released.octets)
    }

    async fn remove(&self, mailbox: &str, site: &Site, output: &mut Output) -> Result<(), Failure> {
        if site.directory()?.snapshot().account(mailbox).is_some() {
            let hint = format!("{mailbox} is in use: `gatepost user remove {mailbox}` first");
            return Err(Failure::general(hint));
        }
        if !self.store.remove_mailbox(mailbox).await.map_err(Failure::general)? {
            return Err(Failure::general(format!("there is no mailbox {mailbox}")));
        }
        output.line(format_args!("removed the mailbox {mailbox}"))
    }

    async fn export(
        &self,
        mailbox: &str,
        format: Format,
        path: &Path,
        site: &Site,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let listing = self.listing(mailbox, site).await?;
        let mut target: Box<dyn Target> = match format {
            Format::Mbox => Box::new(MboxFile::create(path)?),
            Format::Eml => Box::new(EmlFolder::create(path)?),
        };
        let (mut written, mut withheld) = (0_usize, 0_usize);
        for message in &listing.messages {
            match self.gate.release(mailbox, message.uid).await {
                Ok(released) => {
                    target.write(&released).map_err(|error| Failure::new(Exit::CannotCreate, error))?;
                    written = written.saturating_add(1);
                }
                // Deleted by its reader since it was listed.
                Err(Withheld::Gone) => (),
                Err(reason) => {
                    complain(&why(message.uid, &reason));
                    withheld = withheld.saturating_add(1);
                }
            }
        }
        target.finish().map_err(|error| Failure::new(Exit::CannotCreate, error))?;
        output.line(format_args!("exported: {written}"))?;
        output.finish()?;
        if withheld > 0 {
            return Err(Failure::general(format!("left out: {withheld}")));
        }
        Ok(())
    }
}

fn why(uid: u32, withheld: &Withheld) -> String {
    match withheld {
        Withheld::Gone => format!("there is no message {uid}"),
        Withheld::Infected { threat } => format!("message {uid} is infected ({threat}) and is not shown"),
        Withheld::Replaced { threat, by } => {
            format!("message {uid} was infected ({threat}); what is left of it is message {by}")
        }
        Withheld::Unavailable => format!("message {uid} could not be scanned now; try again"),
    }
}

/// Where exported messages go.
trait Target {
    fn write(&mut self, message: &Released) -> io::Result<()>;
    fn finish(&mut self) -> io::Result<()>;
}

struct MboxFile(BufWriter<File>);
struct EmlFolder(PathBuf);

impl MboxFile {
    fn create(path: &Path) -> Result<Self, Failure> {
        let file = new_file(path)
            .map_err(|error| Failure::new(Exit::CannotCreate, format!("{}: {error}", path.display())))?;
        Ok(Self(BufWriter::new(file)))
    }
}

impl Target for MboxFile {
    fn write(&mut self, message: &Released) -> io::Result<()> {
        mbox::write(&mut self.0, &message.octets, message.received_at_ms)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.flush()?;
        self.0.get_ref().sync_all()
    }
}

impl EmlFolder {
    fn create(path: &Path) -> Result<Self, Failure> {
        private::make_folder(path).map_err(|error| Failure::new(Exit::CannotCreate, error))?;
        Ok(Self(path.to_owned()))
    }
}

impl Target for EmlFolder {
    fn write(&mut self, message: &Released) -> io::Result<()> {
        new_file(&self.0.join(format!("{}.eml", message.uid)))?.write_all(&message.octets)
    }

    fn finish(&mut self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

/// Mail is private: mode 0600, and nothing is overwritten.
fn new_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create_new(true).write(true).mode(FILE_MODE).open(path)
}
