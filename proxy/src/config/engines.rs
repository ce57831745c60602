//! `[[scan.engine]]`: who looks at mail.

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;

use gatepost_core::scan::EnginePolicy;
use gatepost_core::scan::engines::Address;
use serde::Deserialize;
use toml::Spanned;

use super::command::{CommandEngine, WrittenCommand};
use super::problem::Finding;
use super::values::{Octets, TimeSpan, is_plain_name};

/// One scan engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanEngine {
    /// Its name in stamps, metrics and logs; no two have the same.
    pub name: EngineName,
    /// What it is.
    pub kind: EngineKind,
}

/// What kind of engine, with the settings that make sense for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineKind {
    /// The embedded one.
    Yara,
    /// Clam AntiVirus.
    Clamd(Outside),
    /// A scanner behind ICAP.
    Icap {
        /// How it is reached.
        outside: Outside,
        /// The path of its service, without a slash in front.
        service: String,
    },
    /// A program.
    Command(CommandEngine),
}

/// How an engine outside this process is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outside {
    /// Where it listens.
    pub address: Address,
    /// How long one item may take.
    pub timeout: TimeSpan,
    /// The longest pause before it is tried again.
    pub retry_delay: TimeSpan,
}

/// The name of an engine: a part of stamps and a metric label, so short and plain.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct EngineName(String);

/// A text that is no name of an engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a name for a scan engine (1 to {NAME_MAX} of a-z, 0-9 and -): {0:?}")]
pub struct InvalidEngineName(String);

/// `[[scan.engine]]`, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenEngine {
    #[serde(rename = "type")]
    kind: Spanned<WrittenKind>,
    name: Option<Spanned<EngineName>>,
    socket: Option<Spanned<PathBuf>>,
    address: Option<Spanned<SocketAddr>>,
    timeout: Option<Spanned<TimeSpan>>,
    retry_delay: Option<Spanned<TimeSpan>>,
    service: Option<Spanned<String>>,
    command: Option<Spanned<Vec<String>>>,
    clean: Option<Spanned<Vec<u8>>>,
    infected: Option<Spanned<Vec<u8>>>,
    version_command: Option<Spanned<Vec<String>>>,
    version_files: Option<Spanned<Vec<PathBuf>>>,
    folders: Option<Spanned<Vec<PathBuf>>>,
    item_max: Option<Spanned<Octets>>,
    memory: Option<Spanned<Octets>>,
    processes: Option<Spanned<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WrittenKind {
    Yara,
    Clamd,
    Icap,
    Command,
}

/// `[scan] policy`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum WrittenPolicy {
    #[default]
    Any,
    All,
    First,
}

/// The engines in their order; without one written, the embedded one.
pub(super) fn engines(
    written: Vec<WrittenEngine>,
    rules: Option<Range<usize>>,
    findings: &mut Vec<Finding>,
) -> Vec<ScanEngine> {
    if written.is_empty() {
        return ScanEngine::default_engines();
    }
    let mut names = HashSet::new();
    let mut engines = Vec::new();
    for engine in written {
        let span = engine.name.as_ref().map_or_else(|| engine.kind.span(), Spanned::span);
        let Some(engine) = engine.check(findings) else { continue };
        if !names.insert(engine.name.clone()) {
            findings.push(
                Finding::at(span, format!("two engines are named {}", engine.name))
                    .hint("name = \"...\" tells engines of one type apart"),
            );
        }
        engines.push(engine);
    }
    if let Some(rules) = rules.filter(|_| engines.iter().all(|engine| engine.kind != EngineKind::Yara)) {
        findings.push(
            Finding::at(rules, "no engine uses these rules")
                .hint("add a [[scan.engine]] with type = \"yara\", or remove `rules`"),
        );
    }
    engines
}

// === impl ScanEngine ===

impl ScanEngine {
    pub(super) fn default_engines() -> Vec<Self> {
        vec![Self { name: EngineName("yara".to_owned()), kind: EngineKind::Yara }]
    }
}

// === impl WrittenEngine ===

impl WrittenEngine {
    fn check(mut self, findings: &mut Vec<Finding>) -> Option<ScanEngine> {
        let command = self.take_command();
        if *self.kind.get_ref() != WrittenKind::Command {
            command.refuse(findings);
        }
        let kind = match self.kind.get_ref() {
            WrittenKind::Yara => {
                self.refuse_outside_keys(findings);
                EngineKind::Yara
            }
            WrittenKind::Command => {
                self.refuse_service(findings);
                self.refuse_place(findings);
                let (timeout, retry_delay) = self.times();
                EngineKind::Command(command.check(self.kind.span(), timeout, retry_delay, findings)?)
            }
            WrittenKind::Clamd => {
                self.refuse_service(findings);
                EngineKind::Clamd(self.outside("socket = \"/run/clamav/clamd.ctl\"", findings)?)
            }
            WrittenKind::Icap => EngineKind::Icap {
                outside: self.outside("address = \"127.0.0.1:1344\"", findings)?,
                service: self.service(findings)?,
            },
        };
        let default = match kind {
            EngineKind::Yara => "yara",
            EngineKind::Clamd(_) => "clamd",
            EngineKind::Icap { .. } => "icap",
            EngineKind::Command(_) => "command",
        };
        let name = self.name.map_or_else(|| EngineName(default.to_owned()), Spanned::into_inner);
        Some(ScanEngine { name, kind })
    }

