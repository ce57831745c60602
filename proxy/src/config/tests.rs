use gatepost_core::scan::{UnscannableAction, UnscannablePolicy};
use gatepost_smtp::server::{ClassRights, PeerClass, Right, Rights};
use gatepost_smtp::wire::verb::Verb;
use proptest::prelude::*;

use super::*;

const MINIMAL: &str = r#"
[[listener]]
name = "a"
protocol = "smtp"
address = "127.0.0.1:2525"
tls = "starttls"
"#;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(Path::new("g.toml"), text).map_err(|problems| problems.to_string())
}

fn refusal(text: &str) -> String {
    parse(text).expect_err("it is refused")
}

/// `MINIMAL` with one line replaced or added.
fn with(old: &str, new: &str) -> String {
    let text = MINIMAL.replace(old, new);
    assert_ne!(text, MINIMAL, "the replacement took place");
    text
}

#[test]
fn the_example_says_what_holds_without_a_file() {
    assert_eq!(parse(EXAMPLE), Ok(Config::embedded_default()));
}

/// A commented key that does not exist would teach something wrong.
#[test]
fn every_commented_setting_of_the_example_is_a_real_one() {
    let is_key = |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let is_setting =
        |line: &str| line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| is_key(key));
    let uncommented: String = EXAMPLE
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| is_setting(rest)).unwrap_or(line))
        .filter(|line| !line.starts_with("auth_without_tls"))
        .fold(String::new(), |text, line| text + line + "\n")
        // What is shown of routes means nothing as long as no mail leaves.
        .replace("enabled = false", "enabled = true");
    let config = parse(&uncommented).unwrap();
    assert_eq!(config.hostname.as_str(), "mail.example.org");
    assert!(matches!(config.admin, Some(Admin::Tls { .. })));
    assert!(config.tls.is_some() && config.scan.rules.is_some());
    assert_eq!(config.remote.unwrap().timeouts, Timeouts::default());
    let (limits, default) = (config.limits, gatepost_smtp::server::Limits::default());
    assert_eq!(limits.transactions, Some(default.transactions));
    assert_eq!(limits.commands, Some(default.commands));
    assert_eq!(limits.errors, Some(default.errors));
    assert_eq!(limits.session_octets.map(Octets::count), Some(default.octets));
    assert_eq!(limits.data_rate.map(u64::from), Some(default.data_rate));
    let spans = [
        (limits.command_timeout, default.command),
        (limits.data_idle_timeout, default.data_idle),
        (limits.data_total_timeout, default.data_total),
        (limits.session_timeout, default.session),
    ];
    for (written, default) in spans {
        assert_eq!(written.map(TimeSpan::duration), Some(default), "a commented value is the default");
    }
}

#[test]
fn bodies_get_a_quarter_of_the_memory_and_at_most_half() {
    let limits = |text: &str| parse(&format!("{MINIMAL}[limits]\n{text}\n")).unwrap().limits;
    let two = limits("memory = \"2 GiB\"");
    assert_eq!((two.memory, two.body_memory), (Octets::mebi(2048), Octets::mebi(512)));
    let half = "memory = \"512 MiB\"\nbody_memory = \"256 MiB\"";
    assert_eq!(limits(half).body_memory, Octets::mebi(256));
    let shown = refusal(&format!("[limits]\n{}", half.replace("256", "257")));
    assert!(shown.contains("g.toml:3:15: must lie between 8 MiB and 256 MiB"), "{shown}");
    let shown = refusal("[limits]\nmemory = \"255 MiB\"");
    assert!(shown.contains("g.toml:2:10: must be at least 256 MiB"), "{shown}");
}

#[test]
fn a_typo_is_named_with_its_line_and_the_right_key() {
    let shown = refusal(&with("address", "adress"));
    assert!(shown.starts_with("g.toml:5:1: unknown field `adress`"), "{shown}");
    assert!(shown.contains("5 | adress = \"127.0.0.1:2525\""), "{shown}");
    assert!(shown.ends_with("hint: did you mean `address`?"), "{shown}");
}

