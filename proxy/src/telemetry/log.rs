//! Log lines: on standard error, as text or as JSON, one event a line.
//!
//! The fields `session` and `queue_id` tie the lines of a session and of a mail together. Text of a peer is only ever
//! logged through its `Debug` form, which escapes control characters.

use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer as _, Registry, fmt, reload};

use crate::config::{Log, LogFormat, LogLevel};

/// Changes the level while the server runs.
#[derive(Debug, Clone)]
pub struct LogHandle {
    filter: reload::Handle<Targets, Registry>,
    format: LogFormat,
}

/// Logging starts here, once a process.
///
/// # Errors
/// It has been started before.
pub fn start(log: Log) -> Result<LogHandle, TryInitError> {
    let (filter, handle) = reload::Layer::new(targets(log.level));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).try_init()?;
    log_panics();
    Ok(LogHandle { filter: handle, format: log.format })
}

// === impl LogHandle ===

impl LogHandle {
    /// Takes another level. The format stays until a restart; a change of it is logged as such.
    pub fn reload(&self, log: Log) {
        if log.format != self.format {
            tracing::warn!("a new log format needs a restart; the old one stays");
        }
        if let Err(error) = self.filter.reload(targets(log.level)) {
            tracing::error!(%error, "the log level could not be changed");
        }
    }
}

/// Our own crates at the given level, others only when something is wrong: their finer levels show what peers send.
fn targets(level: LogLevel) -> Targets {
    let ours = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    Targets::new()
        .with_target("gatepost", ours)
        .with_target("gatepost_core", ours)
        .with_target("gatepost_smtp", ours)
        .with_default(ours.min(LevelFilter::ERROR))
}

/// A panic is a bug that has to reach the log with its place, in the format of the log. Its text is left out: it may
/// hold what a peer sent.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        tracing::error!(
            place,
            thread = thread.name().unwrap_or_default(),
            "internal error: a thread panicked"
        );
    }));
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn finer_levels_open_our_own_crates_only() {
        let targets = targets(LogLevel::Debug);
        assert!(targets.would_enable("gatepost::connection", &Level::DEBUG));
        assert!(targets.would_enable("gatepost_core::queue", &Level::DEBUG));
        assert!(!targets.would_enable("rustls::conn", &Level::DEBUG));
        assert!(targets.would_enable("rustls::conn", &Level::ERROR));
    }
}
