//! Which hosts take the mail of a domain (RFC 5321 section 5.1).
//!
//! ```text
//! MX records -> null MX? -> names that are none left out -> by preference, ties shuffled -> cut at ourselves -> addresses
//! ```

use std::collections::HashSet;
use std::net::IpAddr;

use super::dns::{Addresses, Exchanger, Exchangers, Resolver, Unresolved};
use super::reach::Reach;
use crate::directory::DomainName;

/// A host that is to be tried, in the order of its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name, which a certificate would have to have; `None` for an address literal.
    pub name: Option<String>,
    /// At least one.
    pub addresses: Vec<IpAddr>,
    /// Under which names its TLSA records may be; none unless DNSSEC proves the way from the domain to the addresses.
    pub tlsa_bases: Vec<String>,
}

/// Why a domain has no host that could be tried. Each begins with its enhanced status code (RFC 3463).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unroutable {
    /// NXDOMAIN.
    #[error("5.1.2 the domain {0} does not exist")]
    NoSuchDomain(String),
    /// RFC 7505.
    #[error("5.1.10 the domain {0} takes no mail (null MX)")]
    NullMx(String),
    /// All that is left of its mail exchangers is this server, which does not know the domain.
    #[error("5.4.6 the mail exchanger of {0} is this server, where the domain is not known")]
    Loop(String),
    /// Nothing that its MX records say is a host with an address.
    #[error("5.4.4 no mail exchanger of {0} can be used")]
    NoHost(String),
    /// Its hosts have addresses on loopback or in private networks only.
    #[error("5.4.4 the mail exchangers of {0} have no public address")]
    NotPublic(String),
    /// The DNS does not answer.
    #[error("4.4.3 the DNS has no answer for {0} now")]
    NoAnswer(String),
    /// What the DNS says is not signed as it would have to be.
    #[error("4.7.5 what the DNS says of {0} fails DNSSEC validation")]
    Bogus(String),
}

// === impl Unroutable ===

impl Unroutable {
    /// Whether another attempt would end the same.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        !matches!(self, Self::NoAnswer(_) | Self::Bogus(_))
    }

    fn unresolved(name: &str, why: Unresolved) -> Self {
        match why {
            Unresolved::NoSuchName => Self::NoSuchDomain(name.to_owned()),
            Unresolved::NoAnswer => Self::NoAnswer(name.to_owned()),
            Unresolved::Bogus => Self::Bogus(name.to_owned()),
        }
    }
}

/// The hosts of a domain (A-labels, lower case), in the order in which they are tried.
///
/// # Errors
/// There is none, now or for good.
pub async fn hosts(resolver: &dyn Resolver, domain: &str, reach: Reach<'_>) -> Result<Vec<Host>, Unroutable> {
    let unresolved = |why| Unroutable::unresolved(domain, why);
    let Exchangers { records, is_proven } = resolver.mail_exchangers(domain).await.map_err(unresolved)?;
    let names = if records.is_empty() {
        // The implicit MX.
        vec![domain.to_owned()]
    } else {
        names(domain, records, &reach.ourselves.hostname)?
    };
    let mut hosts = resolve(resolver, domain, &names, reach).await?;
    if !is_proven {
        hosts.iter_mut().for_each(|host| host.tlsa_bases.clear());
    }
    Ok(hosts)
}

/// The hosts behind names that were written down here: whatever their addresses are, they are meant.
///
/// # Errors
/// It has no address, now or for good.
pub async fn written_host(resolver: &dyn Resolver, name: &str) -> Result<Host, Unroutable> {
    match resolver.addresses(name).await {
        Ok(Addresses { addresses, tlsa_bases }) if !addresses.is_empty() => {
            Ok(Host { name: Some(name.to_owned()), addresses: by_turns(addresses), tlsa_bases })
        }
        // What the administrator wrote is repaired by him: nobody's mail should bounce for it.
        Ok(_) | Err(_) => Err(Unroutable::NoAnswer(name.to_owned())),
    }
}

