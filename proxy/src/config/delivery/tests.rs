use std::path::Path;

use super::super::Config;
use super::*;

fn remote(text: &str) -> Result<Option<Remote>, String> {
    let listener =
        "[[listener]]\nname = \"a\"\nprotocol = \"smtp\"\naddress = \"127.0.0.1:0\"\ntls = \"starttls\"\n";
    let config = Config::parse(Path::new("g.toml"), &format!("{listener}{text}"));
    config.map(|config| config.remote).map_err(|problems| problems.to_string())
}

#[test]
fn no_mail_leaves_unless_somebody_says_so() {
    assert_eq!(remote(""), Ok(None));
    assert_eq!(remote("[delivery.remote]\nrate = 10\n"), Ok(None));
    let on = remote("[delivery.remote]\nenabled = true\n").unwrap().unwrap();
    assert_eq!((on.port, on.internal_addresses, on.rate, on.routes.len()), (25, false, None, 0));
    assert_eq!((on.dane, on.mta_sts, on.https_port), (Dane::WhereProven, true, 443));
    let paused = remote("[delivery.remote]\nenabled = true\npaused = true\n").unwrap().unwrap();
    assert_eq!((on.paused, paused.paused), (false, true));
    let dane = |written: &str| remote(&format!("[delivery.remote]\nenabled = true\ndane = \"{written}\"\n"));
    assert_eq!(dane("on").unwrap().unwrap().dane, Dane::Always);
    assert_eq!(dane("off").unwrap().unwrap().dane, Dane::Never);
    assert!(dane("yes").unwrap_err().contains("auto"));
}

#[test]
fn what_no_server_could_mean_is_refused() {
    assert!(remote("[delivery.remote]\nenabled = true\nport = 0\n").unwrap_err().contains("port 0"));
    assert!(remote("[delivery.remote]\nrate = 0\n").unwrap_err().contains("nonzero"));
}

#[test]
fn connections_to_one_destination_are_bounded() {
    let remote = |keys: &str| remote(&format!("[delivery.remote]\nenabled = true\n{keys}"));
    assert_eq!(remote("").unwrap().unwrap().connections, CONNECTIONS_DEFAULT);
    assert_eq!(remote("connections = 7").unwrap().unwrap().connections.get(), 7);
    assert!(remote("connections = 1000").unwrap_err().contains("more than 100"));
}
