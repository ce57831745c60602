//! How short the server is of what it needs, and what follows: normal, stressed, overloaded.

use std::time::{Duration, Instant};

/// The rungs of the ladder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everybody may come.
    #[default]
    Normal,
    /// No new strangers, and strangers that get nowhere leave soon.
    Stressed,
    /// Nobody new but who is trusted.
    Overloaded,
}

/// What the server is short of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// General places in use, of all listeners together, in percent.
    pub(super) sessions: u64,
    /// Of the memory that peers may make us hold, in percent.
    pub(super) memory: u64,
    /// Of the share of bodies, in percent.
    pub(super) bodies: u64,
    /// What the process occupies, in percent of the memory that peers may make us hold.
    pub(super) resident: u64,
    /// How much later than it should the runtime got around to look.
    pub(super) lag: Duration,
}

/// Where we are, and since when. Goes up at once, and down one rung at a time after `CALM_TIME` below the lower marks.
#[derive(Debug, Default)]
pub(super) struct Ladder {
    level: Level,
    calm_since: Option<Instant>,
    /// Since when the shortage is dire, though no new strangers come.
    dire_since: Option<Instant>,
}

// === impl Level ===

impl Level {
    /// A stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Stressed => "stressed",
            Self::Overloaded => "overloaded",
        }
    }

    /// For a gauge.
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::Normal => 0,
            Self::Stressed => 1,
            Self::Overloaded => 2,
        }
    }

    /// The level of this number; what is none is the last.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Normal,
            1 => Self::Stressed,
            _ => Self::Overloaded,
        }
    }

    const fn below(self) -> Self {
        match self {
            Self::Overloaded => Self::Stressed,
            Self::Stressed | Self::Normal => Self::Normal,
        }
    }
}

// === impl Ladder ===

impl Ladder {
    /// Takes a measurement and tells the level that follows from it and those before.
    pub(super) fn step(&mut self, load: Load, now: Instant) -> Level {
        if !is_dire(load) {
            self.dire_since = None;
        }
        let dire_since = *self.dire_since.get_or_insert(now);
        let lasts = is_dire(load) && now.saturating_duration_since(dire_since) >= DIRE_TIME;
        let wanted = wanted(load, lasts);
        if wanted >= self.level {
            self.level = wanted;
            self.calm_since = None;
        } else if !is_calm(load, self.level) {
            self.calm_since = None;
        } else if now.saturating_duration_since(*self.calm_since.get_or_insert(now)) >= CALM_TIME {
            self.level = self.level.below();
            self.calm_since = None;
        }
        self.level
    }
}

fn wanted(load: Load, is_lasting: bool) -> Level {
    let is_stressed = load.sessions >= SESSIONS_STRESSED
        || load.memory >= MEMORY_STRESSED
        || load.bodies >= MEMORY_STRESSED
        || load.resident >= RESIDENT_STRESSED
        || load.lag >= LAG_STRESSED;
    match (is_stressed, is_lasting) {
        (true, true) => Level::Overloaded,
        (true, false) => Level::Stressed,
        (false, _) => Level::Normal,
    }
}

/// Whether those who are in suffer. Turning strangers away should mend that soon.
fn is_dire(load: Load) -> bool {
    load.memory >= MEMORY_DIRE || load.resident >= RESIDENT_DIRE || load.lag >= LAG_DIRE
}

/// Whether the load is so far below the mark of this level that it will not be back at once.
fn is_calm(load: Load, level: Level) -> bool {
    match level {
        Level::Normal => true,
        Level::Stressed => {
            load.sessions < SESSIONS_CALM
                && load.memory < MEMORY_CALM
                && load.bodies < MEMORY_CALM
                && load.resident < RESIDENT_STRESSED
                && load.lag < LAG_CALM
        }
        Level::Overloaded => {
            load.memory < MEMORY_STRESSED && load.resident < RESIDENT_DIRE && load.lag < LAG_STRESSED
        }
    }
}