/// The names of exchangers in the order in which they are tried. At the preference of this server and behind it are those
/// who would hand the mail back (RFC 5321 section 5.1).
fn names(domain: &str, exchangers: Vec<Exchanger>, hostname: &str) -> Result<Vec<String>, Unroutable> {
    if exchangers.iter().all(|exchanger| exchanger.name.is_empty()) {
        return Err(Unroutable::NullMx(domain.to_owned()));
    }
    let is_us = |exchanger: &Exchanger| exchanger.name == hostname;
    let ours = exchangers.iter().filter(|it| is_us(it)).map(|it| it.preference).min();
    let mut ranked: Vec<(u16, u64, String)> = exchangers
        .into_iter()
        .filter(|exchanger| ours.is_none_or(|ours| exchanger.preference < ours))
        .filter(|exchanger| exchanger.name.parse::<DomainName>().is_ok())
        .map(|exchanger| (exchanger.preference, getrandom::u64().unwrap_or(0), exchanger.name))
        .collect();
    ranked.sort();
    let mut seen = HashSet::new();
    let names: Vec<String> =
        ranked.into_iter().map(|(_, _, name)| name).filter(|name| seen.insert(name.clone())).collect();
    match (names.is_empty(), ours) {
        (false, _) => Ok(names),
        (true, Some(_)) => Err(Unroutable::Loop(domain.to_owned())),
        (true, None) => Err(Unroutable::NoHost(domain.to_owned())),
    }
}

async fn resolve(
    resolver: &dyn Resolver,
    domain: &str,
    names: &[String],
    reach: Reach<'_>,
) -> Result<Vec<Host>, Unroutable> {
    let (mut hosts, mut why_not) = (Vec::new(), None);
    for name in names.iter().take(HOSTS_MAX) {
        let Addresses { addresses, tlsa_bases } = match resolver.addresses(name).await {
            Ok(addresses) => addresses,
            Err(Unresolved::NoSuchName) => continue,
            Err(why) => {
                why_not = Some(Unroutable::unresolved(domain, why));
                continue;
            }
        };
        if addresses.iter().any(|address| reach.is_ourselves(*address)) {
            // Whoever is less preferred would hand it back to us.
            why_not.get_or_insert(Unroutable::Loop(domain.to_owned()));
            break;
        }
        let found = addresses.len();
        let usable = addresses.into_iter().filter(|address| reach.covers(*address));
        let mut addresses = by_turns(usable);
        addresses.truncate(ADDRESSES_MAX);
        if !addresses.is_empty() {
            hosts.push(Host { name: Some(name.clone()), addresses, tlsa_bases });
        } else if found > 0 {
            why_not.get_or_insert(Unroutable::NotPublic(domain.to_owned()));
        }
    }
    if hosts.is_empty() {
        return Err(why_not.unwrap_or_else(|| Unroutable::NoHost(domain.to_owned())));
    }
    Ok(hosts)
}

/// IPv6 and IPv4 in turns, IPv6 first: where one of them does not work from here, the other one is next.
fn by_turns(addresses: impl IntoIterator<Item = IpAddr>) -> Vec<IpAddr> {
    let (v6, v4): (Vec<IpAddr>, Vec<IpAddr>) = addresses.into_iter().partition(IpAddr::is_ipv6);
    let mut ranked: Vec<(usize, IpAddr)> =
        v6.into_iter().enumerate().chain(v4.into_iter().enumerate()).collect();
    ranked.sort_by_key(|(turn, _)| *turn);
    ranked.into_iter().map(|(_, address)| address).collect()
}

