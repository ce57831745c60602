//! `[relay]`: the mail server that listeners with `backend = "relay"` stand before.

use std::path::PathBuf;

use gatepost_core::delivery::route::DomainPattern;
use serde::Deserialize;
use toml::Spanned;

use super::delivery::{Hop, Pattern, Remote, WrittenProtocol, WrittenRoute, WrittenTls};
use super::problem::Finding;

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
}

/// `[relay]`, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenRelay {
    domains: Spanned<Vec<Pattern>>,
    hops: Spanned<Vec<Hop>>,
    #[serde(default)]
    protocol: WrittenProtocol,
    tls: Option<WrittenTls>,
    credentials: Option<Spanned<PathBuf>>,
    recipients: Spanned<WrittenRecipients>,
    recipient_file: Option<Spanned<PathBuf>>,
}

/// How recipients get known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WrittenRecipients {
    Any,
    List,
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
        let recipients = match (self.recipients.get_ref(), self.recipient_file) {
            (WrittenRecipients::List, Some(file)) => Recipients::Listed(file.into_inner()),
            (WrittenRecipients::List, None) => {
                let missing = Finding::at(self.recipients.span(), "there is no list of recipients");
                findings.push(missing.hint("recipient_file = \"FILE\" names it"));
                Recipients::Any
            }
            (WrittenRecipients::Any, file) => {
                if let Some(file) = file {
                    let unused = Finding::at(file.span(), "this list of recipients is not looked at");
                    findings.push(unused.hint("recipients = \"list\""));
                }
                Recipients::Any
            }
        };
        let domains_span = self.domains.span();
        let Self { domains, hops, protocol, tls, credentials, .. } = self;
        let route = WrittenRoute { domains, hops, protocol, tls, credentials }.check(findings);
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
}

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
    fn what_could_not_work_or_would_be_open_is_refused() {
        let any = format!("{BEHIND}recipients = \"any\"\n");
        for (text, why) in [
            (String::new(), "there is no mail server behind this listener"),
            (BEHIND.to_owned(), "missing field `recipients`"),
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
