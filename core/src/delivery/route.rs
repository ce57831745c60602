//! Which way the mail of a recipient goes.
//!
//! ```text
//! recipient -> domain -> a route of the configuration, else the domain's MX -> way: destination, limits
//! ```
//! Recipients with the same way share transactions and limits; those with the same destination share connections and what is
//! known of its health.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use gatepost_smtp::client::{Login, Protocol};
use gatepost_smtp::wire::path::{Domain, ForwardPath};

use crate::directory::DomainName;

/// The routes of the configuration, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes(Vec<Arc<Route>>);

/// What the administrator says of the way to these domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// For whom.
    pub domains: Vec<DomainPattern>,
    /// Where their mail goes instead of their MX. Those with a weight share the mail, and come first; then the others, in this
    /// order. None: each goes to its MX, and the route is about limits alone.
    pub hops: Vec<RouteHop>,
    /// What they speak.
    pub protocol: Protocol,
    /// What is asked of TLS with them.
    pub tls: RouteTls,
    /// With what we log in there; goes with a verified certificate only.
    pub login: Option<Login>,
    /// How much of us it gets.
    pub limits: Limits,
}

/// How much a way gets, where that differs from what all get.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Mails a minute to the destination.
    pub rate: Option<NonZeroU32>,
    /// Mails a minute to each domain behind the hops.
    pub domain_rate: Option<NonZeroU32>,
    /// Connections to the destination at the same time.
    pub connections: Option<NonZeroU32>,
}

/// Which domains a route is for. Names are A-labels in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DomainPattern {
    /// `*`: all of them, address literals included. Such a route is a smart host.
    Any,
    /// `*.example.org`: every domain below this one, but not itself.
    Below(String),
    /// `example.org`.
    Exactly(String),
}

/// One next hop.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RouteHop {
    /// Where it is.
    pub host: HopHost,
    /// Its TCP port.
    pub port: u16,
    /// Its share of the connections, against those of the others with a weight; `None`: only where these fail.
    pub weight: Option<NonZeroU16>,
}

/// A host as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HopHost {
    /// A name, whose addresses (not whose MX) are asked for.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// What is asked of TLS with a next hop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum RouteTls {
    /// None is begun.
    Never,
    /// Where it is offered, and whosever certificate it is; in the clear where it fails.
    #[default]
    Opportunistic,
    /// STARTTLS or no mail, whosever certificate it is.
    Encrypted,
    /// STARTTLS and a certificate for the hop's name from a known authority, or no mail.
    Verified,
    /// As `Verified`, but TLS comes before the first word (RFC 8314).
    Implicit,
}

/// Where mail goes next, as one goal: the recipients of one share everything that happens on the way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Destination {
    /// The mail exchangers of a domain (A-labels, lower case).
    Domain(Arc<str>),
    /// An address literal.
    Address(IpAddr),
    /// The hops of a route.
    Route(Arc<Route>),
}

/// Which way the mail of a recipient goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Way {
    /// To whom.
    pub destination: Destination,
    /// The recipient's domain, where mail behind the destination is counted by domain.
    pub domain: Option<Arc<str>>,
    /// Of the route.
    pub limits: Limits,
}

// === impl Routes ===

impl Routes {
    /// These routes.
    #[must_use]
    pub fn new(routes: Vec<Route>) -> Self {
        Self(routes.into_iter().map(Arc::new).collect())
    }

    /// Where the mail of a recipient goes. `None` for what has no destination outside: `<Postmaster>`, and a domain that no
    /// DNS can know.
    #[must_use]
    pub fn way(&self, path: &ForwardPath) -> Option<Way> {
        let ForwardPath::Mailbox(mailbox) = path else { return None };
        match mailbox.domain() {
            Domain::Address(address) => {
                let route = self.0.iter().find(|route| route.domains.contains(&DomainPattern::Any));
                Some(Way::by(route, Destination::Address(*address)))
            }
            Domain::Name(name) => {
                let name: DomainName = name.parse().ok()?;
                Some(Way::by(self.find(name.as_str()), Destination::Domain(name.as_str().into())))
            }
        }
    }

