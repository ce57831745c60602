//! What the keys mean together, in the order of the file. A section with rules of its own has a file of its own.

use std::collections::HashSet;
use std::ops::Range;
use std::path::PathBuf;

use gatepost_core::delivery::{Retries, Schedules};
use toml::Spanned;

use super::database::databases;
use super::engines::engines;
use super::file::{self, File};
use super::listener::{check_backends, check_scram, listeners};
use super::listener_scan::check_listener_scans;
use super::pass_through;
use super::problem::Finding;
use super::{Admin, Badmail, Config, DkimKey, Limits, Log, Queue, Scan, TlsFiles};
use crate::config::values::{Hostname, Octets};

/// Reads and checks a text.
pub(super) fn parse(text: &str) -> Result<Config, Vec<Finding>> {
    let file: File = toml::from_str(text).map_err(|error| vec![Finding::of_toml(&error)])?;
    let mut findings = Vec::new();
    let mut remote = file.delivery.remote.check(file.route, &mut findings);
    let relay_span = file.relay.as_ref().map(Spanned::span);
    let relay = file.relay.map(|relay| relay.into_inner().check(remote.as_mut(), &mut findings));
    let relayed = relay.as_ref().map_or(&[][..], |relay| &relay.domains);
    let srs = file.srs.and_then(|srs| srs.check(remote.is_some(), relayed, &mut findings));
    check_backends(&file.listener, relay_span, &mut findings);
    let pass_through = pass_through::check(&file.listener, file.pass_through, file.upstream, &mut findings);
    let config = Config {
        hostname: file.server.hostname.unwrap_or_else(Hostname::of_this_machine),
        data: file.server.data,
        user: file.server.user,
        sandbox: file.server.sandbox.unwrap_or_default(),
        listeners: listeners(&file.listener, &mut findings),
        tls: file
            .tls
            .map(Spanned::into_inner)
            .map(|tls| TlsFiles { certificate: tls.certificate, key: tls.key }),
        scram: file.auth.scram.unwrap_or(true),
        limits: limits(&file.limits, &mut findings),
        dns: file.dns,
        dnsbl: file.dnsbl,
        admission: file.admission,
        quirks: file.quirk,
        queue: queue(&file.queue, &mut findings),
        databases: databases(file.database, &file.scan.of_databases(), &mut findings),
        scan: scan(file.scan, &mut findings),
        schedules: Schedules {
            local: file.delivery.local.check(Retries::MODERN_LOCAL, &mut findings),
            outbound: file.delivery.outbound.check(Retries::MODERN_OUTBOUND, &mut findings),
        },
        remote,
        relay,
        pass_through,
        srs,
        dkim: dkim(file.dkim, &mut findings),
        pickup: file.pickup.and_then(|pickup| self::pickup(pickup, &mut findings)),
        badmail: badmail(&file.badmail, &mut findings),
        quarantine: file.quarantine.check(&mut findings),
        admin: file.admin.and_then(|admin| self::admin(admin, &mut findings)),
        log: Log { format: file.log.format.unwrap_or_default(), level: file.log.level.unwrap_or_default() },
    };
    check_scram(&file.listener, config.scram, &mut findings);
    check_listener_scans(&file.listener, &config.scan, &mut findings);
    if findings.is_empty() { Ok(config) } else { Err(findings) }
}

