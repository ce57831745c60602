//! How many files and sockets the process may have open, and what listeners may promise with that.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::admission::slots::reserve_of;
use crate::server::ListenerSettings;

/// How many descriptors there can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles(u64);

/// What came of holding the listeners' promises against it.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// Every session can have its socket and the file of a large mail.
    Roomy,
    /// Every session can have its socket, but not each a file besides.
    Tight {
        /// Descriptors that there should be.
        wanted: u64,
    },
    /// Not even that: the listeners now have fewer places.
    Clamped {
        /// Descriptors that there should be.
        wanted: u64,
        /// Places of all listeners together.
        places: u64,
    },
}

// === impl OpenFiles ===

impl OpenFiles {
    /// Raises the limit as far as the system lets us, and no further than there is a use for it. Acts on the whole process.
    ///
    /// # Errors
    /// The system refuses to set a limit below its own bound, which no known one does.
    pub fn raise() -> io::Result<Self> {
        let most =
            getrlimit(Resource::Nofile).maximum.map_or(OPEN_FILES_MAX, |most| most.min(OPEN_FILES_MAX));
        setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) })?;
        Ok(Self(most))
    }

    /// How many.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.0
    }

    /// Takes places from the listeners where they have more than there can be sockets, from each in proportion. Better a known
    /// limit with its order of who comes in than `accept` failing for everybody.
    pub fn fit(self, listeners: &mut [ListenerSettings]) -> Fit {
        let general = sum(listeners.iter().map(|listener| listener.connections_max));
        let reserve = sum(listeners.iter().map(|listener| reserve_of(listener.connections_max)));
        let places = general.saturating_add(reserve);
        let wanted = OWN_FILES.saturating_add(places.saturating_mul(2));
        if wanted <= self.0 {
            return Fit::Roomy;
        }
        if OWN_FILES.saturating_add(places) <= self.0 {
            return Fit::Tight { wanted };
        }
        let left = self.0.saturating_sub(OWN_FILES).saturating_sub(reserve);
        for listener in &mut *listeners {
            let share = u128::from(count(listener.connections_max)).saturating_mul(left.into());
            let share = share.checked_div(general.into()).and_then(|share| usize::try_from(share).ok());
            listener.connections_max = share.unwrap_or(0).max(1);
        }
        Fit::Clamped { wanted, places: sum(listeners.iter().map(|listener| listener.connections_max)) }
    }
}

// === impl Fit ===

impl Fit {
    /// Tells the operator where something is short.
    pub fn report(self, open_files: OpenFiles) {
        let limit = open_files.count();
        match self {
            Self::Roomy => (),
            Self::Tight { wanted } => tracing::warn!(
                limit,
                wanted,
                "with all places of the listeners taken, large mails may find no open file left: raise the limit on open \
                 files (LimitNOFILE), or lower `connections`",
            ),
            Self::Clamped { wanted, places } => tracing::warn!(
                limit,
                wanted,
                places,
                "the limit on open files is too low for the `connections` of the listeners, so they have fewer: raise it \
                 (LimitNOFILE)",
            ),
        }
    }
}

fn sum(counts: impl Iterator<Item = usize>) -> u64 {
    counts.map(count).fold(0, u64::saturating_add)
}

fn count(of: usize) -> u64 {
    u64::try_from(of).unwrap_or(u64::MAX)
}

/// Some 50,000 sessions, files and databases besides; the same number as in the service's unit.
const OPEN_FILES_MAX: u64 = 65_536;
/// Queries to DNS lists (256 sockets), segments, databases, the event log, the runtime, the admin side.
const OWN_FILES: u64 = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::settings;

    fn listeners(connections: [usize; 3]) -> Vec<ListenerSettings> {
        let mut listeners = settings().listeners;
        listeners.iter_mut().zip(connections).for_each(|(listener, most)| listener.connections_max = most);
        listeners
    }

    fn fit(limit: u64, connections: [usize; 3]) -> (Fit, Vec<usize>) {
        let mut listeners = listeners(connections);
        let fit = OpenFiles(limit).fit(&mut listeners);
        (fit, listeners.iter().map(|listener| listener.connections_max).collect())
    }

    #[test]
    fn the_limit_is_as_high_as_the_system_lets_it_be() {
        let open_files = OpenFiles::raise().unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, Some(open_files.count()));
        assert_eq!(OpenFiles::raise().unwrap(), open_files);
    }

    #[test]
    fn listeners_keep_what_fits() {
        // 1000 + 100, 500 + 64 and 500 + 64 places.
        let connections = [1000, 500, 500];
        assert_eq!(fit(4968, connections), (Fit::Roomy, connections.to_vec()));
        assert_eq!(fit(4967, connections), (Fit::Tight { wanted: 4968 }, connections.to_vec()));
        assert_eq!(fit(2740, connections), (Fit::Tight { wanted: 4968 }, connections.to_vec()));
    }

    #[test]
    fn listeners_with_more_places_than_descriptors_share_them() {
        let (found, connections) = fit(1740, [1000, 500, 500]);
        assert_eq!(found, Fit::Clamped { wanted: 4968, places: 1000 });
        assert_eq!(connections, [500, 250, 250]);
        let (_, connections) = fit(64, [1000, 500, 500]);
        assert_eq!(connections, [1, 1, 1], "a listener that takes nobody helps nobody");
    }
}
