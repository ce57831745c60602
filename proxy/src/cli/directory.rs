//! `gatepost user`, `gatepost alias`, `gatepost domain`.

use clap::Subcommand;
use gatepost_core::directory::{AccountClass, AccountName, EditError, Scram};

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
    /// Give a user one more address; several users may share one.
    Add {
        /// The address: sales@example.org.
        address: String,
        /// Who gets its mail.
        user: String,
    },
    /// List aliases.
    List {
        /// For scripts.
        #[arg(long)]
        json: bool,
    },
    /// Take an address from a user.
    Remove {
        /// The address.
        address: String,
        /// Who has had its mail.
        user: String,
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
        AliasCommand::Add { address, user } => {
            let alias = directory.add_alias(address, user).map_err(refused)?;
            output.line(format_args!("added {} for {}", alias.address, alias.user))
        }
        AliasCommand::Remove { address, user } => {
            directory.remove_alias(address, user).map_err(refused)?;
            output.line(format_args!("removed {address} of {user}"))
        }
        AliasCommand::List { json } => {
            let aliases = directory.list_aliases().map_err(Failure::general)?;
            if *json {
                let aliases: Vec<_> = aliases
                    .iter()
                    .map(|alias| {
                        serde_json::json!({ "address": alias.address.to_string(), "user": alias.user.to_string() })
                    })
                    .collect();
                return output.json(&aliases.into());
            }
            let mut table = Table::new(&["ADDRESS", "USER"]);
            for alias in aliases {
                table.row([&alias.address, &alias.user]);
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
