//! `[relay]`: the mail server that listeners with `backend = "relay"` stand before.

use std::num::NonZeroU32;
use std::path::PathBuf;

use gatepost_core::delivery::route::DomainPattern;
use serde::Deserialize;
use toml::Spanned;

use super::delivery::Remote;
use super::problem::Finding;
use super::route::{Hop, Pattern, WrittenProtocol, WrittenRoute, WrittenTls};
use super::values::TimeSpan;

/// The domains of the server behind, and whom it knows. The way there is the first of the routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// At least one, and never all there are.
    pub domains: Vec<DomainPattern>,
    /// Who is taken mail for.
    pub recipients: Recipients,
}

/// Which recipients in these domains are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipients {
    /// All of them: the server behind refuses those that it does not know, when the mail has been accepted already.
    Any,
    /// Those of a file.
    Listed(PathBuf),
    /// Those whom the server behind says it knows when it is asked.
    Probed {
        /// How long a recipient stays known.
        known_time: TimeSpan,
        /// How long he stays unknown.
        unknown_time: TimeSpan,
        /// Whether mail is taken for everybody while the server behind cannot be asked.
        accept_unverified: bool,
    },
}

/// `[relay]`, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenRelay {
    domains: Spanned<Vec<Pattern>>,
    hops: Spanned<Vec<Hop>>,
    protocol: Option<Spanned<WrittenProtocol>>,
    tls: Option<Spanned<WrittenTls>>,
    credentials: Option<Spanned<PathBuf>>,
    rate: Option<NonZeroU32>,
    domain_rate: Option<Spanned<NonZeroU32>>,
    connections: Option<Spanned<NonZeroU32>>,
    recipients: Option<Spanned<WrittenRecipients>>,
    recipient_file: Option<Spanned<PathBuf>>,
    known_time: Option<Spanned<TimeSpan>>,
    unknown_time: Option<Spanned<TimeSpan>>,
    accept_unverified: Option<Spanned<bool>>,
}

/// How recipients get known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WrittenRecipients {
    Any,
    List,
    #[default]
    Probe,
}

// === impl WrittenRelay ===

impl WrittenRelay {
    /// Adds the way to the server behind to the routes.
    pub(super) fn check(self, remote: Option<&mut Remote>, findings: &mut Vec<Finding>) -> Relay {
        if self.domains.get_ref().iter().any(|pattern| pattern.0 == DomainPattern::Any) {
            findings.push(
                Finding::at(self.domains.span(), "\"*\" would take mail from anybody for everybody")
                    .hint("name the domains of the server behind"),
            );
        }
        let recipients = self.recipients(findings);
        let domains_span = self.domains.span();
        let Self { domains, hops, protocol, tls, credentials, rate, domain_rate, connections, .. } = self;
        let hops = Some(hops);
        let route =
            WrittenRoute { domains, hops, protocol, tls, credentials, rate, domain_rate, connections }
                .check(findings);
        let domains = route.domains.clone();
        match remote {
            Some(remote) => remote.routes.insert(0, route),
            None => findings.push(
                Finding::at(domains_span, "a relay hands mail on, but no mail leaves this server")
                    .hint("set enabled = true in [delivery.remote]"),
            ),
        }
        Relay { domains, recipients }
    }

    fn recipients(&self, findings: &mut Vec<Finding>) -> Recipients {
        let how = self.recipients.as_ref().map(|how| *how.get_ref()).unwrap_or_default();
        let of_probes = [
            self.known_time.as_ref().map(Spanned::span),
            self.unknown_time.as_ref().map(Spanned::span),
            self.accept_unverified.as_ref().map(Spanned::span),
        ];
        let of_probes = of_probes.into_iter().flatten().filter(|_| how != WrittenRecipients::Probe);
        findings.extend(of_probes.map(|span| {
            Finding::at(span, "the server behind is not asked for recipients").hint("recipients = \"probe\"")
        }));
        if let Some(file) = self.recipient_file.as_ref().filter(|_| how != WrittenRecipients::List) {
            let unused = Finding::at(file.span(), "this list of recipients is not looked at");
            findings.push(unused.hint("recipients = \"list\""));
        }
        let time = |written: &Option<Spanned<TimeSpan>>, default| {
            written.as_ref().map_or(default, |time| *time.get_ref())
        };
        match (how, &self.recipient_file) {
            (WrittenRecipients::Any, _) => Recipients::Any,
            (WrittenRecipients::Probe, _) => Recipients::Probed {
                known_time: time(&self.known_time, KNOWN_TIME_DEFAULT),
                unknown_time: time(&self.unknown_time, UNKNOWN_TIME_DEFAULT),
                accept_unverified: self.accept_unverified.as_ref().is_some_and(|accept| *accept.get_ref()),
            },
            (WrittenRecipients::List, Some(file)) => Recipients::Listed(file.get_ref().clone()),
            (WrittenRecipients::List, None) => {
                let span = self.recipients.as_ref().map(Spanned::span).unwrap_or_default();
                let missing = Finding::at(span, "there is no list of recipients");
                findings.push(missing.hint("recipient_file = \"FILE\" names it"));
                Recipients::Any
            }
        }
    }
}

