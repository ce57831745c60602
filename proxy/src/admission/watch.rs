//! Looks at the load four times a second, and forgets what is over once a minute.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

use super::Admission;
use super::overload::{Ladder, Level, Load};
use super::slots::Slots;

// === impl Admission ===

impl Admission {
    /// Starts to watch; ends with the last owner. Must be called inside a tokio runtime.
    pub(crate) fn watch(self: &Arc<Self>) {
        tokio::spawn(watch(Arc::downgrade(self)));
    }

    fn look(&self, ladder: &mut Ladder, lag: Duration, now: Instant) {
        let all: Vec<Arc<Slots>> = {
            let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.iter().filter_map(Weak::upgrade).collect()
        };
        let (used, places) = all.iter().map(|slots| slots.used()).fold((0_usize, 0_usize), |sum, slots| {
            (sum.0.saturating_add(slots.0), sum.1.saturating_add(slots.1))
        });
        let load = Load { sessions: percent(used, places), memory: 0, lag };
        let before = self.level();
        let level = ladder.step(load, now);
        if level != before {
            let (from, to) = (before.name(), level.name());
            tracing::warn!(from, to, ?load, "the load of the server has changed");
        }
        self.level.store(u8::try_from(level.number()).unwrap_or_default(), Ordering::Relaxed);
        self.metrics.set_level(level);
        for slots in all {
            let (used, places) = slots.used();
            if level != Level::Normal || percent(used, places) >= PLACES_SCARCE {
                slots.displace(now, usize::MAX, STALL_SCARCE);
            }
        }
    }

    fn sweep(&self, now: Instant) {
        self.metrics.set_bans(self.bans.sweep(now));
        self.lockouts.sweep(now);
        self.known_good.sweep(now);
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
    loop {
        let due = ticks.tick().await;
        let now = tokio::time::Instant::now();
        let Some(admission) = admission.upgrade() else { return };
        admission.look(&mut ladder, now.saturating_duration_since(due), now.into_std());
        if now.saturating_duration_since(swept_at) >= SWEEP_EVERY {
            swept_at = now;
            admission.sweep(now.into_std());
        }
    }
}

fn percent(part: usize, whole: usize) -> u64 {
    let part = u64::try_from(part).unwrap_or(u64::MAX);
    let whole = u64::try_from(whole).unwrap_or(u64::MAX).max(1);
    part.saturating_mul(100).checked_div(whole).unwrap_or(0)
}

/// Soon enough to act within a client's second.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Sweeping looks at everything once.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// A listener with so few places left asks the stalled ones to leave, also where others have plenty.
const PLACES_SCARCE: u64 = 80;
/// The deadline of strangers then: longer than any round trip, and than a person's mail program waits.
const STALL_SCARCE: Duration = Duration::from_secs(15);
