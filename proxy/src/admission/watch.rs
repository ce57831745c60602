//! Looks at the load four times a second, and forgets what is over once a minute.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

use super::Admission;
use super::memory::{percent, resident};
use super::overload::{Ladder, Level, Load};
use super::slots::Slots;

// === impl Admission ===

impl Admission {
    /// Starts to watch; ends with the last owner. Must be called inside a tokio runtime.
    pub(crate) fn watch(self: &Arc<Self>) {
        tokio::spawn(watch(Arc::downgrade(self)));
    }

    fn look(&self, ladder: &mut Ladder, lag: Duration, resident: u64, now: Instant) {
        let all: Vec<Arc<Slots>> = {
            let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.iter().filter_map(Weak::upgrade).collect()
        };
        let (used, general) = all.iter().map(|slots| places(slots)).fold((0_u64, 0_u64), |sum, slots| {
            (sum.0.saturating_add(slots.0), sum.1.saturating_add(slots.1))
        });
        let (whole, bodies) = (&self.memory.whole, &self.memory.bodies);
        self.metrics.set_memory(whole, bodies);
        let load = Load {
            sessions: percent(used, general),
            memory: percent(whole.used(), whole.octets_max()),
            bodies: percent(bodies.used(), bodies.octets_max()),
            resident: percent(resident, whole.octets_max()),
            lag,
        };
        let before = self.level();
        let level = ladder.step(load, now);
        if level != before {
            let (from, to) = (before.name(), level.name());
            tracing::warn!(from, to, ?load, "the load of the server has changed");
        }
        self.level.store(u8::try_from(level.number()).unwrap_or_default(), Ordering::Relaxed);
        self.metrics.set_level(level);
        for slots in all {
            let (used, general) = places(&slots);
            if level != Level::Normal || percent(used, general) >= PLACES_SCARCE {
                slots.displace(now, usize::MAX, STALL_SCARCE);
            }
        }
    }

    fn sweep(&self, now: Instant) {
        self.metrics.set_bans(self.bans.sweep(now));
        self.lockouts.sweep(now);
        self.known_good.sweep(now);
        self.passed.sweep(now);
        for rate in self.policy.load().rates.all() {
            rate.sweep();
        }
    }
}

async fn watch(admission: Weak<Admission>) {
    let mut ladder = Ladder::default();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut swept_at = tokio::time::Instant::now();
    let (mut measured_at, mut octets) = (swept_at, resident());
    loop {
        let due = ticks.tick().await;
        let now = tokio::time::Instant::now();
        let Some(admission) = admission.upgrade() else { return };
        if now.saturating_duration_since(measured_at) >= MEASURE_EVERY {
            (measured_at, octets) = (now, resident());
        }
        let lag = now.saturating_duration_since(due);
        admission.look(&mut ladder, lag, octets.unwrap_or_default(), now.into_std());
        if now.saturating_duration_since(swept_at) >= SWEEP_EVERY {
            swept_at = now;
            admission.sweep(now.into_std());
        }
    }
}

/// General places in use, and all of them.
fn places(slots: &Slots) -> (u64, u64) {
    let (used, all) = slots.used();
    (u64::try_from(used).unwrap_or(u64::MAX), u64::try_from(all).unwrap_or(u64::MAX))
}

/// Soon enough to act within a client's second.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The size of the process follows what is drawn, and is only looked at in case it does not.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// Sweeping looks at everything once.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// A listener with so few places left asks the stalled ones to leave, also where others have plenty.
const PLACES_SCARCE: u64 = 80;
/// The deadline of strangers then: longer than any round trip, and than a person's mail program waits.
const STALL_SCARCE: Duration = Duration::from_secs(15);
