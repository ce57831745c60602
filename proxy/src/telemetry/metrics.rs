//! The process's own registry: what it is, what it uses, and a place for the rooms' counters.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

/// Where all metrics of the process are registered. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
}

/// Reads `/proc/self` when it is scraped, under the names that Prometheus' own client libraries use.
struct ProcessCollector {
    resident_memory: IntGauge,
    open_fds: IntGauge,
    max_fds: IntGauge,
    threads: IntGauge,
    cpu_seconds: Counter,
    start_time: Gauge,
}

// === impl Metrics ===

impl Metrics {
    /// A fresh registry with the process's metrics in it.
    ///
    /// # Errors
    /// A name is taken twice: a bug.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let build = IntGaugeVec::new(
            Opts::new("gatepost_build_info", "Always 1; the version is in the label."),
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(build))?;
        registry.register(Box::new(ProcessCollector::new()?))?;
        Ok(Self { registry })
    }

    /// Where the rooms register their own.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The value of a gauge without labels.
    #[must_use]
    pub fn gauge(&self, name: &str) -> Option<f64> {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name)?;
        Some(family.get_metric().first()?.get_gauge().get_value())
    }

    /// All of them in Prometheus' text format.
    ///
    /// # Errors
    /// A metric without a name or value: a bug.
    pub fn render(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

// === impl ProcessCollector ===

impl ProcessCollector {
    fn new() -> prometheus::Result<Self> {
        let this = Self {
            resident_memory: IntGauge::new("process_resident_memory_bytes", "Resident memory in bytes.")?,
            open_fds: IntGauge::new("process_open_fds", "Open file descriptors.")?,
            max_fds: IntGauge::new("process_max_fds", "Most file descriptors that may be open.")?,
            threads: IntGauge::new("process_threads", "Threads.")?,
            cpu_seconds: Counter::new("process_cpu_seconds_total", "User and system CPU time in seconds.")?,
            start_time: Gauge::new(
                "process_start_time_seconds",
                "Start of the process since 1970 in seconds.",
            )?,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        this.start_time.set(now.as_secs_f64());
        Ok(this)
    }

    fn gauges(&self) -> [&dyn Collector; 6] {
        [
            &self.resident_memory,
            &self.open_fds,
            &self.max_fds,
            &self.threads,
            &self.cpu_seconds,
            &self.start_time,
        ]
    }

    /// What cannot be read keeps its last value.
    fn read(&self) {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        if let Some(kibibytes) = status_field(&status, "VmRSS:") {
            self.resident_memory.set(kibibytes.saturating_mul(1024));
        }
        if let Some(threads) = status_field(&status, "Threads:") {
            self.threads.set(threads);
        }
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            // One of them is this listing itself.
            self.open_fds.set(i64::try_from(entries.count()).unwrap_or(i64::MAX).saturating_sub(1));
        }
        if let Some(max) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
            self.max_fds.set(i64::try_from(max).unwrap_or(i64::MAX));
        }
        if let Some(ticks) = std::fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(cpu_ticks) {
            let grown = ticks / TICKS_PER_SECOND - self.cpu_seconds.get();
            self.cpu_seconds.inc_by(grown.max(0.0));
        }
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.read();
        self.gauges().into_iter().flat_map(Collector::collect).collect()
    }
}

fn status_field(status: &str, name: &str) -> Option<i64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15 of proc_pid_stat(5), counted behind the command's closing parenthesis, which is field 2.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(f64::from(user) + f64::from(system))
}

/// `USER_HZ`, which Linux fixes at 100 for what it shows to programs (proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_shows_itself() {
        let text = Metrics::new().unwrap().render().unwrap();
        assert!(text.contains(concat!("gatepost_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1")));
        for name in
            ["process_resident_memory_bytes", "process_open_fds", "process_threads", "process_max_fds"]
        {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
            let value: f64 = line.split_once(' ').unwrap().1.parse().unwrap();
            assert!(value > 0.0, "{line}");
        }
    }

    #[test]
    fn cpu_time_is_found_behind_a_command_with_blanks_and_parentheses() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1";
        assert_eq!(cpu_ticks(stat), Some(300.0));
        assert_eq!(cpu_ticks("7 (a"), None);
    }

    #[test]
    fn a_gauge_is_found_by_its_name() {
        let metrics = Metrics::new().unwrap();
        let gauge = IntGauge::new("g", "g").unwrap();
        metrics.registry().register(Box::new(gauge.clone())).unwrap();
        assert_eq!(metrics.gauge("g"), Some(0.0));
        gauge.set(1);
        assert_eq!((metrics.gauge("g"), metrics.gauge("h")), (Some(1.0), None));
    }

    #[test]
    fn a_name_is_registered_once() {
        let metrics = Metrics::new().unwrap();
        assert!(metrics.registry().register(Box::new(ProcessCollector::new().unwrap())).is_err());
    }
}
