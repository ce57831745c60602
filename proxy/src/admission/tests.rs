use std::time::Duration;

use prometheus::Registry;

use super::*;

/// Nobody is trusted; an address may have 2 connections, 3 a minute, 2 wrong passwords; 3 lock a user out.
const STRICT: &str = "trusted = [\"203.0.113.0/24\"]\nconnections = 2\nconnection_rate = 3\nauth_failure_rate = 2\n\
    lockout_failures = 3\ndeny = [\"192.0.2.0/24\"]\nallow = [\"192.0.2.99\"]\n";

const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));
const TRUSTED: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1));

struct Site {
    admission: Arc<Admission>,
    slots: Arc<Slots>,
    registry: Registry,
}

impl Site {
    fn new(more: &str) -> Self {
        let registry = Registry::new();
        let policy = Policy::load(&toml::from_str(&format!("{STRICT}{more}")).unwrap()).unwrap();
        let admission = Admission::new(policy, Memory::default(), Metrics::register(&registry).unwrap());
        let slots = Slots::new(10);
        admission.look_after(&slots);
        Self { admission, slots, registry }
    }

    fn admit(&self, address: IpAddr) -> Result<Guest, Refused> {
        self.admission.admit(address, &self.slots, false, now())
    }

    fn rule(&self, address: IpAddr) -> Option<Rule> {
        self.admit(address).err().map(|refused| refused.rule)
    }

    fn counted(&self, rule: Rule, mode: &str) -> u64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == "gatepost_admission_refusals_total");
        let has = |metric: &&prometheus::proto::Metric| {
            let label = |name| metric.get_label().iter().find(|it| it.name() == name).map(|it| it.value());
            label("rule") == Some(rule.name()) && label("mode") == Some(mode)
        };
        let metric = family.and_then(|family| family.get_metric().iter().find(has));
        metric.map_or(0, |metric| format!("{}", metric.get_counter().get_value()).parse().unwrap())
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn guess(guest: &Guest, user: &str) -> Option<Rule> {
    match guest.log_in(user) {
        Ok(log_in) => {
            log_in.failed(user).await;
            None
        }
        Err(refused) => Some(refused.rule),
    }
}

#[tokio::test]
async fn a_denied_network_is_turned_away_but_for_what_is_allowed_in_it() {
    let site = Site::new("");
    let refused = site.admit([192, 0, 2, 1].into()).unwrap_err();
    assert_eq!(refused.to_string(), "admission.deny: 192.0.2.0/24 is on the deny list");
    assert!(site.admit([192, 0, 2, 99].into()).is_ok());
}

#[tokio::test]
async fn connections_are_bounded_at_a_time_and_by_the_minute() {
    let site = Site::new("");
    let held: Vec<_> = (0..2).map(|_| site.admit(STRANGER).unwrap()).collect();
    let refused = site.admit(STRANGER).unwrap_err();
    assert_eq!(refused.to_string(), "admission.connections: 198.51.100.1/32 has 3 connections of 2");
    drop(held);
    assert_eq!(site.rule(STRANGER), Some(Rule::ConnectionRate), "a refused connection counts as well");
}

