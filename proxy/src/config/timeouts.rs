//! `[delivery.remote.timeouts]`: how long next hops are waited for.

use std::time::Duration;

use gatepost_core::delivery::hop::CONNECT_TIME;
use gatepost_smtp::client::Patience;
use serde::Deserialize;

use super::values::TimeSpan;

/// How long next hops are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For what is said over it.
    pub patience: Patience,
}

/// As it is written. Defaults: RFC 5321 section 4.5.3.2.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenTimeouts {
    connect: Option<TimeSpan>,
    greeting: Option<TimeSpan>,
    command: Option<TimeSpan>,
    data: Option<TimeSpan>,
    block: Option<TimeSpan>,
    end_of_data: Option<TimeSpan>,
}

// === impl Timeouts ===

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: CONNECT_TIME, patience: Patience::default() }
    }
}

// === impl WrittenTimeouts ===

impl WrittenTimeouts {
    pub(super) fn check(&self) -> Timeouts {
        let Timeouts { connect, patience } = Timeouts::default();
        let or = |written: Option<TimeSpan>, default| written.map_or(default, TimeSpan::duration);
        Timeouts {
            connect: or(self.connect, connect),
            patience: Patience {
                greeting: or(self.greeting, patience.greeting),
                command: or(self.command, patience.command),
                data: or(self.data, patience.data),
                block: or(self.block, patience.block),
                end_of_data: or(self.end_of_data, patience.end_of_data),
                ..patience
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_has_its_own_key_and_those_that_are_not_written_stay() {
        let check = |text: &str| toml::from_str::<WrittenTimeouts>(text).map(|written| written.check());
        assert_eq!(check(""), Ok(Timeouts::default()));
        let own = check("connect = \"1s\"\nend_of_data = \"20m\"").unwrap();
        assert_eq!((own.connect.as_secs(), own.patience.end_of_data.as_secs()), (1, 1_200));
        assert_eq!(own.patience.command, Patience::default().command);
        for bad in ["connect = \"0s\"", "data = \"2d\"", "quit = \"5s\""] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
