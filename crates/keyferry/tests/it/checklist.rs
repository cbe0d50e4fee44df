//! The security checklist against the tests it names.

use std::{collections::BTreeSet, fs, path::Path};

const PAGE: &str = include_str!("../../../../docs/security-checklist.md");
const CRATES: [&str; 4] = ["core", "envelope", "keyferry", "storage"];

/// A row of the page: number, statement, verdict, and what shows it or is missing.
fn rows() -> Vec<[&'static str; 4]> {
    PAGE.lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
        .map(|line| {
            let cells: Vec<&str> = line.split(" | ").collect();
            <[&str; 4]>::try_from(cells).unwrap_or_else(|cells| panic!("four cells: {cells:?}"))
        })
        .collect()
}

/// The tests that a cell names: `crate/modules::name`.
fn tests(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2).filter(|text| {
        text.split_once('/').is_some_and(|(name, rest)| CRATES.contains(&name) && rest.contains("::"))
    })
}

/// Whether a file has a test of this name.
fn has_test(file: &Path, name: &str) -> bool {
    let Ok(text) = fs::read_to_string(file) else { return false };
    let mut lines = text.lines().rev().skip_while(|line| !line.contains(&format!("fn {name}(")));
    if lines.next().is_none() {
        return false;
    }
    // Above it stand its attributes.
    lines
        .take_while(|line| !line.trim().is_empty() && !line.starts_with('}'))
        .any(|line| line.contains("#[test]") || line.contains("#[tokio::test"))
}

/// Whether a test is there, beside the code or among the integration tests.
fn exists(test: &str) -> bool {
    let (name_of_crate, path) = test.split_once('/').expect("checked before");
    let (modules, name) = path.rsplit_once("::").expect("checked before");
    let below = modules.replace("::", "/");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name_of_crate);
    ["src", "tests/it", "tests"]
        .iter()
        .flat_map(|folder| {
            let base = root.join(folder);
            [".rs", "/mod.rs", "/tests.rs", "/main.rs"]
                .map(|end| format!("{below}{end}"))
                .map(|file| base.join(file))
        })
        .any(|file| has_test(&file, name))
}

#[test]
fn the_page_has_every_statement_once_and_in_order() {
    let numbers: Vec<usize> = rows().iter().map(|row| row[0].parse().expect("a number")).collect();
    assert_eq!(numbers, (1..=50).collect::<Vec<_>>());
    let statements: BTreeSet<&str> = rows().iter().map(|row| row[1]).collect();
    assert_eq!(statements.len(), 50);
}

#[test]
fn every_verdict_has_its_tests_or_its_reason() {
    for [number, _, verdict, why] in rows() {
        let named = tests(why).count();
        let words = why.split('`').step_by(2).collect::<String>();
        let reasons = words.chars().filter(|c| c.is_alphabetic()).count();
        match verdict {
            "yes" => assert!(named > 0, "{number}: yes needs a test"),
            "partly" => {
                let checked = named > 0 || why.contains("`make ") || why.contains("`tests/run");
                assert!(checked && reasons > 20, "{number}: partly needs a test and a reason");
            }
            "no" => assert!(reasons > 10, "{number}: no needs a reason"),
            other => panic!("{number}: {other} is no verdict"),
        }
    }
}

#[test]
fn every_named_test_is_there() {
    let missing: Vec<&str> =
        rows().iter().flat_map(|row| tests(row[3])).filter(|test| !exists(test)).collect();
    assert!(missing.is_empty(), "not there: {missing:#?}");
    assert!(!exists("keyferry/checklist::exists"), "a function is no test");
    assert!(!exists("keyferry/checklist::moon"));
}

#[test]
fn the_count_on_the_page_is_right() {
    let count = |verdict: &str| rows().iter().filter(|row| row[2] == verdict).count();
    let line = format!("Yes: {}. Partly: {}. No: {}.", count("yes"), count("partly"), count("no"));
    assert!(PAGE.lines().any(|found| found == line), "the page does not say: {line}");
}