/// Four of five places: what is left is for who is in a session already, or known.
const SESSIONS_STRESSED: u64 = 80;
const SESSIONS_CALM: u64 = 60;
/// Before who is known finds none left. Bodies without memory go to files, which is slow, but no fault.
const MEMORY_STRESSED: u64 = 80;
const MEMORY_CALM: u64 = 60;
/// In the last tenth, which strangers cannot draw.
const MEMORY_DIRE: u64 = 95;
/// More than the account says: either the account lacks something, or the allocator keeps what was given back.
const RESIDENT_STRESSED: u64 = 100;
/// The second reason explains this much no more.
const RESIDENT_DIRE: u64 = 125;
/// Long after the last stranger's stalled session has had to leave.
const DIRE_TIME: Duration = Duration::from_secs(30);
/// A task that is ready waits this long for its turn.
const LAG_STRESSED: Duration = Duration::from_millis(250);
const LAG_CALM: Duration = Duration::from_millis(100);
/// Clients would see replies of seconds.
const LAG_DIRE: Duration = Duration::from_secs(1);
/// Long enough to see that it lasts.
const CALM_TIME: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(percent: u64) -> Load {
        Load { sessions: percent, ..Load::default() }
    }

    #[test]
    fn stress_comes_at_once_and_goes_after_a_calm_time() {
        let (mut ladder, start) = (Ladder::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(ladder.step(sessions(79), at(0)), Level::Normal);
        assert_eq!(ladder.step(sessions(80), at(1)), Level::Stressed);
        assert_eq!(ladder.step(sessions(70), at(2)), Level::Stressed, "between the marks nothing changes");
        assert_eq!(ladder.step(sessions(70), at(60)), Level::Stressed);
        assert_eq!(ladder.step(sessions(59), at(61)), Level::Stressed);
        assert_eq!(ladder.step(sessions(70), at(64)), Level::Stressed, "the calm has to last");
        assert_eq!(ladder.step(sessions(59), at(65)), Level::Stressed);
        assert_eq!(ladder.step(sessions(59), at(70)), Level::Normal);
    }

    #[test]
    fn a_runtime_that_stays_late_is_overloaded_and_recovers_rung_by_rung() {
        let (mut ladder, start) = (Ladder::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let late = Load { lag: LAG_DIRE, ..Load::default() };
        assert_eq!(ladder.step(late, start), Level::Stressed);
        assert_eq!(ladder.step(late, at(0) + DIRE_TIME), Level::Overloaded);
        let start = start + DIRE_TIME;
        let at = |seconds| start + Duration::from_secs(seconds);
        let levels: Vec<Level> = (1..=11).map(|second| ladder.step(Load::default(), at(second))).collect();
        assert_eq!(levels[4], Level::Overloaded);
        assert_eq!(levels[5], Level::Stressed);
        assert_eq!(levels[10], Level::Stressed);
        assert_eq!(ladder.step(Load::default(), at(12)), Level::Normal);
    }

    #[test]
    fn memory_that_stays_spent_is_overload() {
        let spent = Load { memory: MEMORY_DIRE, ..Load::default() };
        let outgrown = Load { resident: RESIDENT_DIRE, ..Load::default() };
        for spent in [spent, outgrown] {
            let (mut ladder, start) = (Ladder::default(), Instant::now());
            assert_eq!(ladder.step(spent, start), Level::Stressed);
            assert_eq!(ladder.step(spent, start + DIRE_TIME / 2), Level::Stressed);
            assert_eq!(ladder.step(spent, start + DIRE_TIME), Level::Overloaded);
        }
    }

    #[test]
    fn bodies_without_memory_and_a_process_above_its_account_keep_strangers_out_and_nobody_else() {
        let bodies = Load { bodies: 100, ..Load::default() };
        let resident = Load { resident: RESIDENT_STRESSED, ..Load::default() };
        for load in [bodies, resident] {
            let (mut ladder, start) = (Ladder::default(), Instant::now());
            assert_eq!(ladder.step(load, start), Level::Stressed);
            assert_eq!(ladder.step(load, start + 2 * DIRE_TIME), Level::Stressed);
            assert_eq!(ladder.step(Load::default(), start + 2 * DIRE_TIME), Level::Stressed);
            assert_eq!(ladder.step(Load::default(), start + 2 * DIRE_TIME + CALM_TIME), Level::Normal);
        }
    }
}