/// Who leaves is still known for so long: his mail is then refused by the server behind.
const KNOWN_TIME_DEFAULT: TimeSpan = TimeSpan::seconds(2 * 60 * 60);
/// Who is new is still unknown for so long.
const UNKNOWN_TIME_DEFAULT: TimeSpan = TimeSpan::seconds(5 * 60);

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Config;
    use super::*;

    const BEHIND: &str = "[relay]\ndomains = [\"example.org\"]\nhops = [\"mail.example.org\"]\n";

    fn parse(relay: &str) -> Result<Config, String> {
        let listener = "[[listener]]\nname = \"a\"\nprotocol = \"smtp\"\naddress = \"127.0.0.1:0\"\ntls = \"starttls\"\n";
        let text = format!("{listener}backend = \"relay\"\n[delivery.remote]\nenabled = true\n{relay}");
        Config::parse(Path::new("g.toml"), &text).map_err(|problems| problems.to_string())
    }

    #[test]
    fn the_example_stands_before_a_mail_server() {
        let example = include_str!("../../../deploy/relay.toml");
        let config = Config::parse(Path::new("relay.toml"), example).unwrap();
        let relay = config.relay.unwrap();
        assert_eq!(relay.domains, [DomainPattern::Exactly("example.org".into())]);
        let routes = config.remote.unwrap().routes;
        assert_eq!((routes.len(), &routes[0].domains), (1, &relay.domains));
        let settings = |line: &str| !line.starts_with('#') && line.contains(" = ");
        assert!(example.lines().filter(|line| settings(line)).count() > 10);
    }

    /// A commented key that does not exist would teach something wrong.
    #[test]
    fn every_commented_setting_of_the_example_is_a_real_one() {
        let example = include_str!("../../../deploy/relay.toml");
        let is_key = |key: &str| key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        let is_setting = |line: &&str| line.split_once(" = ").is_some_and(|(key, _)| is_key(key));
        for commented in example.lines().filter_map(|line| line.strip_prefix("# ")).filter(is_setting) {
            let (key, _) = commented.split_once(" = ").unwrap();
            let lines = example.lines().filter(|line| !line.starts_with(&format!("{key} = ")));
            let text: String = lines
                .map(|line| line.strip_prefix("# ").filter(|it| *it == commented).unwrap_or(line))
                .fold(String::new(), |text, line| text + line + "\n");
            let read = Config::parse(Path::new("relay.toml"), &text);
            let problem = read.err().map(|problems| problems.to_string()).unwrap_or_default();
            assert!(!problem.contains("unknown"), "{commented}: {problem}");
        }
    }

    #[test]
    fn the_way_to_the_server_behind_is_the_first_route() {
        let route = "[[route]]\ndomains = [\"*\"]\nhops = [\"smart.example\"]\n";
        let config = parse(&format!("{BEHIND}recipients = \"any\"\n{route}")).unwrap();
        let first = |config: &Config| config.remote.as_ref().unwrap().routes[0].hops[0].to_string();
        assert_eq!(first(&config), "mail.example.org:25");
        assert_eq!(config.relay.unwrap().recipients, Recipients::Any);
    }

    #[test]
    fn recipients_are_probed_unless_something_else_is_written() {
        let recipients = |keys: &str| parse(&format!("{BEHIND}{keys}")).unwrap().relay.unwrap().recipients;
        let default = Recipients::Probed {
            known_time: KNOWN_TIME_DEFAULT,
            unknown_time: UNKNOWN_TIME_DEFAULT,
            accept_unverified: false,
        };
        assert_eq!(recipients(""), default);
        assert_eq!(
            recipients("known_time = \"2h\"\nunknown_time = \"5m\"\naccept_unverified = false\n"),
            default
        );
    }

    #[test]
    fn what_could_not_work_or_would_be_open_is_refused() {
        let any = format!("{BEHIND}recipients = \"any\"\n");
        for (text, why) in [
            (String::new(), "there is no mail server behind this listener"),
            (format!("{BEHIND}recipient_file = \"/x\"\n"), "is not looked at"),
            (format!("{any}accept_unverified = true\n"), "is not asked for recipients"),
            (format!("{any}known_time = \"1h\"\n"), "is not asked for recipients"),
            (any.replace("example.org\"]\nhops", "*\"]\nhops"), "for everybody"),
            (any.replace("any", "list"), "there is no list of recipients"),
            (format!("{any}recipient_file = \"/x\"\n"), "is not looked at"),
            (format!("{any}credentials = \"/x\"\ntls = \"never\"\n"), "whose certificate is verified"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        let listener = "[[listener]]\nname = \"a\"\nprotocol = \"smtp\"\naddress = \"127.0.0.1:0\"\ntls = \"starttls\"\n";
        let read = |text: &str| Config::parse(Path::new("g.toml"), text).unwrap_err().to_string();
        let no_listener = read(&format!("{listener}[delivery.remote]\nenabled = true\n{any}"));
        assert!(no_listener.contains("no listener takes mail for these domains"), "{no_listener}");
        let stays = read(&format!("{listener}backend = \"relay\"\n{any}"));
        assert!(stays.contains("no mail leaves this server"), "{stays}");
    }
}