    /// The route whose pattern says most about the domain; of several such, the first.
    fn find(&self, domain: &str) -> Option<&Arc<Route>> {
        let mut best: Option<(usize, &Arc<Route>)> = None;
        for route in &self.0 {
            let closeness = route.domains.iter().filter_map(|pattern| pattern.closeness(domain)).max();
            if let Some(closeness) = closeness
                && best.is_none_or(|(other, _)| closeness > other)
            {
                best = Some((closeness, route));
            }
        }
        best.map(|(_, route)| route)
    }
}

// === impl Way ===

impl Way {
    /// Without hops, a route leaves a recipient's own destination as it is.
    fn by(route: Option<&Arc<Route>>, own: Destination) -> Self {
        let limits = route.map(|route| route.limits).unwrap_or_default();
        let Some(route) = route.filter(|route| !route.hops.is_empty()) else {
            return Self { destination: own, domain: None, limits };
        };
        let domain = limits.domain_rate.map(|_| own.to_string().into());
        Self { destination: Destination::Route(Arc::clone(route)), domain, limits }
    }
}

// === impl DomainPattern ===

impl DomainPattern {
    /// Whether a recipient's domain is meant. An address literal is meant by `Any` alone.
    #[must_use]
    pub fn is_of(&self, path: &ForwardPath) -> bool {
        let ForwardPath::Mailbox(mailbox) = path else { return false };
        match mailbox.domain() {
            Domain::Address(_) => *self == Self::Any,
            Domain::Name(name) => {
                name.parse::<DomainName>().is_ok_and(|name| self.is_of_domain(name.as_str()))
            }
        }
    }

    /// Whether a domain (A-labels, lower case) is meant.
    #[must_use]
    pub fn is_of_domain(&self, domain: &str) -> bool {
        self.closeness(domain).is_some()
    }

    /// How much it says about a domain; `None` where it is about others.
    fn closeness(&self, domain: &str) -> Option<usize> {
        match self {
            Self::Any => Some(0),
            Self::Below(parent) => {
                let rest = domain.strip_suffix(parent.as_str())?.strip_suffix('.')?;
                (!rest.is_empty()).then_some(parent.len())
            }
            Self::Exactly(name) => (name == domain).then_some(usize::MAX),
        }
    }
}

// === impl Route ===

/// Few routes have the same hops, and those that do are told apart by their other parts.
impl Hash for Route {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hops.hash(state);
    }
}

// === impl RouteHop ===

/// As it is written in the configuration.
impl fmt::Display for RouteHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            HopHost::Name(name) => write!(f, "{name}:{}", self.port),
            HopHost::Address(IpAddr::V4(address)) => write!(f, "{address}:{}", self.port),
            HopHost::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
        }
    }
}

// === impl Destination ===