/// Who has more mail exchangers than these is reached by one of them.
const HOSTS_MAX: usize = 10;
/// Of one host.
const ADDRESSES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::reach::Ourselves;
    use super::super::tls_policy::dane::Tlsa;
    use super::*;
    use crate::BoxFuture;

    /// Knows what a test has told it.
    #[derive(Debug, Default)]
    struct Zone {
        exchangers: HashMap<&'static str, Vec<(u16, &'static str)>>,
        addresses: HashMap<&'static str, Vec<&'static str>>,
        silent: Vec<&'static str>,
        unsigned: Vec<&'static str>,
    }

    impl Zone {
        fn answer<T>(&self, name: &str, found: Option<T>) -> Result<T, Unresolved> {
            if self.silent.contains(&name) {
                return Err(Unresolved::NoAnswer);
            }
            found.ok_or(Unresolved::NoSuchName)
        }
    }

    impl Resolver for Zone {
        fn mail_exchangers<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<Exchangers, Unresolved>> {
            let exchanger = |(preference, name): &(u16, &str)| Exchanger {
                preference: *preference,
                name: (*name).to_owned(),
            };
            let found = self.exchangers.get(domain).map(|known| known.iter().map(exchanger).collect());
            let exists = self.addresses.contains_key(domain).then(Vec::new);
            let answer = self.answer(domain, found.or(exists));
            let is_proven = !self.unsigned.contains(&domain);
            Box::pin(async move { answer.map(|records| Exchangers { records, is_proven }) })
        }

        fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Addresses, Unresolved>> {
            let found =
                self.addresses.get(host).map(|known| known.iter().map(|it| it.parse().unwrap()).collect());
            let answer = self.answer(host, found);
            let is_proven = !self.unsigned.contains(&host);
            let tlsa_bases = is_proven.then(|| host.to_owned()).into_iter().collect();
            Box::pin(async move { answer.map(|addresses| Addresses { addresses, tlsa_bases }) })
        }

        fn texts<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, Result<Vec<String>, Unresolved>> {
            Box::pin(async { Ok(Vec::new()) })
        }

        fn tlsa<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, Result<Vec<Tlsa>, Unresolved>> {
            Box::pin(async { Ok(Vec::new()) })
        }

        fn proves(&self) -> BoxFuture<'_, bool> {
            Box::pin(async { true })
        }
    }

    fn zone() -> Zone {
        let mut zone = Zone::default();
        for (name, address) in [
            ("one.example", "192.0.2.1"),
            ("two.example", "192.0.2.2"),
            ("three.example", "2001:db8::3"),
            ("us.example", "192.0.2.9"),
            ("alias-of-us.example", "192.0.2.9"),
            ("inside.example", "127.0.0.1"),
            ("bare.example", "192.0.2.7"),
        ] {
            zone.addresses.insert(name, vec![address]);
        }
        zone
    }

    async fn ask(zone: &Zone, domain: &str) -> Result<Vec<String>, String> {
        let ourselves = Ourselves {
            hostname: "us.example".into(),
            listeners: vec!["192.0.2.9:25".parse().unwrap(), "127.0.0.1:2525".parse().unwrap()],
        };
        let reach = Reach { ourselves: &ourselves, port: 25, internal: false };
        let hosts = hosts(zone, domain, reach).await.map_err(|error| error.to_string())?;
        // Those that may have TLSA records have a star.
        let star =
            |host: &Host| if host.tlsa_bases.is_empty() || zone.unsigned.is_empty() { "" } else { "*" };
        Ok(hosts.iter().filter_map(|host| Some(format!("{}{}", host.name.as_deref()?, star(host)))).collect())
    }

    async fn of(exchangers: &[(u16, &'static str)]) -> Result<Vec<String>, String> {
        let mut zone = zone();
        zone.exchangers.insert("to.example", exchangers.to_vec());
        ask(&zone, "to.example").await.map_err(|error| error.split(' ').next().unwrap().to_owned())
    }

    fn names(expected: &[&str]) -> Result<Vec<String>, String> {
        Ok(expected.iter().map(|name| (*name).to_owned()).collect())
    }

    #[tokio::test]
    async fn hosts_come_in_order_of_preference() {
        let found = of(&[(30, "three.example"), (10, "one.example"), (20, "two.example")]).await;
        assert_eq!(found, names(&["one.example", "two.example", "three.example"]));
        assert_eq!(of(&[(10, "one.example"), (20, "one.example")]).await, names(&["one.example"]));
    }

    #[tokio::test]
    async fn hosts_of_the_same_preference_share_the_load() {
        let mut first = HashSet::new();
        for _ in 0..200 {
            let found = of(&[(10, "one.example"), (10, "two.example"), (20, "three.example")]).await.unwrap();
            assert_eq!(found[2], "three.example");
            first.insert(found[0].clone());
        }
        assert_eq!(first.len(), 2, "one in 2^200 times this is chance");
    }

    #[test]
    fn the_families_of_a_host_take_turns() {
        let addresses = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "192.0.2.3"];
        let turns = by_turns(addresses.map(|address| address.parse().unwrap()));
        let turns: Vec<String> = turns.iter().map(IpAddr::to_string).collect();
        assert_eq!(turns, ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3"]);
    }

    #[tokio::test]
    async fn a_domain_without_mx_is_its_own_host() {
        assert_eq!(ask(&zone(), "bare.example").await, names(&["bare.example"]));
    }

    #[tokio::test]
    async fn what_does_not_exist_or_takes_no_mail_is_told_apart_from_what_does_not_answer() {
        let mut zone = zone();
        zone.silent.push("silent.example");
        assert!(ask(&zone, "no-such.example").await.unwrap_err().starts_with("5.1.2 "));
        assert!(ask(&zone, "silent.example").await.unwrap_err().starts_with("4.4.3 "));
        assert_eq!(of(&[(0, "")]).await, Err("5.1.10".into()));
        assert_eq!(of(&[(10, "gone.example")]).await, Err("5.4.4".into()));
        zone.silent.push("one.example");
        zone.exchangers.insert("to.example", vec![(10, "one.example"), (20, "gone.example")]);
        assert!(
            ask(&zone, "to.example").await.unwrap_err().starts_with("4.4.3"),
            "one may have an address yet"
        );
    }

    #[tokio::test]
    async fn tlsa_records_are_asked_for_where_the_whole_way_to_a_host_is_signed() {
        let mut zone = zone();
        zone.exchangers.insert("to.example", vec![(10, "one.example"), (20, "two.example")]);
        zone.unsigned.push("two.example");
        assert_eq!(ask(&zone, "to.example").await, names(&["one.example*", "two.example"]));
        zone.unsigned.push("to.example");
        assert_eq!(ask(&zone, "to.example").await, names(&["one.example", "two.example"]));
        assert_eq!(ask(&zone, "bare.example").await, names(&["bare.example*"]));
    }

    #[tokio::test]
    async fn a_null_mx_among_others_and_names_that_are_none_are_left_out() {
        assert_eq!(of(&[(0, ""), (10, "one.example")]).await, names(&["one.example"]));
        assert_eq!(of(&[(0, "192.0.2.1"), (10, "one.example")]).await, names(&["one.example"]));
        assert_eq!(of(&[(0, "192.0.2.1"), (10, "a b.example")]).await, Err("5.4.4".into()));
    }

    #[tokio::test]
    async fn nobody_at_our_preference_or_behind_it_is_sent_to() {
        let found =
            of(&[(10, "one.example"), (20, "us.example"), (20, "two.example"), (30, "three.example")]);
        assert_eq!(found.await, names(&["one.example"]));
        assert_eq!(of(&[(10, "us.example"), (20, "two.example")]).await, Err("5.4.6".into()));
        // By its address too.
        assert_eq!(of(&[(10, "alias-of-us.example"), (20, "two.example")]).await, Err("5.4.6".into()));
    }

    #[tokio::test]
    async fn a_foreign_domain_cannot_send_us_to_hosts_inside() {
        assert_eq!(of(&[(10, "inside.example")]).await, Err("5.4.4".into()));
        assert_eq!(of(&[(10, "inside.example"), (20, "one.example")]).await, names(&["one.example"]));
    }
}
