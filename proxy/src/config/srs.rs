//! `[srs]`: how senders of mail are rewritten that goes on from here.

use gatepost_core::delivery::route::DomainPattern;
use gatepost_core::directory::DomainName;
use gatepost_core::forwarding::srs::{DAYS_MAX, MAC_CHARACTERS_MAX, MAC_CHARACTERS_MIN, Settings};
use serde::Deserialize;
use toml::Spanned;

use super::problem::Finding;
use super::values::Hostname;

/// `[srs]`, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenSrs {
    domain: Spanned<Hostname>,
    days: Option<Spanned<u16>>,
    hash_characters: Option<Spanned<u8>>,
    bounces_only: Option<bool>,
}

// === impl WrittenSrs ===

impl WrittenSrs {
    /// `None` with a finding where it cannot be. `relayed`: the domains of the server behind.
    pub(super) fn check(
        self,
        mail_leaves: bool,
        relayed: &[DomainPattern],
        findings: &mut Vec<Finding>,
    ) -> Option<Settings> {
        let span = self.domain.span();
        if !mail_leaves {
            findings.push(
                Finding::at(span.clone(), "no mail goes on from here, since none leaves this server")
                    .hint("set enabled = true in [delivery.remote]"),
            );
        }
        let days = self.days.as_ref().map_or(DAYS_DEFAULT, |days| *days.get_ref());
        if let Some(days) = self.days.as_ref().filter(|days| !(1..=DAYS_MAX).contains(days.get_ref())) {
            findings.push(Finding::at(days.span(), format!("`days` must be from 1 to {DAYS_MAX}")));
        }
        let characters = self.hash_characters.as_ref();
        let mac_characters =
            characters.map_or(HASH_CHARACTERS_DEFAULT, |count| usize::from(*count.get_ref()));
        if let Some(count) = characters
            && !(MAC_CHARACTERS_MIN..=MAC_CHARACTERS_MAX).contains(&mac_characters)
        {
            findings.push(Finding::at(
                count.span(),
                format!("`hash_characters` must be from {MAC_CHARACTERS_MIN} to {MAC_CHARACTERS_MAX}"),
            ));
        }
        let bounces_only = self.bounces_only.unwrap_or(true);
        match self.domain.get_ref().as_str().parse::<DomainName>() {
            Ok(domain) if relayed.iter().any(|pattern| pattern.is_of_domain(domain.as_str())) => {
                findings.push(
                    Finding::at(span, "mail for this domain goes to the server behind, and bounces with it")
                        .hint("name a domain that is not among the `domains` of [relay]"),
                );
                None
            }
            Ok(domain) => Some(Settings { domain, days, mac_characters, bounces_only }),
            Err(error) => {
                findings.push(Finding::at(span, format!("{error}")));
                None
            }
        }
    }
}

/// Longer than servers try: five days, and as long again where one forwards to the next.
const DAYS_DEFAULT: u16 = 21;
/// 30 bits, in a local part that may have 64 octets for all.
const HASH_CHARACTERS_DEFAULT: usize = 6;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Config;
    use super::*;

    fn srs(keys: &str, mail_leaves: bool) -> Result<Option<Settings>, String> {
        let listener = "[[listener]]\nname = \"a\"\nprotocol = \"smtp\"\naddress = \"127.0.0.1:0\"\ntls = \"starttls\"\n";
        let text = format!("{listener}[delivery.remote]\nenabled = {mail_leaves}\n{keys}");
        let config = Config::parse(Path::new("g.toml"), &text);
        config.map(|config| config.srs).map_err(|problems| problems.to_string())
    }

    #[test]
    fn senders_are_rewritten_only_where_a_domain_is_named() {
        assert_eq!(srs("", true), Ok(None));
        let settings = srs("[srs]\ndomain = \"Back.Example\"\n", true).unwrap().unwrap();
        assert_eq!(settings.domain.as_str(), "back.example");
        assert_eq!((settings.days, settings.mac_characters, settings.bounces_only), (21, 6, true));
        let keys = "[srs]\ndomain = \"a.example\"\ndays = 7\nhash_characters = 20\nbounces_only = false\n";
        let settings = srs(keys, true).unwrap().unwrap();
        assert_eq!((settings.days, settings.mac_characters, settings.bounces_only), (7, 20, false));
    }

    #[test]
    fn what_could_not_work_is_refused() {
        for (keys, mail_leaves, why) in [
            ("domain = \"a.example\"", false, "none leaves this server"),
            ("domain = \"a.example\"\ndays = 0", true, "from 1 to 365"),
            ("domain = \"a.example\"\nhash_characters = 3", true, "from 4 to 20"),
            ("days = 3", true, "missing field `domain`"),
            ("domain = \"127.0.0.1\"", true, "not a"),
        ] {
            let error = srs(&format!("[srs]\n{keys}\n"), mail_leaves).unwrap_err();
            assert!(error.contains(why), "{keys}: {error}");
        }
    }

    /// Bounces would go to a server that knows nothing of them, and the senders would never hear.
    #[test]
    fn a_domain_of_the_server_behind_is_no_domain_for_rewritten_senders() {
        let relay = "[[listener]]\nname = \"b\"\nprotocol = \"smtp\"\naddress = \"127.0.0.1:0\"\ntls = \"starttls\"\nbackend = \"relay\"\n\
                     [relay]\ndomains = [\"behind.example\", \"*.sub.example\"]\nhops = [\"mail.example.org\"]\n";
        for (domain, is_taken) in [
            ("behind.example", false),
            ("Back.Sub.example", false),
            ("back.example", true),
            ("sub.example", true),
        ] {
            let read = srs(&format!("{relay}[srs]\ndomain = \"{domain}\"\n"), true);
            match read {
                Ok(settings) => assert!(is_taken && settings.is_some(), "{domain}"),
                Err(error) => assert!(!is_taken && error.contains("goes to the server behind"), "{error}"),
            }
        }
    }
}
