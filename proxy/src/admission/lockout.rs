//! Users whose passwords are being guessed: nobody new may try for a while.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures by the name that was claimed, whether there is such a user or not: a lock-out must not tell. At most
/// [`USERS_MAX`].
#[derive(Debug, Default)]
pub(super) struct Lockouts {
    users: Mutex<HashMap<Box<str>, Failures>>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    /// From the last failure on, the count or the lock-out holds for the lock-out's time.
    until: Instant,
}

// === impl Lockouts ===

impl Lockouts {
    /// Whether `user` has failed `failures_max` times, each within the lock-out's time of the one before.
    pub(super) fn is_locked(&self, user: &str, failures_max: u32, now: Instant) -> bool {
        let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users
            .get(key(user).as_ref())
            .is_some_and(|failures| failures.until > now && failures.count >= failures_max)
    }

    pub(super) fn failed(&self, user: &str, now: Instant, time: Duration) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(user);
        if users.len() >= USERS_MAX && !users.contains_key(&key) {
            users.retain(|_, failures| failures.until > now);
        }
        if users.len() >= USERS_MAX && !users.contains_key(&key) {
            // Names that nobody has are tried once or twice; a user under attack has more failures.
            let least = users.iter().min_by_key(|(_, it)| (it.count, it.until)).map(|(user, _)| user.clone());
            least.map(|user| users.remove(&user));
        }
        let failures = users.entry(key).or_insert(Failures { count: 0, until: now });
        let count = if failures.until > now { failures.count } else { 0 };
        *failures = Failures { count: count.saturating_add(1), until: now.checked_add(time).unwrap_or(now) };
    }

    /// The right password ends the count.
    pub(super) fn succeeded(&self, user: &str) {
        self.users.lock().unwrap_or_else(PoisonError::into_inner).remove(key(user).as_ref());
    }

    /// Who is locked out now: name, failures, until when.
    pub(super) fn all_locked(&self, failures_max: u32, now: Instant) -> Vec<(Box<str>, u32, Instant)> {
        let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let locked = users.iter().filter(|(_, it)| it.until > now && it.count >= failures_max);
        locked.map(|(user, it)| (user.clone(), it.count, it.until)).collect()
    }

    /// So many failures, of an earlier run. There may be [`USERS_MAX`] of them.
    pub(super) fn restore(&self, user: &str, count: u32, now: Instant, left: Duration) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() < USERS_MAX {
            users.insert(key(user), Failures { count, until: now.checked_add(left).unwrap_or(now) });
        }
    }

    pub(super) fn sweep(&self, now: Instant) {
        self.users.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, failures| failures.until > now);
    }
}

/// Names are compared as the directory does, without regard to case; what is longer than any account counts as one.
pub(super) fn key(user: &str) -> Box<str> {
    if user.len() > NAME_OCTETS_MAX { Box::default() } else { user.to_lowercase().into_boxed_str() }
}

/// RFC 5321 section 4.5.3.1: local part, `@`, domain.
const NAME_OCTETS_MAX: usize = 64 + 1 + 255;
/// Some 5 MiB at worst.
const USERS_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(900);

    #[test]
    fn a_user_is_locked_after_failures_and_free_after_the_time() {
        let (lockouts, now) = (Lockouts::default(), Instant::now());
        for _ in 0..3 {
            assert!(!lockouts.is_locked("ann@example.org", 3, now));
            lockouts.failed("ann@example.org", now, TIME);
        }
        assert!(lockouts.is_locked("Ann@Example.ORG", 3, now), "the case of a name does not matter");
        assert!(!lockouts.is_locked("bob@example.org", 3, now));
        assert!(!lockouts.is_locked("ann@example.org", 3, now + TIME));
        lockouts.failed("ann@example.org", now + TIME, TIME);
        assert!(!lockouts.is_locked("ann@example.org", 3, now + TIME), "old failures are forgotten");
    }

    #[test]
    fn the_right_password_ends_the_count() {
        let (lockouts, now) = (Lockouts::default(), Instant::now());
        lockouts.failed("ann@example.org", now, TIME);
        lockouts.succeeded("ANN@example.org");
        assert!(!lockouts.is_locked("ann@example.org", 1, now));
    }

    #[test]
    fn invented_names_do_not_push_out_a_user_under_attack() {
        let (lockouts, now) = (Lockouts::default(), Instant::now());
        for _ in 0..3 {
            lockouts.failed("ann@example.org", now, TIME);
        }
        for number in 0..USERS_MAX + 10 {
            lockouts.failed(&format!("u{number}@example.org"), now, TIME);
        }
        assert!(lockouts.users.lock().unwrap().len() <= USERS_MAX);
        assert!(lockouts.is_locked("ann@example.org", 3, now));
    }
}