    /// The embedded engine is in this process, and there is one of it.
    fn refuse_outside_keys(&self, findings: &mut Vec<Finding>) {
        let keys = [
            ("name", self.name.as_ref().map(Spanned::span)),
            ("socket", self.socket.as_ref().map(Spanned::span)),
            ("address", self.address.as_ref().map(Spanned::span)),
            ("timeout", self.timeout.as_ref().map(Spanned::span)),
            ("retry_delay", self.retry_delay.as_ref().map(Spanned::span)),
            ("service", self.service.as_ref().map(Spanned::span)),
        ];
        for (key, span) in keys.into_iter().filter_map(|(key, span)| Some((key, span?))) {
            findings.push(Finding::at(span, format!("`{key}` is no setting of the embedded engine")));
        }
    }

    fn outside(&self, example: &str, findings: &mut Vec<Finding>) -> Option<Outside> {
        let (timeout, retry_delay) = self.times();
        Some(Outside { address: self.address(example, findings)?, timeout, retry_delay })
    }

    /// For one item, and before it is tried again.
    fn times(&self) -> (TimeSpan, TimeSpan) {
        let timeout = self.timeout.as_ref().map_or(TIMEOUT_DEFAULT, |it| *it.get_ref());
        (timeout, self.retry_delay.as_ref().map_or(RETRY_DELAY_DEFAULT, |it| *it.get_ref()))
    }

    fn take_command(&mut self) -> WrittenCommand {
        WrittenCommand {
            command: self.command.take(),
            clean: self.clean.take(),
            infected: self.infected.take(),
            version_command: self.version_command.take(),
            version_files: self.version_files.take(),
            folders: self.folders.take(),
            item_max: self.item_max.take(),
            memory: self.memory.take(),
            processes: self.processes.take(),
        }
    }

    fn refuse_service(&self, findings: &mut Vec<Finding>) {
        if let Some(service) = &self.service {
            findings.push(Finding::at(service.span(), "`service` is a setting of ICAP engines"));
        }
    }

    /// A program is started, not reached.
    fn refuse_place(&self, findings: &mut Vec<Finding>) {
        let keys = [
            ("socket", self.socket.as_ref().map(Spanned::span)),
            ("address", self.address.as_ref().map(Spanned::span)),
        ];
        for (key, span) in keys.into_iter().filter_map(|(key, span)| Some((key, span?))) {
            findings.push(Finding::at(span, format!("`{key}` is no setting of a command")));
        }
    }

    /// A part of a URI: nothing that could end it, or a line.
    fn service(&self, findings: &mut Vec<Finding>) -> Option<String> {
        let Some(service) = &self.service else {
            findings.push(
                Finding::at(self.kind.span(), "which service of this server scans?")
                    .hint("service = \"avscan\", as the server calls it"),
            );
            return None;
        };
        let text = service.get_ref();
        let is_path = text.bytes().all(|octet| octet.is_ascii_graphic()) && !text.starts_with('/');
        if !is_path || !(1..=SERVICE_MAX).contains(&text.len()) {
            findings.push(
                Finding::at(service.span(), "not the path of a service")
                    .hint("what stands behind icap://HOST/, such as avscan"),
            );
        }
        Some(text.clone())
    }

    fn address(&self, example: &str, findings: &mut Vec<Finding>) -> Option<Address> {
        match (&self.socket, &self.address) {
            (Some(socket), None) => {
                let path = socket.get_ref();
                if !path.is_absolute() || path.as_os_str().len() > SOCKET_PATH_MAX {
                    findings.push(Finding::at(
                        socket.span(),
                        format!(
                            "the path of a socket is written from the root on, in {SOCKET_PATH_MAX} octets"
                        ),
                    ));
                }
                Some(Address::Unix(path.clone()))
            }
            (None, Some(address)) => Some(Address::Tcp(*address.get_ref())),
            (Some(_), Some(address)) => {
                findings.push(Finding::at(address.span(), "either `socket` or `address`"));
                None
            }
            (None, None) => {
                findings.push(Finding::at(self.kind.span(), "where does this engine listen?").hint(example));
                None
            }
        }
    }
}

// === impl WrittenPolicy ===