fn limits(written: &file::Limits, findings: &mut Vec<Finding>) -> Limits {
    let default = Limits::default();
    if let Some(message) = &written.message
        && !(MESSAGE_MIN..=MESSAGE_MAX).contains(message.get_ref())
    {
        findings
            .push(Finding::at(message.span(), format!("must lie between {MESSAGE_MIN} and {MESSAGE_MAX}")));
    }
    let message = written.message.as_ref().map_or(default.message, |message| *message.get_ref());
    if let Some(bypass) = &written.message_bypass
        && !(message..=MESSAGE_MAX).contains(bypass.get_ref())
    {
        findings.push(Finding::at(
            bypass.span(),
            format!("must lie between `message`, which is {message}, and {MESSAGE_MAX}"),
        ));
    }
    if let Some(octets) = &written.session_octets
        && *octets.get_ref() < MESSAGE_MIN
    {
        findings.push(Finding::at(octets.span(), format!("must be at least {MESSAGE_MIN}")));
    }
    if let Some(memory) = &written.memory
        && *memory.get_ref() < MEMORY_MIN
    {
        findings.push(Finding::at(memory.span(), format!("must be at least {MEMORY_MIN}")));
    }
    let memory = written.memory.as_ref().map_or(default.memory, |memory| *memory.get_ref());
    if let Some(bodies) = &written.body_memory
        && !(BODY_MEMORY_MIN..=memory.half()).contains(bodies.get_ref())
    {
        let most = memory.half();
        findings.push(
            Finding::at(bodies.span(), format!("must lie between {BODY_MEMORY_MIN} and {most}"))
                .hint("bodies get at most half of `memory`"),
        );
    }
    // By default a quarter: a thousand bodies of the largest size that is kept in memory.
    let bodies = written.body_memory.as_ref().map_or(memory.half().half(), |bodies| *bodies.get_ref());
    let recipients = at_least(written.recipients.as_ref(), RECIPIENTS_MIN, "recipients", findings);
    Limits {
        message,
        message_bypass: written.message_bypass.as_ref().map_or(default.message_bypass, |it| *it.get_ref()),
        recipients: recipients.unwrap_or(default.recipients),
        transactions: at_least(written.transactions.as_ref(), 1, "transactions", findings),
        commands: at_least(written.commands.as_ref(), COMMANDS_MIN, "commands", findings),
        errors: at_least(written.errors.as_ref(), 1, "errors", findings),
        command_timeout: written.command_timeout,
        data_idle_timeout: written.data_idle_timeout,
        data_total_timeout: written.data_total_timeout,
        session_timeout: written.session_timeout,
        session_octets: written.session_octets.as_ref().map(|octets| *octets.get_ref()),
        data_rate: written.data_rate,
        memory,
        body_memory: bodies,
        drain_timeout: written.drain_timeout.unwrap_or(default.drain_timeout),
    }
}

fn queue(written: &file::Queue, findings: &mut Vec<Finding>) -> Queue {
    let default = Queue::default();
    for octets in [&written.user_octets, &written.domain_octets].into_iter().flatten() {
        if *octets.get_ref() < MESSAGE_MIN {
            findings.push(Finding::at(octets.span(), format!("must be at least {MESSAGE_MIN}")));
        }
    }
    let octets = |written: &Option<Spanned<Octets>>| written.as_ref().map(|octets| *octets.get_ref());
    Queue {
        free_space: written.free_space.unwrap_or(default.free_space),
        free_files: written.free_files.unwrap_or(default.free_files),
        user_messages: at_least(written.user_messages.as_ref(), 1, "user_messages", findings),
        user_octets: octets(&written.user_octets),
        domain_messages: at_least(written.domain_messages.as_ref(), 1, "domain_messages", findings),
        domain_octets: octets(&written.domain_octets),
    }
}

fn scan(written: file::Scan, findings: &mut Vec<Finding>) -> Scan {
    let default = Scan::default();
    let rules_span = written.rules.as_ref().map(Spanned::span);
    let infected = written.of_databases().actions.in_queue();
    let warnings_per_hour = written.warnings.per_hour();
    Scan {
        engines: engines(written.engine, rules_span, findings),
        policy: written.policy.into(),
        rules: written.rules.map(Spanned::into_inner),
        in_session: written.in_session.unwrap_or(default.in_session),
        session_budget: written.session_budget.unwrap_or(default.session_budget),
        reader_budget: written.reader_budget.unwrap_or(default.reader_budget),
        threads: written.threads,
        unscannable: written.unscannable,
        infected,
        warnings: written.warnings.check(findings),
        warnings_per_hour,
        background: written.background.into(),
        refuse_infected: written.refuse_infected.unwrap_or(default.refuse_infected),
    }
}

