//! The file of what the operator has overruled.

use serde::{Deserialize, Serialize};

use super::files::read_whole;
use super::{Disk, Folder, Path, Ruling, io};

/// One line of reasons: the file is for people too.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// BLAKE3 of the message's body, in hexadecimal digits.
    content: String,
    threat: String,
    /// When, milliseconds since 1970.
    at_ms: u64,
    /// Who.
    by: String,
}

/// What the folder at `root` says.
///
/// # Errors
/// The disk's, or the file cannot be read as ours.
pub(in super::super) fn rulings(disk: &dyn Disk, root: &Path) -> io::Result<Vec<Ruling>> {
    Ok(read(disk, root)?.iter().filter_map(Kept::ruling).collect())
}

fn read(disk: &dyn Disk, root: &Path) -> io::Result<Vec<Kept>> {
    match read_whole(disk, &root.join(FILE)) {
        Ok(text) => Ok(serde_json::from_slice(&text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

// === impl Folder ===

impl Folder {
    /// Durable when this returns. The oldest goes where there are too many.
    pub(in super::super) fn overrule(&self, rulings: &[Ruling], by: &str, at_ms: u64) -> io::Result<()> {
        let mut kept = read(&*self.disk, &self.root)?;
        kept.retain(|known| known.ruling().is_none_or(|known| !rulings.contains(&known)));
        for ruling in rulings {
            let content = blake3::Hash::from_bytes(ruling.content).to_hex().to_string();
            kept.push(Kept { content, threat: ruling.threat.clone(), at_ms, by: by.to_owned() });
        }
        let surplus = kept.len().saturating_sub(RULINGS_MAX);
        kept.drain(..surplus);
        let mut text = serde_json::to_vec_pretty(&kept)?;
        text.push(b'\n');
        self.replace(&self.root.join("overruled.new"), &self.root.join(FILE), &text)
    }
}

// === impl Kept ===

impl Kept {
    fn ruling(&self) -> Option<Ruling> {
        let content = *blake3::Hash::from_hex(&self.content).ok()?.as_bytes();
        Some(Ruling { content, threat: self.threat.clone() })
    }
}

const FILE: &str = "overruled.json";
/// Each is a mail that a person has looked at.
const RULINGS_MAX: usize = 10_000;
