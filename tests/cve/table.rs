//! The rows, how they are run, and the table that is printed from them.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::arena::Arena;
use super::{addresses, authentication, chunking, contents, extension, names, programs, resources, starttls};

/// A hole of another product, and the test that would fail if it were here.
pub struct Row {
    /// As it is known: CVE numbers, bulletins.
    pub id: &'static str,
    /// Whose it was.
    pub product: &'static str,
    /// What happened there, in one sentence.
    pub happened: &'static str,
    /// The function's name, a sentence as well.
    pub name: &'static str,
    pub test: fn(&Arena),
}

/// A row with the name of its function.
macro_rules! row {
    ($id:literal, $product:literal, $happened:literal, $test:ident $(,)?) => {
        $crate::table::Row {
            id: $id,
            product: $product,
            happened: $happened,
            name: stringify!($test),
            test: $test,
        }
    };
}
pub(crate) use row;

/// Runs every row, whatever becomes of those before it.
///
/// # Panics
/// With the ids of those that failed.
pub fn run(rows: &[Row], arena: Arena) {
    let holds = |row: &Row| {
        let attempt = AssertUnwindSafe(|| {
            (row.test)(&arena);
            arena.assert_unharmed();
        });
        catch_unwind(attempt).is_ok()
    };
    let failed: Vec<String> = rows
        .iter()
        .filter(|row| !holds(row))
        .map(|row| format!("{} ({}): {}", row.id, row.product, row.name))
        .collect();
    assert!(failed.is_empty(), "these holes are open:\n{}", failed.join("\n"));
    arena.close();
}

const THEMES: [(&str, &[Row]); 9] = [
    ("Verbs", extension::ROWS),
    ("STARTTLS and TLS", starttls::ROWS),
    ("Bodies and chunks", chunking::ROWS),
    ("Addresses and parameters", addresses::ROWS),
    ("Programs and callbacks", programs::ROWS),
    ("Authentication", authentication::ROWS),
    ("Contents", contents::ROWS),
    ("Names and balancers", names::ROWS),
    ("Resources", resources::ROWS),
];

/// Set `GATEPOST_BLESS` to write the table anew.
#[test]
fn the_printed_table_has_every_row() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/cve/README.md");
    let printed = print();
    if std::env::var_os("GATEPOST_BLESS").is_some() {
        std::fs::write(path, &printed).expect("the table can be written");
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(found, printed, "stale: run with GATEPOST_BLESS=1");
}

#[test]
fn each_hole_and_each_test_stands_in_one_row() {
    let mut seen = HashSet::new();
    for row in THEMES.iter().flat_map(|(_, rows)| *rows) {
        for id in row.id.split(", ") {
            assert!(seen.insert(id), "{id} stands in two rows");
        }
        assert!(seen.insert(row.name), "{} is the test of two rows", row.name);
        assert!(row.happened.ends_with('.') && !row.happened.contains('|'), "{}", row.id);
    }
}

fn print() -> String {
    let mut text = "# Holes that other mail servers had\n\n\
        Printed by a test. Each row was public and mended long ago; its test sends the same to the real binary and would \
        fail if\nit were open here. Behind each, the server must answer at once, have grown by little, have run nothing, \
        called nobody and\ntaken no mail that it should not.\n"
        .to_owned();
    for (theme, rows) in THEMES {
        write!(
            text,
            "\n## {theme}\n\n| id | product | what happened there | what holds here |\n|---|---|---|---|\n"
        )
        .expect("memory");
        for Row { id, product, happened, name, .. } in rows {
            let name = name.replace('_', " ");
            writeln!(text, "| {id} | {product} | {happened} | {name} |").expect("memory");
        }
    }
    text
}
