//! `gatepost user`, `gatepost alias`, `gatepost domain`.

use clap::Subcommand;
use gatepost_core::directory::{
    AccountClass, AccountName, AliasTarget, Directory, EditError, Resolution, Scram,
};
use gatepost_smtp::wire::path::ForwardPath;

use super::output::{Output, Table};
use super::password::new_password;
use super::{Failure, Site, mailbox};

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add a user; the domain must be local (`gatepost domain add`).
    Add {
        /// Name, address and mailbox: ann@example.org.
        address: String,
        /// Read the password from the first line of standard input instead of asking for it.
        #[arg(long)]
        password_stdin: bool,
        /// What the account is: user, or without a mailbox partner, server or externally-secured. ARCHITECTURE.md says
        /// what each class may do.
        #[arg(long, default_value_t)]
        class: AccountClass,
        /// Let the user have the mail of an earlier one of the same name.
        #[arg(long)]
        adopt_mailbox: bool,
    },
    /// List users. The first with a mailbox is `postmaster` unless an alias says otherwise.
    List {
        /// For scripts.
        #[arg(long)]
        json: bool,
    },
    /// Set a user's password.
    Passwd {
        /// The user.
        address: String,
        /// Read the password from the first line of standard input instead of asking for it.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Make something else of an account; its password stays. Holds for log-ins from then on.
    Set {
        /// The account.
        address: String,
        /// What it is to be: user, or without a mailbox partner, server or externally-secured.
        #[arg(long)]
        class: AccountClass,
    },
    /// Remove a user and the aliases that point to him. His mailbox stays until `gatepost mailbox remove`.
    Remove {
        /// The user.
        address: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum AliasCommand {
    /// Have the mail for an address go to users, other aliases, or addresses on other servers.
    Add {
        /// The address: sales@example.org.
        address: String,
        /// Who gets its mail. Other servers need `[delivery.remote]` in the configuration.
        #[arg(required = true, value_name = "TARGET")]
        targets: Vec<String>,
    },
    /// List aliases.
    List {
        /// For scripts.
        #[arg(long)]
        json: bool,
    },
    /// Have the mail for an address no longer go to a target.
    Remove {
        /// The address.
        address: String,
        /// Who has had its mail.
        target: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum DomainCommand {
    /// Make a domain local: its mail stays here.
    Add {
        /// Such as example.org.
        domain: String,
    },
    /// List local domains.
    List {
        /// For scripts.
        #[arg(long)]
        json: bool,
    },
    /// Make a domain foreign again; nobody may live there any more.
    Remove {
        /// Such as example.org.
        domain: String,
    },
}

pub(super) fn user(command: &UserCommand, site: &Site, output: &mut Output) -> Result<(), Failure> {
    let directory = match command {
        UserCommand::Add { .. } => site.prepare_directory()?,
        _ => site.directory()?,
    };
    let scram = if site.config()?.scram { Scram::On } else { Scram::Off };
    match command {
        UserCommand::Add { address, password_stdin, class, adopt_mailbox } => {
            if !adopt_mailbox {
                refuse_leftover_mail(address, site)?;
            }
            let password = new_password(*password_stdin)?;
            let name = directory.add_account(address, *class, &password, scram).map_err(refused)?;
            output.line(format_args!("added {name}"))
        }
        UserCommand::Passwd { address, password_stdin } => {
            let password = new_password(*password_stdin)?;
            directory.set_password(address, &password, scram).map_err(refused)?;
            output.line(format_args!("set the password of {address}"))
        }
        UserCommand::Set { address, class } => {
            directory.set_class(address, *class).map_err(refused)?;
            output.line(format_args!("{address} is of class {class}"))
        }
        UserCommand::Remove { address } => {
            directory.remove_user(address).map_err(refused)?;
            output.line(format_args!("removed {address}"))
        }
        UserCommand::List { json } => {
            let users = directory.list_users().map_err(Failure::general)?;
            if *json {
                let users: Vec<_> = users
                    .iter()
                    .map(|user| {
                        serde_json::json!({
                            "name": user.name.to_string(),
                            "class": user.class.name(),
                            "scram": user.scram,
                        })
                    })
                    .collect();
                return output.json(&users.into());
            }
            let mut table = Table::new(&["USER", "CLASS", "SCRAM"]);
            for user in users {
                table.row([&user.name, &user.class, &if user.scram { "yes" } else { "no" }]);
            }
            output.line(table)
        }
    }
}

pub(super) fn alias(command: &AliasCommand, site: &Site, output: &mut Output) -> Result<(), Failure> {
    let directory = site.directory()?;
    match command {
        AliasCommand::Add { address, targets } => {
            refuse_dead_ends(targets, &directory, site)?;
            let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
            let added = directory.add_aliases(address, &targets).map_err(refused)?;
            added.iter().try_for_each(|alias| {
                output.line(format_args!("added {} for {}", alias.address, alias.target))
            })
        }
        AliasCommand::Remove { address, target } => {
            directory.remove_alias(address, target).map_err(refused)?;
            output.line(format_args!("removed {address} for {target}"))
        }
        AliasCommand::List { json } => {
            let aliases = directory.list_aliases().map_err(Failure::general)?;
            if *json {
                let aliases: Vec<_> = aliases
                    .iter()
                    .map(|alias| {
                        serde_json::json!({
                            "address": alias.address.to_string(),
                            "target": alias.target.to_string(),
                            "elsewhere": matches!(alias.target, AliasTarget::Elsewhere(_)),
                        })
                    })
                    .collect();
                return output.json(&aliases.into());
            }
            let mut table = Table::new(&["ADDRESS", "TARGET"]);
            for alias in aliases {
                table.row([&alias.address as &dyn std::fmt::Display, &alias.target]);
            }
            output.line(table)
        }
    }
}

pub(super) fn domain(command: &DomainCommand, site: &Site, output: &mut Output) -> Result<(), Failure> {
    let directory = match command {
        DomainCommand::Add { .. } => site.prepare_directory()?,
        _ => site.directory()?,
    };
    match command {
        DomainCommand::Add { domain } => {
            let domain = directory.add_domain(domain).map_err(refused)?;
            output.line(format_args!("added {domain}"))
        }
        DomainCommand::Remove { domain } => {
            directory.remove_domain(domain).map_err(refused)?;
            output.line(format_args!("removed {domain}"))
        }
        DomainCommand::List { json } => {
            let domains = directory.list_domains().map_err(Failure::general)?;
            if *json {
                let domains: Vec<_> = domains.iter().map(ToString::to_string).collect();
                return output.json(&domains.into());
            }
            domains.iter().try_for_each(|domain| output.line(domain))
        }
    }
}

/// Mail that is accepted for another server would have to be returned where none leaves this one.
fn refuse_dead_ends(targets: &[String], directory: &Directory, site: &Site) -> Result<(), Failure> {
    if site.config()?.remote.is_some() {
        return Ok(());
    }
    let is_elsewhere = |target: &&String| {
        let path = format!("<{target}>").parse::<ForwardPath>();
        path.is_ok_and(|path| directory.resolve(&path) == Resolution::Foreign)
    };
    match targets.iter().find(is_elsewhere) {
        None => Ok(()),
        Some(target) => Err(Failure::general(format!(
            "{target} lives on another server, and no mail leaves this one: set enabled = true in [delivery.remote] \
             of the configuration, and name that file with --config"
        ))),
    }
}

/// Whoever gets a name that was in use before would read his predecessor's mail.
fn refuse_leftover_mail(address: &str, site: &Site) -> Result<(), Failure> {
    let name: AccountName = address.parse().map_err(Failure::general)?;
    match mailbox::messages_of(&name.to_string(), site)? {
        0 => Ok(()),
        messages => Err(Failure::general(format!(
            "the mailbox {name} of an earlier user holds messages ({messages}): `gatepost mailbox remove {name}`, \
             or --adopt-mailbox to let the new user read them"
        ))),
    }
}

fn refused(error: EditError) -> Failure {
    Failure::general(error)
}