impl From<WrittenPolicy> for EnginePolicy {
    fn from(written: WrittenPolicy) -> Self {
        match written {
            WrittenPolicy::Any => Self::Any,
            WrittenPolicy::All => Self::All,
            WrittenPolicy::First => Self::First,
        }
    }
}

// === impl EngineName ===

impl EngineName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for EngineName {
    type Error = InvalidEngineName;

    fn try_from(text: String) -> Result<Self, InvalidEngineName> {
        if is_plain_name(&text, NAME_MAX) { Ok(Self(text)) } else { Err(InvalidEngineName(text)) }
    }
}

impl fmt::Display for EngineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A part of every stamp.
const NAME_MAX: usize = 16;
/// A longer one is a mistake.
const SERVICE_MAX: usize = 200;
/// unix(7): 108 octets with the NUL.
const SOCKET_PATH_MAX: usize = 107;
/// What large archives take; a session waits less (`session_budget`).
const TIMEOUT_DEFAULT: TimeSpan = TimeSpan::seconds(60);
/// Mail waits meanwhile, so an engine that is back should not go unnoticed for long.
const RETRY_DELAY_DEFAULT: TimeSpan = TimeSpan::seconds(30);

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Config;
    use super::*;

    fn parse(scan: &str) -> Result<Config, String> {
        let listener = "[[listener]]\nname = \"a\"\nprotocol = \"smtp\"\naddress = \"127.0.0.1:0\"\ntls = \"starttls\"\n";
        Config::parse(Path::new("g.toml"), &format!("{listener}[scan]\n{scan}"))
            .map_err(|problems| problems.to_string())
    }

    #[test]
    fn without_a_written_engine_there_is_the_embedded_one() {
        let scan = parse("").unwrap().scan;
        assert_eq!(scan.engines, ScanEngine::default_engines());
        assert_eq!(scan.policy, EnginePolicy::Any);
    }

    #[test]
    fn engines_are_asked_in_the_order_in_which_they_are_written() {
        let text = "policy = \"first\"\n[[scan.engine]]\ntype = \"clamd\"\nsocket = \"/run/c\"\ntimeout = \"5s\"\n\
                    [[scan.engine]]\ntype = \"clamd\"\nname = \"far\"\naddress = \"192.0.2.1:3310\"\n\
                    [[scan.engine]]\ntype = \"yara\"\n";
        let scan = parse(text).unwrap().scan;
        let names: Vec<_> = scan.engines.iter().map(|engine| engine.name.as_str()).collect();
        assert_eq!((names, scan.policy), (vec!["clamd", "far", "yara"], EnginePolicy::First));
        let clamd = |address, timeout| {
            EngineKind::Clamd(Outside { address, timeout, retry_delay: RETRY_DELAY_DEFAULT })
        };
        let unix = Address::Unix("/run/c".into());
        assert_eq!(scan.engines[0].kind, clamd(unix, TimeSpan::seconds(5)));
        let tcp = Address::Tcp("192.0.2.1:3310".parse().unwrap());
        assert_eq!(scan.engines[1].kind, clamd(tcp, TIMEOUT_DEFAULT));
    }

    #[test]
    fn engines_that_cannot_work_are_refused() {
        let clamd = "[[scan.engine]]\ntype = \"clamd\"\n";
        let (socket, address) = ("socket = \"/run/c\"\n", "address = \"127.0.0.1:1\"\n");
        for (text, why) in [
            (clamd.to_owned(), "where does this engine listen"),
            (format!("{clamd}{socket}{address}"), "either `socket` or `address`"),
            (format!("{clamd}socket = \"run/c\"\n"), "from the root on"),
            (format!("{clamd}socket = \"/{}\"\n", "a".repeat(107)), "from the root on"),
            (format!("{clamd}{socket}name = \"A b\"\n"), "not a name for a scan engine"),
            (format!("{clamd}{socket}{clamd}{address}"), "two engines are named clamd"),
            (format!("{clamd}{socket}name = \"yara\"\n[[scan.engine]]\ntype = \"yara\"\n"), "two engines"),
            (format!("[[scan.engine]]\ntype = \"yara\"\n{socket}"), "no setting of the embedded engine"),
            (format!("rules = \"/r\"\n{clamd}{socket}"), "no engine uses these rules"),
            (format!("{clamd}{socket}service = \"x\"\n"), "a setting of ICAP engines"),
            (format!("[[scan.engine]]\ntype = \"icap\"\n{address}"), "which service"),
            (format!("[[scan.engine]]\ntype = \"icap\"\n{address}service = \"a b\"\n"), "not the path"),
            (format!("[[scan.engine]]\ntype = \"icap\"\n{address}service = \"/a\"\n"), "not the path"),
            (format!("{clamd}{socket}command = [\"/bin/x\"]\n"), "a setting of engines of the type"),
            ("policy = \"most\"\n".to_owned(), "unknown variant"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
