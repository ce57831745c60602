//! `[[scan.engine]]` with `type = "command"`: a program that scans an item on its standard input.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::problem::Finding;
use super::values::{Octets, TimeSpan};

/// A program that is run for each item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandEngine {
    /// The program, from the root on, and its arguments.
    pub command: Vec<String>,
    /// Exit codes that say that nothing was found.
    pub clean: Vec<u8>,
    /// Exit codes that say that something was found. All others are failures.
    pub infected: Vec<u8>,
    /// What tells the version of its signatures.
    pub version: CommandVersion,
    /// What it may read and run besides the programs of the system.
    pub folders: Vec<PathBuf>,
    /// How long one item may take.
    pub timeout: TimeSpan,
    /// The longest pause before the helper is asked again.
    pub retry_delay: TimeSpan,
    /// The largest item that it is given; without one as large as a mail may be.
    pub item_max: Option<Octets>,
    /// Of address space, for each of its processes.
    pub memory: Octets,
    /// Items at a time.
    pub processes: u8,
}

/// What tells the version of a command's signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandVersion {
    /// What another command, run in the same way, writes first.
    Command(Vec<String>),
    /// The contents of these files and folders, and of the program.
    Files(Vec<PathBuf>),
}

/// The keys of such an engine, as they are written among those of the others.
#[derive(Debug, Default)]
pub(super) struct WrittenCommand {
    pub(super) command: Option<Spanned<Vec<String>>>,
    pub(super) clean: Option<Spanned<Vec<u8>>>,
    pub(super) infected: Option<Spanned<Vec<u8>>>,
    pub(super) version_command: Option<Spanned<Vec<String>>>,
    pub(super) version_files: Option<Spanned<Vec<PathBuf>>>,
    pub(super) folders: Option<Spanned<Vec<PathBuf>>>,
    pub(super) item_max: Option<Spanned<Octets>>,
    pub(super) memory: Option<Spanned<Octets>>,
    pub(super) processes: Option<Spanned<u8>>,
}

// === impl WrittenCommand ===

impl WrittenCommand {
    /// For other engines: none of this is a setting of theirs.
    pub(super) fn refuse(&self, findings: &mut Vec<Finding>) {
        let keys = [
            ("command", self.command.as_ref().map(Spanned::span)),
            ("clean", self.clean.as_ref().map(Spanned::span)),
            ("infected", self.infected.as_ref().map(Spanned::span)),
            ("version_command", self.version_command.as_ref().map(Spanned::span)),
            ("version_files", self.version_files.as_ref().map(Spanned::span)),
            ("folders", self.folders.as_ref().map(Spanned::span)),
            ("item_max", self.item_max.as_ref().map(Spanned::span)),
            ("memory", self.memory.as_ref().map(Spanned::span)),
            ("processes", self.processes.as_ref().map(Spanned::span)),
        ];
        for (key, span) in keys.into_iter().filter_map(|(key, span)| Some((key, span?))) {
            findings
                .push(Finding::at(span, format!("`{key}` is a setting of engines of the type \"command\"")));
        }
    }

    /// `engine` is where the engine is written.
    pub(super) fn check(
        self,
        engine: Range<usize>,
        timeout: TimeSpan,
        retry_delay: TimeSpan,
        findings: &mut Vec<Finding>,
    ) -> Option<CommandEngine> {
        let (clean, infected) = self.codes(findings);
        let version = self.version(findings);
        let folders = paths(self.folders, findings);
        let memory = self.memory.as_ref().map_or(MEMORY_DEFAULT, |it| *it.get_ref());
        if let Some(written) = self.memory.filter(|_| memory < MEMORY_MIN) {
            findings.push(Finding::at(written.span(), "too little for any program: at least 64 MiB"));
        }
        let processes = self.processes.as_ref().map_or(PROCESSES_DEFAULT, |it| *it.get_ref());
        if let Some(written) = self.processes.filter(|_| !(1..=PROCESSES_MAX).contains(&processes)) {
            findings.push(Finding::at(written.span(), format!("from 1 to {PROCESSES_MAX} items at a time")));
        }
        let Some(command) = self.command else {
            findings.push(
                Finding::at(engine, "which program scans?")
                    .hint("command = [\"/usr/bin/clamscan\", \"--no-summary\", \"-\"]"),
            );
            return None;
        };
        let command = program(command, findings);
        let item_max = self.item_max.map(Spanned::into_inner);
        Some(CommandEngine {
            command,
            clean,
            infected,
            version,
            folders,
            timeout,
            retry_delay,
            item_max,
            memory,
            processes,
        })
    }

