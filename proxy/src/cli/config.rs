//! `gatepost config`: write an example, check a file.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::output::{Output, Table};
use super::{Exit, Failure, Site};
use crate::admin::Credential;
use crate::config::{Admin, Backend, Config, EXAMPLE, Listener, Pop3Tls, Service, SmtpTls};
use crate::data_folder::{DataFolder, Environment};
use crate::dkim_keys;
use crate::pass_through;
use crate::relay;
use crate::sandbox;
use crate::sandbox::accounts::Account;
use crate::services;
use crate::tls::Tls;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write a commented configuration that says what holds without any.
    Init {
        /// A new file; without it, standard output.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Say what is wrong with a configuration, or what it means. Reads it, the keys it names and the data folder; changes
    /// nothing.
    Check {
        /// The file; without it, the one of --config, or the embedded default.
        file: Option<PathBuf>,
    },
}

pub(super) fn execute(command: &Command, site: &Site, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Init { output: None } => output.octets(EXAMPLE.as_bytes()),
        Command::Init { output: Some(path) } => {
            write_example(path)?;
            output.line(format_args!("wrote {}", path.display()))
        }
        Command::Check { file } => check(file.as_deref(), site, output),
    }
}

fn write_example(path: &Path) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options
        .create_new(true)
        .write(true)
        .mode(EXAMPLE_MODE)
        .open(path)
        .and_then(|mut file| file.write_all(EXAMPLE.as_bytes()))
        .map_err(|error| Failure::new(Exit::CannotCreate, format!("{}: {error}", path.display())))
}

fn check(file: Option<&Path>, site: &Site, output: &mut Output) -> Result<(), Failure> {
    let config = match file {
        Some(path) => Config::load(path).map_err(|problems| Failure::new(Exit::Configuration, problems))?,
        None => site.config()?.clone(),
    };
    let wrong = |error: &dyn std::fmt::Display| Failure::new(Exit::Configuration, error);
    if let Some(files) = &config.tls {
        Tls::load(&files.certificate, &files.key).map_err(|error| wrong(&error))?;
    }
    services::check_authorities(&config).map_err(|error| wrong(&error))?;
    services::load_policy(&config).map_err(|error| wrong(&error))?;
    dkim_keys::load(&config).map_err(|error| wrong(&error))?;
    relay::check(&config).map_err(|error| wrong(&error))?;
    pass_through::check(&config).map_err(|error| wrong(&error))?;
    if let Some(credential) = config.admin.as_ref().and_then(Admin::credential) {
        Credential::load(credential).map_err(|error| wrong(&error))?;
    }
    if let Some(rules) = config.scan.rules.as_ref().filter(|rules| !rules.is_dir()) {
        return Err(wrong(&format_args!("the rules folder {} is no folder", rules.display())));
    }
    let data = match site.named_data().or(config.data.as_deref()) {
        Some(named) => Ok(named.to_owned()),
        None => DataFolder::locate(None, &Environment::of_this_process()),
    };
    let data = data.map_err(|error| wrong(&error))?;
    let state = if data.exists() {
        DataFolder::open(data.clone()).map_err(|error| wrong(&error))?;
        "private"
    } else {
        "will be made"
    };
    if let Some(user) = &config.user {
        let account = Account::find(user).map_err(|error| wrong(&error))?;
        check_readable(&account, &config, file.or(site.config_file()))?;
    }
    summarise(&config, output)?;
    output.line(format_args!("data folder {} ({state})", data.display()))?;
    output.line("the configuration is fine")
}

/// What the server reads after it has become the user: on a reload at the latest.
fn check_readable(account: &Account, config: &Config, file: Option<&Path>) -> Result<(), Failure> {
    for path in file.into_iter().chain(sandbox::files(config)).chain(config.scan.rules.as_deref()) {
        let problem = match account.can_read(path) {
            Ok(true) => continue,
            Ok(false) => format!("user {:?} cannot read {}", account.name(), path.display()),
            Err(error) => format!("{}: {error}", path.display()),
        };
        return Err(Failure::new(Exit::Configuration, problem));
    }
    Ok(())
}

fn summarise(config: &Config, output: &mut Output) -> Result<(), Failure> {
    output.line(format_args!("hostname {}", config.hostname))?;
    let mut table = Table::new(&["LISTENER", "ADDRESS", "SERVES"]);
    for listener in &config.listeners {
        table.row([&listener.name, &listener.address, &service(listener)]);
    }
    if let Some(admin) = &config.admin {
        let http = if matches!(admin, Admin::Tls { .. }) { "HTTPS" } else { "HTTP" };
        table.row([&"(admin)", &admin.address(), &format!("{http}, metrics and health")]);
    }
    output.line(table)
}

fn service(listener: &Listener) -> String {
    match &listener.service {
        Service::Smtp { tls, require_auth, backend, .. } => {
            let tls = match tls {
                SmtpTls::StartTls => "STARTTLS",
                SmtpTls::Implicit => "TLS",
                SmtpTls::None { scram: true } => "no TLS, AUTH by SCRAM only",
                SmtpTls::None { scram: false } => "no TLS, no AUTH",
            };
            let who = match (require_auth, backend) {
                (true, _) => "AUTH required",
                (false, Backend::Embedded) => "anybody, for local recipients",
                (false, Backend::PassThrough(_)) => "anybody, as the server behind says",
                (false, Backend::Relay) => "anybody, for recipients here and behind",
            };
            format!("SMTP, {tls}, {who}")
        }
        Service::Pop3 { tls: Pop3Tls::Stls } => "POP3, STLS".to_owned(),
        Service::Pop3 { tls: Pop3Tls::Implicit } => "POP3, TLS".to_owned(),
    }
}

/// A configuration holds no secret: keys and tokens are files of their own.
const EXAMPLE_MODE: u32 = 0o644;
