use gatepost_smtp::server::PeerClass;

use super::*;
use crate::directory::{AliasTarget, Password, Scram};

#[test]
fn an_address_finds_its_mailbox_whatever_its_case_quoting_and_label_form() {
    let snapshot = snapshot();
    for path in ["<me@localhost>", "<ME@LocalHost>", "<\"me\"@localhost>", "<@relay.example:me@localhost>"] {
        assert_eq!(resolve(&snapshot, path), local(&["me@localhost"]), "{path}");
    }
    for path in ["<you@bücher.example>", "<you@xn--bcher-kva.example>", "<You@BÜCHER.example>"] {
        assert_eq!(resolve(&snapshot, path), local(&["you@xn--bcher-kva.example"]), "{path}");
    }
}

#[test]
fn an_alias_gives_each_of_its_users_once() {
    let both = local(&["me@localhost", "you@xn--bcher-kva.example"]);
    assert_eq!(resolve(&snapshot(), "<Both@localhost>"), both);
}

#[test]
fn an_alias_may_lead_elsewhere_and_by_way_of_others() {
    let snapshot = snapshot();
    let forwarded = |mailboxes: &[&str]| {
        Resolution::Forwarded(Arc::new(Forwarding {
            mailboxes: mailboxes.iter().map(ToString::to_string).collect(),
            targets: vec!["a@other.example".parse().unwrap()],
        }))
    };
    let both = ["me@localhost", "you@xn--bcher-kva.example"];
    assert_eq!(resolve(&snapshot, "<ALL@localhost>"), forwarded(&both));
    assert_eq!(resolve(&snapshot, "<away@localhost>"), forwarded(&[]));
    assert_eq!(resolve(&snapshot, "<nowhere@localhost>"), Resolution::UnknownLocal);
    let may = |user: &str, path: &str| snapshot.may_send_as(user, &path.parse().unwrap());
    assert!(may("me@localhost", "<all@localhost>") && !may("me@localhost", "<away@localhost>"));
}

#[test]
fn every_local_domain_has_a_postmaster() {
    let snapshot = snapshot();
    for path in ["<Postmaster>", "<postmaster@localhost>"] {
        assert_eq!(resolve(&snapshot, path), local(&["me@localhost"]), "{path}");
    }
    // Named for it.
    let named = local(&["you@xn--bcher-kva.example"]);
    assert_eq!(resolve(&snapshot, "<POSTMASTER@bücher.example>"), named);
    let empty = Snapshot::new(vec!["localhost".to_owned()], Vec::new(), []);
    assert_eq!(resolve(&empty, "<Postmaster>"), Resolution::UnknownLocal);
    assert_eq!(resolve(&empty, "<postmaster@localhost>"), Resolution::UnknownLocal);
}

/// What open relays of all decades have fallen for: none of it leaves, none of it reaches another's mailbox.
#[test]
fn no_form_of_an_address_relays() {
    let snapshot = snapshot();
    for path in [
        "<you%example.org@localhost>",
        "<me%localhost@localhost>",
        "<example.org!you@localhost>",
        "<localhost!me@localhost>",
        "<\"you@example.org\"@localhost>",
        "<\"me@localhost\"@localhost>",
        "<\"you%example.org\"@localhost>",
        "<nobody@localhost>",
        "<@localhost:nobody@localhost>",
        "<\"me \"@localhost>",
        "<me+tag@localhost>",
    ] {
        assert_eq!(resolve(&snapshot, path), Resolution::UnknownLocal, "{path}");
    }
    for path in [
        "<you@example.org>",
        "<@localhost:you@example.org>",
        "<@localhost,@localhost:you@example.org>",
        "<me@[127.0.0.1]>",
        "<me@[IPv6:::1]>",
        "<postmaster@[127.0.0.1]>",
        "<me@sub.localhost>",
        "<me@xlocalhost>",
        "<\"me@localhost\"@example.org>",
        "<me%localhost@example.org>",
        "<postmaster@example.org>",
    ] {
        assert_eq!(resolve(&snapshot, path), Resolution::Foreign, "{path}");
    }
}

#[test]
fn a_user_sends_as_himself_and_his_aliases_only() {
    let snapshot = snapshot();
    let may = |user: &str, path: &str| snapshot.may_send_as(user, &path.parse().unwrap());
    for path in ["<>", "<me@localhost>", "<ME@LOCALHOST>", "<both@localhost>", "<postmaster@localhost>"] {
        assert!(may("me@localhost", path), "{path}");
    }
    for path in [
        "<you@bücher.example>",
        "<nobody@localhost>",
        "<me@example.org>",
        "<me@[127.0.0.1]>",
        "<me%x@localhost>",
    ] {
        assert!(!may("me@localhost", path), "{path}");
    }
    assert!(may("you@xn--bcher-kva.example", "<both@localhost>"));
    assert!(!may("nobody@localhost", "<me@localhost>"));
}

/// It comes first, and would be postmaster.
#[test]
fn a_server_may_log_in_and_has_no_mailbox() {
    let snapshot = snapshot();
    assert_eq!(resolve(&snapshot, "<relay@localhost>"), Resolution::UnknownLocal);
    assert!(!snapshot.may_send_as("relay@localhost", &"<relay@localhost>".parse().unwrap()));
    let identity = snapshot.account("Relay@LOCALHOST").unwrap().identity();
    assert_eq!(identity, Identity { user: "relay@localhost".to_owned(), class: PeerClass::Server });
}

fn snapshot() -> Snapshot {
    let credentials = Arc::new(Credentials::of(&Password::prepare(b"pencil").unwrap(), Scram::Off).unwrap());
    let account = |name: &str, class| Account {
        name: name.parse().unwrap(),
        class,
        credentials: Arc::clone(&credentials),
    };
    let alias = |address: &str, user: &str| Alias {
        address: address.parse().unwrap(),
        target: AliasTarget::Here(user.parse().unwrap()),
    };
    let forward = |address: &str, target: &str| Alias {
        address: address.parse().unwrap(),
        target: AliasTarget::Elsewhere(target.parse().unwrap()),
    };
    Snapshot::new(
        vec!["localhost".to_owned(), "xn--bcher-kva.example".to_owned()],
        vec![
            account("relay@localhost", AccountClass::Server),
            account("me@localhost", AccountClass::User),
            account("you@bücher.example", AccountClass::User),
        ],
        [
            alias("both@localhost", "me@localhost"),
            alias("both@localhost", "you@bücher.example"),
            alias("both@localhost", "me@localhost"),
            alias("postmaster@bücher.example", "you@bücher.example"),
            alias("all@localhost", "both@localhost"),
            forward("all@localhost", "a@other.example"),
            forward("away@localhost", "a@other.example"),
            alias("nowhere@localhost", "gone@localhost"),
        ],
    )
}

fn resolve(snapshot: &Snapshot, path: &str) -> Resolution {
    snapshot.resolve(&path.parse().unwrap())
}

fn local(mailboxes: &[&str]) -> Resolution {
    Resolution::Local(mailboxes.iter().map(ToString::to_string).collect())
}