#[tokio::test]
async fn a_dry_run_tells_and_refuses_nobody() {
    let site = Site::new("[rules]\nconnections = \"detect\"\nconnection_rate = \"off\"\n");
    let held: Vec<_> = (0..5).map(|_| site.admit(STRANGER).unwrap()).collect();
    assert_eq!(site.counted(Rule::Connections, "detect"), 3);
    assert_eq!(site.counted(Rule::Connections, "enforce"), 0);
    assert_eq!(site.counted(Rule::ConnectionRate, "detect"), 0);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn who_guesses_passwords_is_banned_for_a_while() {
    let site = Site::new("connection_rate = 1000\n".replace("connection_rate", "message_rate").as_str());
    let guest = site.admit(STRANGER).unwrap();
    for number in 0..3 {
        assert_eq!(guess(&guest, &format!("u{number}")).await, None);
    }
    assert_eq!(guess(&guest, "u4").await, Some(Rule::Ban), "open sessions of a banned network stop guessing");
    assert_eq!(guest.log_in_by_certificate().err().map(|refused| refused.rule), Some(Rule::Ban));
    let refused = site.admit(STRANGER).unwrap_err();
    assert!(refused.evidence.starts_with("banned by admission.auth_failure_rate"), "{refused}");
    tokio::time::advance(Duration::from_secs(601)).await;
    assert_ne!(site.rule(STRANGER), Some(Rule::Ban));
}

#[tokio::test(start_paused = true)]
async fn a_trusted_network_is_never_banned_limited_or_locked_out() {
    let site = Site::new("");
    let guests: Vec<_> = (0..20).map(|_| site.admit(TRUSTED).unwrap()).collect();
    for guest in &guests {
        assert_eq!(guess(guest, "ann").await, None);
        guest.unknown_recipient().await;
        assert!(guest.handshake().is_ok() && guest.message().is_ok() && guest.recipient().is_ok());
    }
    assert!(site.admission.bans.find(TRUSTED, now()).is_none());
    let stranger = site.admit(STRANGER).unwrap();
    assert!(stranger.log_in("ann").is_ok(), "a balancer's users do not lock each other out");
}

#[tokio::test(start_paused = true)]
async fn a_lock_out_spares_the_user_where_he_is_known() {
    let site = Site::new("[rules]\nban = \"off\"\n");
    let home = site.admit([198, 51, 100, 200].into()).unwrap();
    home.log_in("ann").unwrap().succeeded("ann");
    let attacker = site.admit(STRANGER).unwrap();
    for _ in 0..3 {
        assert_eq!(guess(&attacker, "Ann").await, None);
    }
    assert_eq!(guess(&attacker, "ann").await, Some(Rule::Lockout));
    let elsewhere = site.admit([192, 0, 2, 99].into()).unwrap();
    assert_eq!(elsewhere.log_in("ann").err().map(|refused| refused.rule), Some(Rule::Lockout));
    assert!(elsewhere.log_in("bob").is_ok());
    assert!(elsewhere.log_in_by_certificate().is_ok(), "there is no password to guess");
    assert!(home.log_in("ann").is_ok());
    tokio::time::advance(Duration::from_secs(15 * 60)).await;
    assert!(elsewhere.log_in("ann").is_ok());
}

#[tokio::test]
async fn strangers_cannot_keep_the_password_threads_to_themselves() {
    let site = Site::new("");
    let known = site.admit([198, 51, 100, 200].into()).unwrap();
    known.log_in("ann").unwrap().succeeded("ann");
    let stranger = site.admit(STRANGER).unwrap();
    let turns: Vec<_> = (0..STRANGER_VERIFICATIONS_MAX).map(|_| stranger.log_in("x").unwrap()).collect();
    assert!(stranger.log_in("x").is_err());
    assert!(known.log_in("ann").is_ok());
    drop(turns);
    assert!(stranger.log_in("x").is_ok());
}

#[tokio::test]
async fn on_the_reserve_strangers_are_turned_away_and_known_places_are_not() {
    let site = Site::new("");
    let reserve = |address| site.admission.admit(address, &site.slots, true, now());
    assert_eq!(reserve(STRANGER).unwrap_err().rule, Rule::Reserve);
    assert!(reserve(TRUSTED).is_ok() && reserve([192, 0, 2, 99].into()).is_ok());
    site.admit(STRANGER).unwrap().log_in("ann").unwrap().succeeded("ann");
    assert!(reserve(STRANGER).is_ok(), "somebody has logged in from there");
}

#[tokio::test]
async fn the_level_decides_who_may_still_come() {
    let site = Site::new("");
    let welcome = |level: Level| {
        site.admission.level.store(u8::try_from(level.number()).unwrap(), Ordering::Relaxed);
        [STRANGER, [192, 0, 2, 99].into(), TRUSTED].map(|address| site.admit(address).is_ok())
    };
    assert_eq!(welcome(Level::Normal), [true, true, true]);
    assert_eq!(welcome(Level::Stressed), [false, true, true]);
    assert_eq!(welcome(Level::Overloaded), [false, false, true]);
}

#[tokio::test(start_paused = true)]
async fn a_listener_with_few_places_left_has_stalled_strangers_leave() {
    let site = Site::new("[rules]\nconnections = \"off\"\nconnection_rate = \"off\"\n");
    site.admission.watch();
    let mut places = Vec::new();
    for _ in 0..9 {
        places.push(site.slots.take().await.unwrap());
    }
    let guest = site.admit(STRANGER).unwrap();
    let busy = site.admit(STRANGER).unwrap();
    busy.set_owed(true);
    let displaced = tokio::time::timeout(Duration::from_secs(20), guest.displaced()).await;
    assert!(displaced.is_ok());
    assert_eq!(site.admission.level(), Level::Stressed, "nine of ten places are taken");
    let displaced = tokio::time::timeout(Duration::from_secs(20), busy.displaced()).await;
    assert!(displaced.is_err(), "it waits for us");
    drop(places);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(site.admission.level(), Level::Normal, "it recovers by itself");
}

#[tokio::test(start_paused = true)]
async fn only_so_many_answers_are_held_back() {
    let site = Site::new("");
    let guest = Arc::new(site.admit(STRANGER).unwrap());
    let started = tokio::time::Instant::now();
    guest.unknown_recipient().await;
    assert_eq!(started.elapsed(), Duration::from_secs(2));
    let _held = site.admission.tarpit.try_acquire_many(u32::try_from(TARPIT_MAX).unwrap()).unwrap();
    let started = tokio::time::Instant::now();
    guest.unknown_recipient().await;
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_reload_keeps_what_was_counted_and_takes_new_lists() {
    let site = Site::new("");
    for _ in 0..3 {
        assert!(site.admit(STRANGER).is_ok());
    }
    let settings = toml::from_str(&STRICT.replace("192.0.2.0/24", "198.51.100.128/25")).unwrap();
    site.admission.reload(Policy::load(&settings).unwrap());
    assert_eq!(site.rule(STRANGER), Some(Rule::ConnectionRate));
    assert_eq!(site.rule([198, 51, 100, 200].into()), Some(Rule::Deny));
}
