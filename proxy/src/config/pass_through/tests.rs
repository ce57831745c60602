use std::path::Path;

use super::super::{Backend, Config, Service};
use super::*;

const LISTENER: &str = "[[listener]]\nname = \"a\"\nprotocol = \"smtp\"\naddress = \"127.0.0.1:0\"\n\
    tls = \"starttls\"\nrequire_auth = false\nbackend = \"pass-through\"\n";
const BEHIND: &str = "[pass_through]\ndomains = [\"example.org\"]\n";
const UPSTREAM: &str = "[[upstream]]\nname = \"b\"\naddress = \"192.0.2.25:25\"\n";

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(Path::new("g.toml"), text).map_err(|problems| problems.to_string())
}

#[test]
fn the_example_is_a_live_front() {
    let example = include_str!("../../../../deploy/pass-through.toml");
    let config = Config::parse(Path::new("pass-through.toml"), example).unwrap();
    let behind = config.pass_through.unwrap();
    assert_eq!(behind.upstreams.len(), 2);
    assert!(example.lines().filter(|line| line.contains(" = ")).count() > 15);
}

/// A commented key that does not exist would teach something wrong.
#[test]
fn every_commented_setting_of_the_example_is_a_real_one() {
    let example = include_str!("../../../../deploy/pass-through.toml");
    let is_key = |key: &str| key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let is_setting = |line: &&str| line.split_once(" = ").is_some_and(|(key, _)| is_key(key));
    let mut seen = 0;
    for commented in example.lines().filter_map(|line| line.strip_prefix("# ")).filter(is_setting) {
        seen += 1;
        let text = example.replace(&format!("# {commented}"), commented);
        let read = Config::parse(Path::new("pass-through.toml"), &text);
        let problem = read.err().map(|problems| problems.to_string()).unwrap_or_default();
        assert!(!problem.contains("unknown"), "{commented}: {problem}");
    }
    assert!(seen > 3, "{seen}");
}

#[test]
fn what_is_left_out_has_a_safe_value() {
    let config = parse(&format!("{LISTENER}{BEHIND}{UPSTREAM}")).unwrap();
    let Service::Smtp { backend: Backend::PassThrough(passing), .. } = &config.listeners[0].service else {
        panic!("no pass-through");
    };
    assert_eq!(*passing, Passing::default());
    let behind = config.pass_through.unwrap();
    assert_eq!(behind.upstreams[0].tls, UpstreamTls::Opportunistic);
    assert_eq!((behind.upstreams[0].weight, behind.upstreams[0].connections.get()), (1, 100));
}

#[test]
fn keys_are_pinned_by_their_digest() {
    let pin = |pin: &str| {
        let upstream = format!("{UPSTREAM}tls = \"verified\"\npins = [\"{pin}\"]\n");
        parse(&format!("{LISTENER}{BEHIND}{upstream}"))
    };
    let config = pin(&format!("sha256:{}", "0f".repeat(32))).unwrap();
    let expected = UpstreamProof::Pins { name: None, digests: vec![[15; 32]] };
    assert_eq!(config.pass_through.unwrap().upstreams[0].tls, UpstreamTls::Verified(expected));
    for bad in ["", "0f", &"0f".repeat(32), &format!("sha256:{}", "+f".repeat(32))] {
        assert!(pin(bad).unwrap_err().contains("not a pin"), "{bad}");
    }
}

#[test]
fn what_could_not_work_or_would_be_open_is_refused() {
    let whole = format!("{LISTENER}{BEHIND}{UPSTREAM}");
    let plain = LISTENER.replace("backend = \"pass-through\"\n", "");
    for (text, why) in [
        (format!("{LISTENER}{UPSTREAM}"), "whose mail may be passed through"),
        (format!("{LISTENER}{BEHIND}"), "there is no server"),
        (format!("{plain}{BEHIND}{UPSTREAM}"), "no listener passes"),
        (format!("{plain}trace_header = true\n"), "goes with backend"),
        (format!("{plain}delay_mail = true\n"), "goes with backend"),
        (
            whole.replace("backend =", "scan = { infected = \"quarantine\", in_session = true }\nbackend ="),
            "nothing is kept",
        ),
        (
            format!("{LISTENER}scan = {{ in_session = true }}\nbinarymime = true\n{BEHIND}{UPSTREAM}"),
            "BINARYMIME cannot be scanned",
        ),
        (whole.replace("[\"example.org\"]", "[]"), "nobody's mail"),
        (whole.replace(":25\"", ":0\""), "port 0"),
        (format!("{whole}credentials = \"/x\"\n"), "whose certificate is verified"),
        (
            format!("{whole}tls = \"verified\"\ncredentials = \"/x\"\n")
                .replace("tls = \"starttls\"", "tls = \"starttls\"\nauth = \"upstream\""),
            "we log in to the upstream b",
        ),
        (
            format!("{whole}tls = \"verified\"\ncredentials = \"/x\"\nidentity = \"xclient\"\n"),
            "a login that we do",
        ),
        (format!("{whole}tls = \"required\"\ncertificate = \"/x\"\n"), "go together"),
        (format!("{whole}tls = \"required\"\nkey = \"/x\"\n"), "go together"),
        (format!("{whole}certificate = \"/x\"\nkey = \"/y\"\n"), "inside TLS alone"),
        (format!("{whole}identity = \"xforward\"\n"), "unknown variant"),
        (format!("{plain}auth = \"upstream\"\n"), "goes with backend"),
        (whole.replace("domains", "blob = \"2 GiB\"\ndomains"), "more than 1 GiB"),
        (format!("{whole}{UPSTREAM}"), "two upstreams"),
        (format!("{whole}tls_name = \"x.example\"\n"), "no certificate is verified"),
        (format!("{whole}tls = \"verified\"\npins = []\n"), "no key at all"),
        (
            whole.replace("tls = \"starttls\"", "tls = \"starttls\"\nupstreams = [\"c\"]"),
            "no [[upstream]] of this",
        ),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn connections_may_be_kept_for_no_time_at_all() {
    let kept = |time: &str| {
        let config = parse(&format!("{LISTENER}{BEHIND}idle_time = \"{time}\"\n{UPSTREAM}"))?;
        Ok::<_, String>(config.pass_through.unwrap().idle_time.duration().as_secs())
    };
    assert_eq!((kept("0s"), kept("5s")), (Ok(0), Ok(5)));
    assert!(kept("-1s").is_err() && kept("25h").is_err() && kept("0").is_err());
}