#[test]
fn a_wrong_value_is_named_with_its_line() {
    let shown = refusal(&with("\"smtp\"", "\"stmp\""));
    assert!(shown.starts_with("g.toml:4:12: unknown variant `stmp`"), "{shown}");
    assert!(shown.ends_with("did you mean `smtp`?"), "{shown}");
    assert!(refusal("[limits]\nmessage = \"huge\"").starts_with("g.toml:2:11: not a size"));
    assert!(refusal("[server]\nhostname = \"a b\"").starts_with("g.toml:2:12: not a host name"));
    assert!(refusal("[limits]\nrecipients = -1").starts_with("g.toml:2:14: "));
}

#[test]
fn broken_toml_is_named_with_its_line() {
    assert!(refusal("[server\n").starts_with("g.toml:1:8: "), "{}", refusal("[server\n"));
}

#[test]
fn required_auth_without_tls_is_refused_unless_it_is_scram() {
    let none = with("\"starttls\"", "\"none\"");
    assert!(refusal(&none).contains("AUTH is required here, but without TLS there is none to offer"));
    let scram = parse(&format!("{none}auth_without_tls = \"scram\"\n")).unwrap();
    let service = Service::Smtp {
        tls: SmtpTls::None { scram: true },
        require_auth: true,
        binarymime: false,
        pregreet_wait: None,
        dnsbl: false,
        backend: Backend::Embedded,
    };
    assert_eq!(scram.listeners[0].service, service);
    let open = parse(&format!("{none}require_auth = false\n")).unwrap();
    assert!(matches!(open.listeners[0].service, Service::Smtp { require_auth: false, .. }));
}

#[test]
fn scram_cannot_be_both_needed_and_switched_off() {
    let scram = with("\"starttls\"", "\"none\"") + "auth_without_tls = \"scram\"\n";
    assert!(parse(&scram).unwrap().scram);
    assert!(refusal(&format!("{scram}[auth]\nscram = false\n")).contains("SCRAM is switched off"));
}

#[test]
fn auth_without_tls_on_a_listener_with_tls_is_refused() {
    let shown = refusal(&format!("{MINIMAL}auth_without_tls = \"scram\"\n"));
    assert!(shown.contains("only offered inside of it"), "{shown}");
    assert!(parse(&format!("{MINIMAL}auth_without_tls = \"never\"\n")).is_ok());
}

#[test]
fn a_backend_that_does_not_exist_is_refused_by_name() {
    let shown = refusal(&format!("{MINIMAL}backend = \"passthrough\"\n"));
    assert!(shown.starts_with("g.toml:7:11: unknown variant `passthrough`"), "{shown}");
    assert!(parse(&format!("{MINIMAL}backend = \"embedded\"\n")).is_ok());
}

#[test]
fn pop3_takes_neither_plaintext_nor_settings_of_smtp() {
    let pop3 = with("\"smtp\"", "\"pop3\"");
    assert!(parse(&pop3).is_ok());
    assert!(refusal(&pop3.replace("starttls", "none")).contains("inside TLS only"));
    assert!(refusal(&format!("{pop3}require_auth = true\n")).contains("`require_auth` is a setting of SMTP"));
}

#[test]
fn strangers_wait_only_where_a_greeting_follows() {
    let checks = |text: &str| match parse(text).unwrap().listeners.remove(0).service {
        Service::Smtp { pregreet_wait, dnsbl, .. } => (pregreet_wait, dnsbl),
        Service::Pop3 { .. } => panic!("the listener speaks SMTP"),
    };
    assert_eq!(checks(MINIMAL), (None, false), "who logs in is not asked for in lists");
    assert_eq!(checks(&format!("{MINIMAL}require_auth = false\n")), (None, true));
    let wait = format!("{MINIMAL}pregreet_wait = \"6s\"\ndnsbl = true\n");
    assert_eq!(checks(&wait), (Some(TimeSpan::seconds(6)), true));
    assert!(refusal(&wait.replace("starttls", "implicit")).contains("inside TLS nobody can talk before"));
    assert!(refusal(&wait.replace("\"smtp\"", "\"pop3\"")).contains("`pregreet_wait` is a setting of SMTP"));
}