/// A relative name would mean another folder by where the server is started.
fn pickup(written: file::Pickup, findings: &mut Vec<Finding>) -> Option<PathBuf> {
    let file::Pickup { folder } = written;
    if !folder.get_ref().is_absolute() {
        findings.push(
            Finding::at(folder.span(), "the pickup folder must be named from the root on")
                .hint("folder = \"/var/spool/gatepost/pickup\""),
        );
        return None;
    }
    Some(folder.into_inner())
}

fn badmail(written: &file::Badmail, findings: &mut Vec<Finding>) -> Badmail {
    let default = Badmail::default();
    if let Some(octets) = &written.octets
        && *octets.get_ref() < BADMAIL_MIN
    {
        findings.push(Finding::at(octets.span(), format!("must be at least {BADMAIL_MIN}")));
    }
    Badmail {
        messages: at_least(written.messages.as_ref(), 1, "messages", findings).unwrap_or(default.messages),
        octets: written.octets.as_ref().map_or(default.octets, |octets| *octets.get_ref()),
        days: at_least(written.days.as_ref(), 1, "days", findings).unwrap_or(default.days),
    }
}

fn dkim(written: Vec<Spanned<DkimKey>>, findings: &mut Vec<Finding>) -> Vec<DkimKey> {
    let mut names = HashSet::new();
    for key in &written {
        let DkimKey { domain, selector, .. } = key.get_ref();
        if !names.insert((domain.as_str().to_ascii_lowercase(), selector.selector().to_string())) {
            findings.push(Finding::at(key.span(), "two keys of this domain have this selector"));
        }
    }
    written.into_iter().map(Spanned::into_inner).collect()
}

/// Outside loopback the metrics tell strangers who is served and how well: TLS and a credential are a must.
fn admin(written: Spanned<file::Admin>, findings: &mut Vec<Finding>) -> Option<Admin> {
    let span: Range<usize> = written.span();
    let file::Admin { address, tls, credential } = written.into_inner();
    match (tls, credential) {
        (true, Some(credential)) => Some(Admin::Tls { address, credential }),
        (false, credential) if address.ip().is_loopback() => Some(Admin::Loopback { address, credential }),
        (true, None) if address.ip().is_loopback() => {
            findings.push(
                Finding::at(span, "TLS without a credential protects nothing on loopback")
                    .hint("add credential = \"FILE\" with a token of your choice, or leave tls out"),
            );
            None
        }
        (_, _) => {
            findings.push(
                Finding::at(span, "an admin address outside loopback needs tls = true and a credential")
                    .hint("credential = \"FILE\" names a file, mode 0600, with a token of your choice"),
            );
            None
        }
    }
}

pub(super) fn at_least(
    value: Option<&Spanned<u32>>,
    least: u32,
    key: &str,
    findings: &mut Vec<Finding>,
) -> Option<u32> {
    let value = value?;
    if *value.get_ref() < least {
        findings.push(Finding::at(value.span(), format!("`{key}` must be at least {least}")));
    }
    Some(*value.get_ref())
}

/// RFC 5321 section 4.5.3.1.7: 64K octets must be accepted.
const MESSAGE_MIN: Octets = Octets::mebi(1);
/// A single mail of the default largest size may take 100 MiB while it is scanned.
const MEMORY_MIN: Octets = Octets::mebi(256);
/// Below, hardly any body would be in memory at all.
const BODY_MEMORY_MIN: Octets = Octets::mebi(8);
/// Above, a single mail could fill the disks that Gatepost is made for.
const MESSAGE_MAX: Octets = Octets::mebi(1024);
/// Below, most mails would be cut.
const BADMAIL_MIN: Octets = Octets::mebi(1);
/// RFC 5321 section 4.5.3.1.8.
const RECIPIENTS_MIN: u32 = 100;
/// EHLO, STARTTLS, EHLO, AUTH, MAIL, 100 RCPT, DATA, QUIT fit.
const COMMANDS_MIN: u32 = 128;