/// For logs and reasons: a domain, an address in brackets, or the first hop of a route.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(name) => f.write_str(name),
            Self::Address(address) => write!(f, "[{address}]"),
            Self::Route(route) => match route.hops.first() {
                Some(hop) => write!(f, "{hop}"),
                None => f.write_str("a route without hops"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(domains: &[DomainPattern], port: u16) -> Route {
        Route {
            domains: domains.to_vec(),
            hops: vec![RouteHop { host: HopHost::Name("hop.example".into()), port, weight: None }],
            protocol: Protocol::Smtp,
            tls: RouteTls::default(),
            login: None,
            limits: Limits::default(),
        }
    }

    fn to(routes: &Routes, address: &str) -> String {
        let path = format!("<{address}>").parse().unwrap();
        routes.way(&path).map_or_else(|| "nowhere".into(), |way| way.destination.to_string())
    }

    #[test]
    fn without_a_route_a_domain_is_its_own_destination() {
        let routes = Routes::default();
        assert_eq!(to(&routes, "a@Example.ORG"), "example.org");
        assert_eq!(to(&routes, "a@bücher.example"), "xn--bcher-kva.example");
        assert_eq!(to(&routes, "a@[192.0.2.1]"), "[192.0.2.1]");
        assert_eq!(to(&routes, "a@[IPv6:2001:db8::1]"), "[2001:db8::1]");
        assert_eq!(to(&routes, "a@300.1.2.3"), "nowhere", "no name, and no address either");
        assert_eq!(to(&routes, "postmaster"), "nowhere");
    }

    #[test]
    fn a_pattern_means_the_recipients_of_its_domains() {
        let is_of = |pattern: &DomainPattern, path: &str| pattern.is_of(&path.parse().unwrap());
        let below = DomainPattern::Below("example.org".into());
        let exactly = DomainPattern::Exactly("xn--bcher-kva.example".into());
        assert!(is_of(&below, "<a@b.Example.org>") && is_of(&exactly, "<a@BÜCHER.example>"));
        for path in ["<a@example.org>", "<a@notexample.org>", "<a@[192.0.2.1]>", "<postmaster>"] {
            assert!(!is_of(&below, path), "{path}");
        }
        assert!(is_of(&DomainPattern::Any, "<a@[192.0.2.1]>"));
    }

    #[test]
    fn the_route_that_says_most_about_a_domain_is_taken() {
        let below = |name: &str| DomainPattern::Below(name.into());
        let routes = Routes::new(vec![
            route(&[DomainPattern::Any], 1),
            route(&[below("example.org")], 2),
            route(&[DomainPattern::Exactly("a.example.org".into()), below("b.example.org")], 3),
            route(&[DomainPattern::Exactly("a.example.org".into())], 4),
        ]);
        for (address, hop) in [
            ("x@other.example", "hop.example:1"),
            ("x@example.org", "hop.example:1"),
            ("x@c.example.org", "hop.example:2"),
            ("x@notexample.org", "hop.example:1"),
            ("x@A.Example.Org", "hop.example:3"),
            ("x@c.b.example.org", "hop.example:3"),
            ("x@[192.0.2.1]", "hop.example:1"),
        ] {
            assert_eq!(to(&routes, address), hop, "{address}");
        }
    }

    #[test]
    fn a_route_without_hops_limits_what_goes_to_mail_exchangers() {
        let limits = Limits { rate: NonZeroU32::new(5), ..Limits::default() };
        let limited =
            Route { hops: Vec::new(), limits, ..route(&[DomainPattern::Below("example.org".into())], 1) };
        let routes = Routes::new(vec![limited]);
        let way = |address: &str| routes.way(&format!("<{address}>").parse().unwrap()).unwrap();
        let mine = way("x@a.example.org");
        assert_eq!(
            (mine.destination, mine.limits, mine.domain),
            (Destination::Domain("a.example.org".into()), limits, None)
        );
        assert_eq!(way("x@example.org").limits, Limits::default());
    }

    #[test]
    fn domains_behind_a_hop_are_told_apart_where_mail_is_counted_by_them() {
        let counted = |domain_rate: Option<u32>| {
            let limits = Limits { domain_rate: domain_rate.and_then(NonZeroU32::new), ..Limits::default() };
            let routes = Routes::new(vec![Route { limits, ..route(&[DomainPattern::Any], 1) }]);
            ["x@a.example", "y@A.Example", "x@b.example", "x@[192.0.2.1]"]
                .map(|address| routes.way(&format!("<{address}>").parse().unwrap()).unwrap())
        };
        let [a, also_a, b, address] = counted(Some(1));
        assert_eq!((&a, a.domain.as_deref()), (&also_a, Some("a.example")));
        assert_eq!(
            (b.domain.as_deref(), address.domain.as_deref()),
            (Some("b.example"), Some("[192.0.2.1]"))
        );
        assert_eq!((&a.destination, &a.destination), (&b.destination, &address.destination));
        let [a, _, b, address] = counted(None);
        assert!(a == b && b == address);
    }
}