#[test]
fn a_balancer_is_a_network_and_never_everybody() {
    let listener = |networks: &str| format!("{MINIMAL}proxy_protocol_from = [{networks}]\n");
    let listed =
        parse(&listener("\"10.0.0.0/8\", \"2001:db8::1\"")).unwrap().listeners.remove(0).proxy_protocol_from;
    let listed: Vec<_> = listed.iter().map(|it| it.network().to_string()).collect();
    assert_eq!(listed, ["10.0.0.0/8", "2001:db8::1/128"]);
    let shown = refusal(&listener("\"0.0.0.0/0\""));
    assert!(shown.contains("not an address or a network"), "{shown}");
    assert!(parse(&with("\"smtp\"", "\"pop3\"")).unwrap().listeners[0].proxy_protocol_from.is_empty());
}

#[test]
fn quirks_are_for_listed_networks_alone() {
    let quirk = |networks: &str, allow: &str| {
        format!("{MINIMAL}[[quirk]]\nnetworks = [{networks}]\nallow = [{allow}]\n")
    };
    let quirks = parse(&quirk("\"192.0.2.17\"", "\"space_after_colon\"")).unwrap().quirks.remove(0);
    assert!(quirks.quirks().space_after_colon && !quirks.quirks().bare_lf_normalise);
    assert!(refusal(&quirk("\"::/0\"", "\"space_after_colon\"")).contains("not an address or a network"));
    assert!(refusal(&quirk("\"192.0.2.17\"", "\"anything\"")).contains("bare_lf_normalise"));
    assert!(parse(MINIMAL).unwrap().quirks.is_empty());
}

#[test]
fn classes_have_networks_and_rights() {
    let text = format!(
        "{MINIMAL}peers = [{{ class = \"partner\", networks = [\"10.0.0.0/8\"] }}]\n\
         rights = {{ user = [\"submit\"], externally-secured = [] }}\nswitched_off = [\"vrfy\"]\n"
    );
    let listener = parse(&text).unwrap().listeners.remove(0);
    assert_eq!(listener.peers[0].class, ListedClass::Partner);
    assert_eq!(listener.switched_off[0].verb(), Verb::Vrfy);
    assert_eq!(listener.rights.of(PeerClass::User), Rights::of(&[Right::Submit]));
    assert_eq!(listener.rights.of(PeerClass::ExternallySecured), Rights::NONE);
    let usual = ClassRights::default();
    assert_eq!(listener.rights.of(PeerClass::Partner), usual.of(PeerClass::Partner));
    for (old, new, why) in [
        ("\"partner\"", "\"user\"", "unknown variant `user`"),
        ("10.0.0.0/8", "0.0.0.0/0", "not an address or a network"),
        ("[\"submit\"]", "[\"relay\"]", "not a right"),
        ("[\"submit\"]", "[\"accept-xclient\"]", "not a right"),
        ("user =", "users =", "unknown field `users`"),
        ("user =", "anonymous =", "an anonymous peer cannot submit"),
        ("vrfy", "MAIL", "not a verb that can be switched off"),
        ("\"smtp\"", "\"pop3\"", "`rights` is a setting of SMTP listeners"),
    ] {
        let shown = refusal(&text.replace(old, new));
        assert!(shown.contains(why), "{shown}");
    }
}

#[test]
fn clients_are_known_by_the_names_in_their_certificates() {
    let text = format!(
        "{MINIMAL}client_certificates = {{ authorities = \"clients.pem\", peers = [\
         {{ class = \"server\", names = [\"mx2.example.org\"] }}, {{ class = \"partner\", names = [] }}] }}\n"
    );
    let clients = parse(&text).unwrap().listeners.remove(0).client_certificates.unwrap();
    assert_eq!(clients.authorities, Path::new("clients.pem"));
    assert_eq!(clients.peers[0].class, ListedClass::Server);
    assert_eq!(clients.peers[0].names[0].as_str(), "mx2.example.org");
    assert_eq!(parse(MINIMAL).unwrap().listeners[0].client_certificates, None);
    for (old, new, why) in [
        ("\"starttls\"", "\"none\"\nrequire_auth = false", "certificates are shown inside TLS"),
        ("names = []", "names = [\"MX2.Example.org\"]", "MX2.Example.org is named twice"),
        ("mx2.", "*.", "not a host name"),
        ("\"server\"", "\"user\"", "unknown variant `user`"),
        ("authorities = \"clients.pem\", ", "", "missing field `authorities`"),
        ("\"smtp\"", "\"pop3\"", "`client_certificates` is a setting of SMTP listeners"),
    ] {
        let shown = refusal(&text.replace(old, new));
        assert!(shown.contains(why), "{shown}");
    }
}

