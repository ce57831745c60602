//! What the service manager is told (sd_notify(3)); nothing where there is none.

use sd_notify::NotifyState;

/// All listeners take connections.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A new configuration is being read; `ready` follows whatever comes of it.
pub fn reloading() {
    // The time tells the manager that this answers its own request, not an older one.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// Sessions may finish, then it ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told how we are");
    }
}
