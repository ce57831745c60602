//! `gatepost dkim`: keys that mail is signed with, and their DNS records.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use gatepost_core::dkim::{self, InvalidName, Selector, SigningKey};

use super::output::Output;
use super::{Exit, Failure};
use crate::config::values::{Hostname, InvalidValue};
use crate::dkim_keys;
use crate::private::FILE_MODE;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a key, and print the DNS record to publish and the lines for the configuration.
    Key {
        /// A new file, which nobody else can read.
        file: PathBuf,
        #[command(flatten)]
        name: Name,
        /// What it signs with. Some receivers know RSA alone; a domain can have a key of each.
        #[arg(long, value_enum, default_value_t = Algorithm::Rsa)]
        algorithm: Algorithm,
    },
    /// Print the DNS record of a key.
    Record {
        /// The private key.
        file: PathBuf,
        #[command(flatten)]
        name: Name,
    },
}

/// What a key is found by.
#[derive(Debug, Args)]
pub(super) struct Name {
    /// Mail of its users is signed.
    #[arg(long, value_parser = hostname)]
    domain: Hostname,
    /// The key's name below `_domainkey` of the domain, such as s2026.
    #[arg(long, value_parser = selector)]
    selector: Selector,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Algorithm {
    Ed25519,
    Rsa,
}

pub(super) fn execute(command: &Command, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Key { file, name, algorithm } => make(file, name, *algorithm, output),
        Command::Record { file, name } => {
            let key = dkim_keys::load_key(file).map_err(|error| Failure::new(Exit::Configuration, error))?;
            show(&key, name, output)
        }
    }
}

fn make(file: &Path, name: &Name, algorithm: Algorithm, output: &mut Output) -> Result<(), Failure> {
    let algorithm = match algorithm {
        Algorithm::Ed25519 => dkim::Algorithm::Ed25519,
        Algorithm::Rsa => dkim::Algorithm::Rsa,
    };
    let key = SigningKey::generate(algorithm).map_err(Failure::general)?;
    let text = key.to_pem().map_err(Failure::general)?;
    let mut options = OpenOptions::new();
    options
        .create_new(true)
        .write(true)
        .mode(FILE_MODE)
        .open(file)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .map_err(|error| Failure::new(Exit::CannotCreate, format!("{}: {error}", file.display())))?;
    output.line("; publish this in the DNS:")?;
    show(&key, name, output)?;
    output.line("\n# and when it can be seen there, add this to the configuration:")?;
    output.line("[[dkim]]")?;
    output.line(format_args!("domain = \"{}\"", name.domain))?;
    output.line(format_args!("selector = \"{}\"", name.selector))?;
    output.line(format_args!("key = {:?}", file.display().to_string()))
}

/// A line of a zone file: texts in there have 255 octets at most.
fn show(key: &SigningKey, name: &Name, output: &mut Output) -> Result<(), Failure> {
    let record = key.dns_record().map_err(Failure::general)?;
    let mut texts = Vec::new();
    let mut rest = record.as_str();
    while let Some((text, after)) = rest.split_at_checked(TEXT_OCTETS_MAX) {
        texts.push(format!("\"{text}\""));
        rest = after;
    }
    texts.push(format!("\"{rest}\""));
    let (selector, domain) = (&name.selector, &name.domain);
    output.line(format_args!("{selector}._domainkey.{domain}. IN TXT ( {} )", texts.join(" ")))
}

fn hostname(text: &str) -> Result<Hostname, InvalidValue> {
    Hostname::try_from(text.to_owned())
}

fn selector(text: &str) -> Result<Selector, InvalidName> {
    text.parse()
}

/// RFC 1035 section 3.3.
const TEXT_OCTETS_MAX: usize = 255;