#[test]
fn several_problems_are_reported_at_once() {
    let text = format!("{MINIMAL}{MINIMAL}connections = 0\n");
    let problems = Config::parse(Path::new("g.toml"), &text).unwrap_err();
    assert_eq!(problems.count(), 3, "{problems}");
}

#[test]
fn a_configuration_without_a_listener_is_refused() {
    assert!(refusal("[log]\nlevel = \"warn\"\n").starts_with("g.toml: no listener"));
}

#[test]
fn the_limits_stay_within_what_the_standard_asks_for() {
    for limits in [
        "recipients = 99",
        "message = 1000",
        "message = \"2 GiB\"",
        "message_bypass = \"49 MiB\"",
        "message_bypass = \"2 GiB\"",
        "errors = 0",
        "commands = 10",
    ] {
        let shown = refusal(&format!("{MINIMAL}[limits]\n{limits}\n"));
        assert!(shown.contains("must "), "{limits}: {shown}");
    }
}

#[test]
fn an_admin_address_outside_loopback_needs_tls_and_a_credential() {
    let admin = |lines: &str| parse(&format!("{MINIMAL}[admin]\n{lines}"));
    assert!(admin("address = \"127.0.0.9:1\"").is_ok());
    assert!(admin("address = \"[::1]:1\"\ncredential = \"t\"").is_ok());
    for short in ["", "tls = true", "credential = \"t\""] {
        let shown = admin(&format!("address = \"0.0.0.0:1\"\n{short}")).unwrap_err();
        assert!(shown.contains("needs tls = true and a credential"), "{shown}");
    }
    let both = admin("address = \"0.0.0.0:1\"\ntls = true\ncredential = \"t\"").unwrap();
    assert!(matches!(both.admin, Some(Admin::Tls { .. })));
}

#[test]
fn each_kind_of_unscannable_content_has_an_answer_of_its_own() {
    let written = "[scan.unscannable]\nencrypted = \"refuse\"\nambiguous = \"accept\"\n";
    let config = parse(&format!("{MINIMAL}{written}")).unwrap();
    let wanted =
        Unscannable { encrypted: Answer::Refuse, ambiguous: Answer::Accept, ..Unscannable::default() };
    assert_eq!(config.scan.unscannable, wanted);
    let policy = crate::services::scan_settings(&config).unscannable;
    assert_eq!(policy.encrypted, UnscannableAction::Refuse);
    assert_eq!(policy.ambiguous, UnscannableAction::Accept);
    let default = crate::services::scan_settings(&Config::embedded_default()).unscannable;
    assert_eq!(default, UnscannablePolicy::default());
    assert!(parse(&format!("{MINIMAL}[scan.unscannable]\nbroken = \"perhaps\"\n")).is_err());
}

#[test]
fn a_reload_keeps_what_needs_a_restart_and_takes_the_rest() {
    let running = Config::embedded_default();
    let sections = "[auth]\nscram = false\n[server]\ndata = \"/d\"\n[scan]\nrules = \"/r\"\nin_session = false\nsession_budget = \"1s\"\n";
    let reloaded = parse(&format!("{MINIMAL}{sections}")).unwrap().with_fixed_parts_of(&running);
    assert!(reloaded.scram && reloaded.data.is_none() && reloaded.scan.rules.is_none());
    assert_eq!(reloaded.admin, running.admin);
    assert_eq!(reloaded.scan.session_budget, TimeSpan::seconds(1));
    assert!(!reloaded.scan.in_session);
    assert_eq!(reloaded.listeners.len(), 1);
}

#[test]
fn a_missing_file_is_named() {
    let problems = Config::load(Path::new("/nonexistent/g.toml")).unwrap_err().to_string();
    assert!(problems.starts_with("/nonexistent/g.toml: cannot be read"), "{problems}");
}

proptest! {
    #[test]
    fn no_text_panics_the_reader(text in "[\\[\\]a-z_=\" 0-9.:\n#]{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_change_of_the_example_panics_the_reader(at in 0..EXAMPLE.len(), octet: u8) {
        let mut octets = EXAMPLE.as_bytes().to_vec();
        octets[at] = octet;
        let _ = parse(&String::from_utf8_lossy(&octets));
    }
}
