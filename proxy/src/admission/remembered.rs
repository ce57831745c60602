//! What admission knows of peers, as a file, so that a restart is no amnesty: bans, lock-outs, and who has logged in from where.
//!
//! ```text
//! gatepost-admission 1 CRC32C\n     the checksum of all that follows, as eight hexadecimal digits
//! {"bans":[...],"lockouts":[...],"known_good":[...]}
//! ```
//! Times are seconds since 1970: the clock of the process does not survive it. Nothing in the file is secret; of failed log-ins
//! only names with enough of them to be locked out are in it, since people type a password where the name belongs.

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gatepost_core::checked_json::{self, Damaged};
use serde::{Deserialize, Serialize};

use super::Admission;
use super::verdict::Rule;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Remembered {
    bans: Vec<Ban>,
    lockouts: Vec<Lockout>,
    known_good: Vec<KnownGood>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Ban {
    /// Any of its network.
    address: IpAddr,
    rule: String,
    until: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Lockout {
    user: String,
    failures: u32,
    until: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct KnownGood {
    /// Any of its network.
    address: IpAddr,
    user: String,
    at: u64,
}

/// One moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// That of the process.
    pub now: Instant,
    /// That of the world.
    pub wall: SystemTime,
}

// === impl Admission ===

impl Admission {
    /// What is to survive a restart, as the octets of a file. The same knowledge gives the same octets.
    #[must_use]
    pub fn remember(&self, moment: Moment) -> Vec<u8> {
        let now = moment.now;
        let failures_max = self.policy.load().settings.lockout_failures.get();
        let bans = self.bans.all(now).into_iter().map(|(address, ban)| Ban {
            address,
            rule: ban.reason.name().to_owned(),
            until: moment.seconds(ban.until),
        });
        let lockouts =
            self.lockouts.all_locked(failures_max, now).into_iter().map(|(user, failures, until)| Lockout {
                user: user.into(),
                failures,
                until: moment.seconds(until),
            });
        let known = self.known_good.all(now).into_iter().map(|(address, user, at)| KnownGood {
            address,
            user: user.into(),
            at: moment.seconds(at),
        });
        let mut remembered =
            Remembered { bans: bans.collect(), lockouts: lockouts.collect(), known_good: known.collect() };
        // The latest ones, where there are too many.
        remembered.known_good.sort_by(|a, b| (b.at, a.address, &a.user).cmp(&(a.at, b.address, &b.user)));
        remembered.known_good.truncate(KNOWN_GOOD_MAX);
        remembered.bans.sort_by_key(|ban| ban.address);
        remembered.lockouts.sort_by(|a, b| a.user.cmp(&b.user));
        checked_json::write(TITLE, &remembered)
    }

    /// Takes over what a file says, as far as it still holds. Tells how many entries those are.
    ///
    /// # Errors
    /// The file cannot be believed; nothing is taken over.
    pub fn recall(&self, octets: &[u8], moment: Moment) -> Result<usize, Damaged> {
        let Remembered { bans, lockouts, known_good } = checked_json::read(TITLE, octets)?;
        let mut taken = 0_usize;
        for Ban { address, rule, until } in bans {
            let reason = Rule::ALL.into_iter().find(|known| known.name() == rule);
            let (Some(reason), Some(left)) = (reason, moment.left(until)) else { continue };
            self.bans.ban(address, reason, moment.now, left);
            taken = taken.saturating_add(1);
        }
        for Lockout { user, failures, until } in lockouts {
            let Some(left) = moment.left(until) else { continue };
            self.lockouts.restore(&user, failures, moment.now, left);
            taken = taken.saturating_add(1);
        }
        // The oldest first, as they came.
        for KnownGood { address, user, at } in known_good.into_iter().rev() {
            let Some(at) = moment.instant(at) else { continue };
            self.known_good.add(&user, address, at);
            taken = taken.saturating_add(1);
        }
        self.known_good.sweep(moment.now);
        Ok(taken)
    }
}

// === impl Moment ===

impl Moment {
    /// This one.
    #[must_use]
    pub fn now() -> Self {
        Self { now: tokio::time::Instant::now().into_std(), wall: SystemTime::now() }
    }

    /// A time of the process, in seconds since 1970, to the nearest.
    fn seconds(self, at: Instant) -> u64 {
        let after = at.saturating_duration_since(self.now);
        let before = self.now.saturating_duration_since(at);
        let wall = self.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        wall.saturating_add(after).saturating_sub(before).saturating_add(Duration::from_millis(500)).as_secs()
    }

    /// How long until then; `None` where that is over. No clock that was set wrong makes a ban last longer than the
    /// configuration could.
    fn left(self, until: u64) -> Option<Duration> {
        let wall = self.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        let left = Duration::from_secs(until).checked_sub(wall).filter(|left| !left.is_zero())?;
        Some(left.min(LEFT_MAX))
    }

    /// When that was; at the latest now.
    fn instant(self, at: u64) -> Option<Instant> {
        let wall = self.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.now.checked_sub(wall.saturating_sub(Duration::from_secs(at)))
    }
}

/// What such a file begins with; the number is the version of its form.
const TITLE: &str = "gatepost-admission 1 ";
/// The longest time that a configuration can give.
const LEFT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Some 6 MiB of file.
const KNOWN_GOOD_MAX: usize = 65_536;

#[cfg(test)]
mod tests;
