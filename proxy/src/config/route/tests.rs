use std::path::Path;

use super::*;
use crate::config::{Config, Remote};

fn remote(text: &str) -> Result<Option<Remote>, String> {
    let listener =
        "[[listener]]\nname = \"a\"\nprotocol = \"smtp\"\naddress = \"127.0.0.1:0\"\ntls = \"starttls\"\n";
    let config = Config::parse(Path::new("g.toml"), &format!("{listener}{text}"));
    config.map(|config| config.remote).map_err(|problems| problems.to_string())
}

fn route(keys: &str) -> Result<Route, String> {
    let text = format!("[delivery.remote]\nenabled = true\n[[route]]\n{keys}\n");
    remote(&text).map(|remote| remote.unwrap().routes.remove(0))
}

#[test]
fn a_route_has_the_port_and_the_tls_that_go_with_its_other_keys() {
    let hops = |keys: &str| route(keys).unwrap().hops.iter().map(ToString::to_string).collect::<Vec<_>>();
    let to = "domains = [\"*\"]\nhops = [\"Mail.Example\", \"192.0.2.1:26\", \"2001:db8::1\"]\n";
    assert_eq!(hops(to), ["mail.example:25", "192.0.2.1:26", "[2001:db8::1]:25"]);
    assert_eq!(hops(&format!("{to}protocol = \"lmtp\""))[0], "mail.example:24");
    assert_eq!(hops(&format!("{to}tls = \"implicit\""))[0], "mail.example:465");
    assert_eq!(route(to).unwrap().tls, RouteTls::Opportunistic);
    assert_eq!(route(&format!("{to}credentials = \"/x\"")).unwrap().tls, RouteTls::Verified);
}

#[test]
fn a_hop_may_have_a_weight() {
    let hops = |text: &str| route(&format!("domains = [\"*\"]\nhops = [{text}]\n")).map(|route| route.hops);
    let weights = |text: &str| hops(text).unwrap().iter().map(|hop| hop.weight).collect::<Vec<_>>();
    let mixed = "\"spare.example\", { host = \"[2001:db8::1]:26\", weight = 3 }";
    assert_eq!(weights(mixed), [None, NonZeroU16::new(3)]);
    for (bad, why) in [
        ("{ host = \"a.example\", weight = 0 }", "nonzero"),
        ("{ host = \"a b\", weight = 1 }", "not a host"),
        ("{ host = \"a.example\" }", "missing field `weight`"),
        ("{ host = \"a.example\", wieght = 1 }", "did you mean `weight`"),
        ("1", "a host or { host, weight }"),
    ] {
        let error = hops(bad).unwrap_err();
        assert!(error.contains(why), "{bad}: {error}");
    }
}

#[test]
fn patterns_are_read_and_what_is_none_is_refused() {
    let domains = |text: &str| route(&format!("domains = [{text}]\nhops = [\"a.example\"]\n"));
    let read = domains("\"*\", \"*.Example.org\", \"bücher.example\"").unwrap().domains;
    let below = DomainPattern::Below("example.org".into());
    let exactly = DomainPattern::Exactly("xn--bcher-kva.example".into());
    assert_eq!(read, [DomainPattern::Any, below, exactly]);
    for bad in ["\"a b\"", "\"*.*\"", "\"\"", "\"192.0.2.1\""] {
        assert!(domains(bad).unwrap_err().contains("not a domain"), "{bad}");
    }
}

#[test]
fn what_could_not_work_is_refused() {
    let to = "domains = [\"*\"]\nhops = [\"mail.example\"]\n";
    for (text, why) in [
        (format!("[[route]]\n{to}"), "leads nowhere"),
        (
            format!(
                "[delivery.remote]\nenabled = true\n[[route]]\n{to}tls = \"encrypted\"\ncredentials = \"/x\""
            ),
            "whose certificate is verified",
        ),
    ] {
        assert!(remote(&text).unwrap_err().contains(why), "{text}");
    }
    for hop in ["", "a b", "mail.example:0", "mail.example:99999", ":25", "1.2.3", "[::1]"] {
        let error = route(&format!("domains = [\"*\"]\nhops = [\"{hop}\"]\n")).unwrap_err();
        assert!(error.contains("not a host"), "{hop}: {error}");
    }
    assert!(route("domains = []\nhops = [\"a.example\"]\n").unwrap_err().contains("needs a domain"));
    assert!(route("domains = [\"*\"]\nhops = []\n").unwrap_err().contains("needs a hop"));
}

#[test]
fn a_route_may_have_limits_and_nothing_else() {
    let to = "domains = [\"slow.example\"]\n";
    let limits = |keys: &str| route(&format!("{to}{keys}")).map(|route| (route.hops.len(), route.limits));
    let number = NonZeroU32::new;
    let both = Limits { rate: number(5), domain_rate: None, connections: number(2) };
    assert_eq!(limits("rate = 5\nconnections = 2\n"), Ok((0, both)));
    let each = Limits { rate: None, domain_rate: number(3), connections: None };
    assert_eq!(limits("hops = [\"a.example\"]\ndomain_rate = 3\n"), Ok((1, each)));
    for (keys, why) in [
        ("", "a hop or a limit"),
        ("rate = 0", "nonzero"),
        ("rate = 1\ntls = \"verified\"", "goes to mail exchangers"),
        ("rate = 1\nprotocol = \"smtp\"", "goes to mail exchangers"),
        ("rate = 1\ncredentials = \"/x\"", "goes to mail exchangers"),
        ("domain_rate = 1", "a destination of its own"),
        ("connections = 101", "more than 100"),
    ] {
        let error = limits(keys).unwrap_err();
        assert!(error.contains(why), "{keys}: {error}");
    }
}
