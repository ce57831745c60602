//! YARA rules: the built-in ones, and a folder of the operator's own.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use boreal::Compiler;
use boreal::compiler::{CompilerParams, generate_description};
use boreal::scanner::ScanParams;

/// Why rules cannot be used. The text names the file, and the line where there is one.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The folder or a file cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The files are too many or too large.
    #[error("{}: more than {RULE_FILES_MAX} rule files or {RULE_OCTETS_MAX} octets of rules", path.display())]
    TooMuch {
        /// The folder.
        path: PathBuf,
    },
    /// A file has a fault: `FILE:LINE:COLUMN: what`.
    #[error("{0}")]
    Faulty(String),
}

/// Compiled rules, ready to scan.
#[derive(Debug)]
pub(super) struct CompiledRules {
    pub(super) scanner: boreal::Scanner,
    /// The first 16 hex digits of the BLAKE3 of all rule texts and file names.
    pub(super) version: String,
}

/// What a folder looked like; differs once a file in it is added, removed, renamed or written. Contents are not read for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint(blake3::Hash);

/// One file of rules.
struct RuleFile {
    /// For error messages.
    path: String,
    /// Keeps rules of the same name in different files apart.
    namespace: String,
    text: String,
}

/// Compiles the built-in rules and those of the folder, if there is one.
pub(super) fn compile(folder: Option<&Path>) -> Result<CompiledRules, RulesError> {
    let mut files: Vec<RuleFile> = BUILT_IN
        .iter()
        .map(|(name, text)| RuleFile {
            path: format!("built-in {name}"),
            namespace: (*name).to_owned(),
            text: (*text).to_owned(),
        })
        .collect();
    if let Some(folder) = folder {
        files.extend(read_folder(folder)?);
    }
    let mut compiler = Compiler::new();
    // An include could name a file that no fingerprint watches.
    compiler.set_params(CompilerParams::default().disable_includes(true));
    let mut hasher = blake3::Hasher::new();
    for file in &files {
        compiler.add_rules_str_in_namespace(&file.text, &file.namespace).map_err(|error| {
            RulesError::Faulty(generate_description(&error.to_diagnostic(), &file.path, &file.text))
        })?;
        // Hashed one by one, so that moving text from one file to the next changes the version.
        hasher.update(blake3::hash(file.namespace.as_bytes()).as_bytes());
        hasher.update(blake3::hash(file.text.as_bytes()).as_bytes());
    }
    let mut scanner = compiler.finalize();
    scanner.set_scan_params(ScanParams::default().string_max_nb_matches(STRING_MATCHES_MAX));
    let mut version = hasher.finalize().to_hex().to_string();
    version.truncate(VERSION_DIGITS);
    Ok(CompiledRules { scanner, version })
}

/// The folder's fingerprint; the same for a missing folder as for an empty one.
pub(super) fn fingerprint(folder: &Path) -> Result<Fingerprint, RulesError> {
    let mut hasher = blake3::Hasher::new();
    for path in rule_paths(folder)? {
        let facts = fs::metadata(&path).map_err(unreadable(&path))?;
        hasher.update(blake3::hash(path.as_os_str().as_encoded_bytes()).as_bytes());
        for number in [facts.ino(), facts.len()] {
            hasher.update(&number.to_le_bytes());
        }
        // The change time cannot be set back by whoever writes the file.
        for number in [facts.mtime(), facts.mtime_nsec(), facts.ctime(), facts.ctime_nsec()] {
            hasher.update(&number.to_le_bytes());
        }
    }
    Ok(Fingerprint(hasher.finalize()))
}

fn read_folder(folder: &Path) -> Result<Vec<RuleFile>, RulesError> {
    let mut octets_left = RULE_OCTETS_MAX;
    let mut files = Vec::new();
    for path in rule_paths(folder)? {
        let mut text = String::new();
        open_file(&path)
            .and_then(|file| file.take(octets_left.saturating_add(1)).read_to_string(&mut text))
            .map_err(unreadable(&path))?;
        octets_left = u64::try_from(text.len())
            .ok()
            .and_then(|octets| octets_left.checked_sub(octets))
            .ok_or_else(|| RulesError::TooMuch { path: folder.to_path_buf() })?;
        let namespace = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        files.push(RuleFile { path: path.display().to_string(), namespace, text });
    }
    Ok(files)
}

/// Opening a pipe waits for its writer, and rules would never be looked at again.
fn open_file(path: &Path) -> std::io::Result<fs::File> {
    if fs::metadata(path)?.is_file() {
        fs::File::open(path)
    } else {
        Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file"))
    }
}

/// The rule files of a folder, by name, so that the order of the rules does not depend on the file system.
fn rule_paths(folder: &Path) -> Result<Vec<PathBuf>, RulesError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(folder)(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "yar" || extension == "yara") {
            paths.push(path);
        }
        if paths.len() > RULE_FILES_MAX {
            return Err(RulesError::TooMuch { path: folder.to_path_buf() });
        }
    }
    paths.sort();
    Ok(paths)
}

fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> RulesError + use<> {
    let path = path.to_path_buf();
    |error| RulesError::Unreadable { path, error }
}

/// The rules that every build carries. Few, and each with what it may find wrongly: a site that needs more brings its own.
const BUILT_IN: [(&str, &str); 3] = [
    ("documents.yar", include_str!("rules/documents.yar")),
    ("eicar.yar", include_str!("rules/eicar.yar")),
    ("scripts.yar", include_str!("rules/scripts.yar")),
];

/// How often a folder is looked at for changes.
pub(super) const RELOAD_INTERVAL: Duration = Duration::from_secs(3);
/// The well-known public collections have some hundred files.
const RULE_FILES_MAX: usize = 2_000;
/// Larger than all of them together; compiled rules take several times their text in memory.
const RULE_OCTETS_MAX: u64 = 64 * 1024 * 1024;
/// A rule that counts a string seldom counts to a hundred; a body made of nothing but matches must not fill memory.
const STRING_MATCHES_MAX: u32 = 1_000;
/// 64 bits of the hash: enough to tell versions apart, short enough for every queue record.
const VERSION_DIGITS: usize = 16;

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn a_pipe_among_the_rules_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe.yar");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let refused = compile(Some(folder.path())).unwrap_err().to_string();
        assert!(refused.ends_with("pipe.yar: not a regular file"), "{refused}");
    }
}
