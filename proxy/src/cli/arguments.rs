//! What several commands are told alike.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gatepost_core::queue::QueueId;
use gatepost_smtp::wire::path::Mailbox;

use super::{Exit, Failure};

/// How the result is printed.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Form {
    /// For scripts.
    #[arg(long)]
    pub(super) json: bool,
}

/// As the 250 reply has it, or as somebody has read it from paper.
pub(super) fn parse_id(text: &str) -> Result<QueueId, Failure> {
    text.parse().map_err(|_| Failure::new(Exit::Usage, format!("not a queue id: {text:?}")))
}

pub(super) fn sender(text: &str) -> Result<String, Failure> {
    if matches!(text, "" | "<>") { Ok(String::new()) } else { address(text) }
}

/// `postmaster` may stand alone (RFC 5321 section 4.1.1.3).
pub(super) fn recipient(text: &str) -> Result<String, Failure> {
    if without_brackets(text).eq_ignore_ascii_case("postmaster") {
        return Ok("postmaster".to_owned());
    }
    address(text)
}

/// A slip here would match nothing, which looks like an empty queue.
fn address(text: &str) -> Result<String, Failure> {
    let inner = without_brackets(text);
    match inner.parse::<Mailbox>() {
        Ok(mailbox) => Ok(mailbox.to_string()),
        Err(_) => Err(Failure::new(Exit::Usage, format!("not an address: {text:?}"))),
    }
}

pub(super) fn domain(text: &str) -> Result<String, Failure> {
    let is_one = format!("x@{text}").parse::<Mailbox>().is_ok();
    if is_one {
        Ok(text.to_owned())
    } else {
        Err(Failure::new(Exit::Usage, format!("not a domain: {text:?}")))
    }
}

fn without_brackets(text: &str) -> &str {
    text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text)
}

/// A day has 24 hours here.
pub(super) fn age(text: &str) -> Result<Duration, String> {
    let wrong = || "such as 30m, 12h or 3d".to_owned();
    let span: jiff::Span = text.parse().map_err(|_| wrong())?;
    let signed = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(signed).map_err(|_| wrong())
}

pub(super) fn before(now: SystemTime, age: Duration) -> u64 {
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.saturating_sub(age).as_millis()).unwrap_or(u64::MAX)
}
