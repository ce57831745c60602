//! Recipients in place of an alias.

use std::collections::HashSet;

use gatepost_smtp::server::{Envelope, Recipient};
use gatepost_smtp::wire::params::{Notify, OriginalRecipient, RcptParams};
use gatepost_smtp::wire::path::{Domain, ForwardPath, Mailbox};

use crate::directory::{Directory, Forwarding, Resolution};
use crate::intake::{Forwards, Origin, Submission};

/// An accepted mail as the queue is to have it: each recipient that leads to other servers is replaced by those it leads to,
/// and stays itself for mailboxes here. Whom `lives_behind` knows is not looked up: the server behind knows better. Where no
/// mail leaves this server, addresses are left as they are: delivery serves their mailboxes here.
#[must_use]
pub fn forward(
    directory: &Directory,
    submission: Submission,
    mail_leaves: bool,
    lives_behind: impl Fn(&ForwardPath) -> bool,
) -> Submission {
    if !mail_leaves {
        return submission;
    }
    let Submission { envelope, origin, .. } = submission;
    expand(directory, envelope, origin, HashSet::new(), lives_behind)
}

/// A mail for these recipients of another one, whose addresses lead to other servers only since that was accepted: as if it
/// were accepted now. Who is a recipient of the other one already does not get it again; `None` where nobody is left.
#[must_use]
pub fn forward_late(
    directory: &Directory,
    accepted: &Submission,
    recipients: &[usize],
    lives_behind: impl Fn(&ForwardPath) -> bool,
) -> Option<Submission> {
    let Envelope { reverse_path, params, recipients: all } = &accepted.envelope;
    let is_late = |index: &usize| recipients.contains(index);
    let others = all.iter().enumerate().filter(|(index, _)| !is_late(index));
    let known = others.map(|(_, recipient)| key(&recipient.path)).collect();
    let recipients = all.iter().enumerate().filter(|(index, _)| is_late(index));
    let recipients = recipients.map(|(_, recipient)| recipient.clone()).collect();
    let envelope = Envelope { reverse_path: reverse_path.clone(), params: params.clone(), recipients };
    let late = expand(directory, envelope, accepted.origin.clone(), known, lives_behind);
    (!late.envelope.recipients.is_empty()).then_some(late)
}

/// Whether all whom an address leads to elsewhere are recipients of a mail already.
#[must_use]
pub fn has_all(recipients: &[Recipient], forwarding: &Forwarding) -> bool {
    let named: HashSet<String> = recipients.iter().map(|recipient| key(&recipient.path)).collect();
    forwarding.targets.iter().all(|target| named.contains(&mailbox_key(target)))
}

/// `known`: who gets the mail otherwise.
fn expand(
    directory: &Directory,
    envelope: Envelope,
    origin: Origin,
    mut known: HashSet<String>,
    lives_behind: impl Fn(&ForwardPath) -> bool,
) -> Submission {
    let resolve = |path: &ForwardPath| {
        let resolution = if lives_behind(path) { Resolution::Foreign } else { directory.resolve(path) };
        match resolution {
            Resolution::Forwarded(forwarding) | Resolution::Rewritten { leads_to: Ok(forwarding), .. } => {
                Some(forwarding)
            }
            Resolution::Local(_)
            | Resolution::Rewritten { leads_to: Err(_), .. }
            | Resolution::UnknownLocal
            | Resolution::Foreign => None,
        }
    };
    let forwardings: Vec<_> = envelope.recipients.iter().map(|recipient| resolve(&recipient.path)).collect();
    if forwardings.iter().all(Option::is_none) {
        return Submission::new(envelope, origin);
    }
    let Envelope { reverse_path, params, recipients } = envelope;
    // Whom the sender has named himself is not named by an alias again.
    let named = recipients.iter().zip(&forwardings).filter(|(_, forwarding)| forwarding.is_none());
    known.extend(named.map(|(recipient, _)| key(&recipient.path)));
    let (mut expanded, mut forwards) = (Vec::new(), Forwards::default());
    for (recipient, forwarding) in recipients.into_iter().zip(&forwardings) {
        let Some(forwarding) = forwarding else {
            expanded.push(recipient);
            continue;
        };
        let keeps = keeps_address(&recipient, forwarding);
        for target in &forwarding.targets {
            let path = ForwardPath::Mailbox(target.clone());
            if known.insert(key(&path)) {
                forwards.insert(expanded.len(), recipient.path.clone());
                let params = passed_on(&recipient, is_shared(forwarding));
                expanded.push(Recipient { path, params });
            }
        }
        // One that adds nobody has nothing to tell of: whom it leads to are recipients already.
        if keeps && (!forwarding.mailboxes.is_empty() || forwards.has(&recipient.path)) {
            expanded.push(recipient);
        }
    }
    if !forwards.is_empty() {
        forwards.set_sender(directory.rewritten(&reverse_path));
    }
    let envelope = Envelope { reverse_path, params, recipients: expanded };
    Submission { forwards, ..Submission::new(envelope, origin) }
}

/// Whether an alias is a recipient still: for its mailboxes here, or because its sender wants to hear of success, which is
/// then that it was expanded (RFC 3461 section 5.2.7.3).
fn keeps_address(recipient: &Recipient, forwarding: &Forwarding) -> bool {
    let asks_for_success = matches!(recipient.params.notify, Some(Notify::On { success: true, .. }));
    !forwarding.mailboxes.is_empty() || (asks_for_success && is_shared(forwarding))
}

/// Whether more than one gets what is sent to it.
fn is_shared(forwarding: &Forwarding) -> bool {
    forwarding.targets.len().saturating_add(usize::from(!forwarding.mailboxes.is_empty())) > 1
}

/// What a target's server is asked to tell the sender. An alias with one end is a hop like another (RFC 3461 section
/// 5.2.7.2); of one with several, success would be told for each of them, so we have told it ourselves (section 5.2.7.3).
/// The address that the sender knows goes along, unless somebody before us has named it already (section 5.2.1).
fn passed_on(recipient: &Recipient, is_shared: bool) -> RcptParams {
    let RcptParams { notify, orcpt } = recipient.params.clone();
    let notify = match notify {
        Some(Notify::On { success: true, failure: false, delay: false }) if is_shared => Some(Notify::Never),
        Some(Notify::On { failure, delay, .. }) if is_shared => {
            Some(Notify::On { success: false, failure, delay })
        }
        notify => notify,
    };
    RcptParams { notify, orcpt: orcpt.or_else(|| original(&recipient.path)) }
}

fn original(path: &ForwardPath) -> Option<OriginalRecipient> {
    let ForwardPath::Mailbox(mailbox) = path else { return None };
    let address = mailbox.to_string();
    let kind = if address.is_ascii() { "rfc822" } else { "utf-8" };
    // What stands for itself in an address of that type must not be read as an escape (RFC 6533 section 3).
    let is_plain = address.is_ascii() || !address.contains(['\\', '+', '=']);
    is_plain.then(|| OriginalRecipient { kind: kind.to_owned(), address })
}

/// Two recipients with the same are the same.
fn key(path: &ForwardPath) -> String {
    match path {
        ForwardPath::Postmaster => String::new(),
        ForwardPath::Mailbox(mailbox) => mailbox_key(mailbox),
    }
}

fn mailbox_key(mailbox: &Mailbox) -> String {
    let domain = match mailbox.domain() {
        Domain::Name(name) => idna::domain_to_ascii(name).unwrap_or_else(|_| name.to_lowercase()),
        address @ Domain::Address(_) => address.to_string(),
    };
    format!("{}@{domain}", mailbox.local_part())
}

#[cfg(test)]
mod tests;