    fn codes(&self, findings: &mut Vec<Finding>) -> (Vec<u8>, Vec<u8>) {
        let codes = |written: &Option<Spanned<Vec<u8>>>, default: u8| {
            written.as_ref().map_or_else(|| vec![default], |it| it.get_ref().clone())
        };
        let (clean, infected) = (codes(&self.clean, 0), codes(&self.infected, 1));
        let span = self.infected.as_ref().or(self.clean.as_ref()).map(Spanned::span);
        if let Some(span) = span {
            if clean.is_empty() || infected.is_empty() {
                findings.push(Finding::at(span.clone(), "which exit codes say clean, and which infected?"));
            }
            if let Some(both) = clean.iter().find(|code| infected.contains(code)) {
                findings
                    .push(Finding::at(span, format!("exit code {both} cannot say both clean and infected")));
            }
        }
        (clean, infected)
    }

    fn version(&self, findings: &mut Vec<Finding>) -> CommandVersion {
        match (&self.version_command, &self.version_files) {
            (Some(command), files) => {
                if let Some(files) = files {
                    findings.push(Finding::at(files.span(), "either `version_command` or `version_files`"));
                }
                CommandVersion::Command(program(command.clone(), findings))
            }
            (None, files) => CommandVersion::Files(paths(files.clone(), findings)),
        }
    }
}

fn program(written: Spanned<Vec<String>>, findings: &mut Vec<Finding>) -> Vec<String> {
    let span = written.span();
    let words = written.into_inner();
    if !words.first().is_some_and(|program| Path::new(program).is_absolute()) {
        findings.push(
            Finding::at(span, "the path of a program is written from the root on")
                .hint("a list: [\"/usr/bin/scanner\", \"--argument\"]; no shell is between"),
        );
    } else if words.iter().any(|word| word.contains('\0')) {
        findings.push(Finding::at(span, "no argument can hold a NUL"));
    }
    words
}

fn paths(written: Option<Spanned<Vec<PathBuf>>>, findings: &mut Vec<Finding>) -> Vec<PathBuf> {
    let Some(written) = written else { return Vec::new() };
    let span = written.span();
    let paths = written.into_inner();
    if paths.iter().any(|path| !path.is_absolute() || path.parent().is_none()) {
        findings.push(Finding::at(span, "paths are written from the root on, and are not the root"));
    }
    paths
}

/// What signatures of the usual size take, with room.
const MEMORY_DEFAULT: Octets = Octets::mebi(4_096);
/// Below it not even this program would start.
const MEMORY_MIN: Octets = Octets::mebi(64);
/// Each may load all its signatures anew.
const PROCESSES_DEFAULT: u8 = 2;
/// As many sessions as are kept with any engine.
const PROCESSES_MAX: u8 = 16;

#[cfg(test)]
mod tests {
    use super::super::{Config, EngineKind};
    use super::*;

    fn parse(engine: &str) -> Result<CommandEngine, String> {
        let listener = "[[listener]]\nname = \"a\"\nprotocol = \"smtp\"\naddress = \"127.0.0.1:0\"\ntls = \"starttls\"\n";
        let text = format!("{listener}[[scan.engine]]\ntype = \"command\"\n{engine}");
        let config = Config::parse(Path::new("g.toml"), &text).map_err(|problems| problems.to_string())?;
        match config.scan.engines.into_iter().next().unwrap().kind {
            EngineKind::Command(command) => Ok(command),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_left_out_has_a_careful_default() {
        let command = parse("command = [\"/usr/bin/scan\", \"-\"]\n").unwrap();
        assert_eq!(command.command, ["/usr/bin/scan", "-"]);
        assert_eq!((command.clean, command.infected), (vec![0], vec![1]));
        assert_eq!(command.version, CommandVersion::Files(Vec::new()));
        assert_eq!((command.processes, command.memory), (2, MEMORY_DEFAULT));
        assert!(command.folders.is_empty() && command.item_max.is_none());
    }

    #[test]
    fn commands_that_cannot_work_are_refused() {
        let good = "command = [\"/usr/bin/scan\"]\n";
        for (text, why) in [
            (String::new(), "which program scans"),
            ("command = []\n".to_owned(), "from the root on"),
            ("command = [\"scan\"]\n".to_owned(), "no shell is between"),
            ("command = [\"/scan\", \"a\\u0000b\"]\n".to_owned(), "NUL"),
            (format!("{good}clean = []\n"), "which exit codes"),
            (format!("{good}infected = [0, 1]\n"), "exit code 0 cannot say both"),
            (format!("{good}clean = [256]\n"), "256"),
            (format!("{good}version_command = [\"scan\"]\n"), "from the root on"),
            (format!("{good}version_command = [\"/scan\"]\nversion_files = [\"/x\"]\n"), "either"),
            (format!("{good}version_files = [\"x\"]\n"), "paths are written"),
            (format!("{good}folders = [\"/\"]\n"), "are not the root"),
            (format!("{good}memory = \"1 MiB\"\n"), "at least 64 MiB"),
            (format!("{good}processes = 0\n"), "from 1 to 16"),
            (format!("{good}socket = \"/run/c\"\n"), "no setting of a command"),
            (format!("{good}service = \"x\"\n"), "a setting of ICAP engines"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
