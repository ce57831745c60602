//! Whether there is room for more mail.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Disk;

/// Asks the disk at most once a second.
pub struct FreeSpace {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    octets_min: u64,
    files_min: u64,
    last: Mutex<Option<(Instant, bool)>>,
    was_low: AtomicBool,
}

// === impl FreeSpace ===

impl FreeSpace {
    /// Watches the file system of `folder`.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, folder: PathBuf, octets_min: u64, files_min: u64) -> Self {
        Self { disk, folder, octets_min, files_min, last: Mutex::new(None), was_low: AtomicBool::new(false) }
    }

    /// Whether less than the minimum is free, or fewer files can be made. A file system that cannot say is taken to have room: the write itself
    /// will tell.
    #[must_use]
    pub fn is_low(&self) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, low)) = last.filter(|(at, _)| at.elapsed() < AGE_MAX) {
            return low;
        }
        let low = self.disk.free_octets(&self.folder).is_ok_and(|free| free < self.octets_min)
            || (self.files_min > 0
                && self.disk.free_files(&self.folder).is_ok_and(|free| free < self.files_min));
        self.was_low.store(low, Ordering::Relaxed);
        let was_low = last.replace((Instant::now(), low)).is_some_and(|(_, low)| low);
        match (was_low, low) {
            (false, true) => tracing::error!(
                folder = %self.folder.display(), octets_min = self.octets_min,
                files_min = self.files_min, "too little space is left: mail is refused until there is more"
            ),
            (true, false) => tracing::info!("there is space again: mail is accepted"),
            _ => {}
        }
        low
    }

    /// What `is_low` answered last, without asking the disk.
    #[must_use]
    pub fn was_low(&self) -> bool {
        self.was_low.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for FreeSpace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FreeSpace")
            .field("folder", &self.folder)
            .field("octets_min", &self.octets_min)
            .field("files_min", &self.files_min)
            .finish()
    }
}

/// A call a mail would be a system call for nothing; in a second a fast disk takes a few GiB, which the writes notice.
const AGE_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimulatedDisk;

    #[test]
    fn the_disk_is_asked_once_a_second_at_most() {
        let disk = SimulatedDisk::new();
        disk.set_capacity(Some(10));
        let space = FreeSpace::new(Arc::new(disk.clone()), PathBuf::from("/q"), 11, 0);
        assert!(space.is_low());
        let calls = disk.calls();
        assert!(space.is_low());
        assert_eq!(disk.calls(), calls);
    }

    #[test]
    fn want_of_inodes_is_want_of_space() {
        let disk = SimulatedDisk::new();
        let space = || FreeSpace::new(Arc::new(disk.clone()), PathBuf::from("/q"), 0, 5);
        assert!(!space().is_low());
        disk.set_files_max(Some(4));
        assert!(space().is_low());
    }
}
