//! What a reload can change, and what has to wait for a restart.

use super::{Config, Remote, Scan};

// === impl Config ===

impl Config {
    /// This configuration, but with what `running` cannot change before a restart; a wish to change it is logged.
    #[must_use]
    pub fn with_fixed_parts_of(self, running: &Self) -> Self {
        let authorities =
            |config: &Self| config.remote.as_ref().and_then(|remote| remote.authorities.clone());
        let https_port = |config: &Self| config.remote.as_ref().map(|remote| remote.https_port);
        let timeouts = |config: &Self| config.remote.as_ref().map(|remote| remote.timeouts);
        let tls_reports =
            |config: &Self| config.remote.as_ref().and_then(|remote| remote.tls_reports.clone());
        let fixed = [
            ("server.data", self.data != running.data),
            ("server.user", self.user != running.user),
            ("server.sandbox", self.sandbox != running.sandbox),
            ("auth.scram", self.scram != running.scram),
            ("delivery.remote.enabled", self.remote.is_some() != running.remote.is_some()),
            ("delivery.remote.authorities", authorities(&self) != authorities(running)),
            ("delivery.remote.https_port", https_port(&self) != https_port(running)),
            ("dns.trust_anchor", self.dns.trust_anchor != running.dns.trust_anchor),
            ("delivery.remote.timeouts", timeouts(&self) != timeouts(running)),
            ("delivery.remote.tls_reports", tls_reports(&self) != tls_reports(running)),
            ("scan.engine", self.scan.engines != running.scan.engines),
            ("scan.policy", self.scan.policy != running.scan.policy),
            ("scan.reader_budget", self.scan.reader_budget != running.scan.reader_budget),
            ("scan.threads", self.scan.threads != running.scan.threads),
            ("scan.rules", self.scan.rules != running.scan.rules),
            ("scan.unscannable", self.scan.unscannable != running.scan.unscannable),
            ("database", !self.databases.is_laid_out_as(&running.databases)),
            ("pickup", self.pickup != running.pickup),
            ("admin", self.admin != running.admin),
        ];
        for (key, _) in fixed.into_iter().filter(|(_, changed)| *changed) {
            tracing::warn!(key, "a change of this setting needs a restart; the old one stays");
        }
        let scan = Scan {
            engines: running.scan.engines.clone(),
            policy: running.scan.policy,
            reader_budget: running.scan.reader_budget,
            threads: running.scan.threads,
            rules: running.scan.rules.clone(),
            unscannable: running.scan.unscannable,
            ..self.scan
        };
        let remote = match (self.remote, &running.remote) {
            (Some(new), Some(running)) => Some(Remote {
                authorities: running.authorities.clone(),
                https_port: running.https_port,
                timeouts: running.timeouts,
                tls_reports: running.tls_reports.clone(),
                ..new
            }),
            (_, running) => running.clone(),
        };
        Self {
            // What takes mail out of the server cannot be switched on without it.
            srs: self.srs.filter(|_| remote.is_some()),
            remote,
            data: running.data.clone(),
            user: running.user.clone(),
            sandbox: running.sandbox,
            scram: running.scram,
            scan,
            databases: self.databases.laid_out_as(&running.databases),
            pickup: running.pickup.clone(),
            admin: running.admin.clone(),
            ..self
        }
    }
}
