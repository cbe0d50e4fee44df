//! The documents against the code: what one names, the other has.

use std::{
    collections::BTreeSet,
    fmt::Debug,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use keyferry_core::{
    code::Code,
    dialect::Dialect,
    operation,
    provider::Providers,
    unified::{self, Found},
};
use serde_json::Value;

const OPENAPI: &str = include_str!("../../src/admin/openapi.json");
const ADMIN_ROUTES: &str = include_str!("../../src/admin/mod.rs");
const OTHER_ROUTES: &str = include_str!("../../src/http/route.rs");
const METRICS: &str = include_str!("../../src/telemetry/metrics.rs");
const METRICS_PAGE: &str = include_str!("../../../../docs/reference/metrics.md");
const ERRORS_PAGE: &str = include_str!("../../../../docs/reference/errors.md");
const CLI_PAGE: &str = include_str!("../../../../docs/reference/cli.md");
const CONFIGURATION_PAGE: &str = include_str!("../../../../docs/reference/configuration.md");
const SURFACES_PAGE: &str = include_str!("../../../../docs/reference/surfaces.md");
const AUDIT_PAGE: &str = include_str!("../../../../docs/reference/audit-log.md");
const LOGGING_PAGE: &str = include_str!("../../../../docs/logging.md");

const VERBS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Routes that the control plane's router does not know.
const PLAIN: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

fn document() -> Value {
    serde_json::from_str(OPENAPI).expect("openapi.json is JSON")
}

/// `method path` of every operation in the document, with its id.
fn documented() -> Vec<(String, String, String)> {
    let document = document();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("a path item") {
            let id = operation["operationId"].as_str().expect("an operationId");
            operations.push((method.clone(), path.clone(), id.to_owned()));
        }
    }
    operations
}

fn surface_of(path: &str) -> Option<(Dialect, &str)> {
    [("/openai/", Dialect::OpenAi), ("/anthropic/", Dialect::Anthropic), ("/gemini/", Dialect::Gemini)]
        .into_iter()
        .find_map(|(prefix, dialect)| path.strip_prefix(prefix).map(|_| (dialect, &path[prefix.len() - 1..])))
}

fn is_unified(path: &str) -> bool {
    path.starts_with("/v1/")
}

fn assert_same<T: Ord + Debug>(code: &BTreeSet<T>, page: &BTreeSet<T>, page_name: &str) {
    let missing: Vec<_> = code.difference(page).collect();
    let unknown: Vec<_> = page.difference(code).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "{page_name}: not in it {missing:?}; only in it {unknown:?}"
    );
}

/// The text between the parenthesis that `text` begins after and the one that closes it.
fn argument(text: &str) -> &str {
    let mut depth = 1;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[..at];
        }
    }
    panic!("a parenthesis is not closed");
}

/// The methods that a method router is made of, such as `post(a).get(b)`.
fn verbs_of(router: &str) -> impl Iterator<Item = &'static str> {
    VERBS.into_iter().filter(|verb| {
        router.match_indices(&format!("{verb}(")).any(|(at, _)| {
            let before = router[..at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
    })
}

#[test]
fn the_control_planes_routes_are_those_of_the_document() {
    let mut routed = BTreeSet::new();
    for (at, call) in ADMIN_ROUTES.match_indices(".route(") {
        let argument = argument(&ADMIN_ROUTES[at + call.len()..]);
        let path = argument.split('"').nth(1).expect("a path");
        routed.extend(verbs_of(argument).map(|verb| format!("{verb} {path}")));
    }
    assert!(routed.len() > 20, "the route table was not read: {routed:?}");
    let described = documented()
        .into_iter()
        .filter(|(_, path, _)| {
            surface_of(path).is_none() && !is_unified(path) && !PLAIN.contains(&path.as_str())
        })
        .map(|(method, path, _)| format!("{method} {path}"))
        .collect();
    assert_same(&routed, &described, "openapi.json");
}

#[test]
fn health_and_metrics_are_in_the_document() {
    let paths = document()["paths"].clone();
    for path in PLAIN {
        assert!(paths.get(path).is_some(), "{path} is not in openapi.json");
        assert!(OTHER_ROUTES.contains(&format!("\"{path}\"")), "{path} is not routed");
    }
}

/// `tag.name` of every row of the operation table.
fn operations() -> BTreeSet<String> {
    [Dialect::OpenAi, Dialect::Anthropic, Dialect::Gemini]
        .into_iter()
        .flat_map(|dialect| {
            operation::table(dialect).iter().map(move |row| format!("{}.{}", dialect.as_str(), row.name))
        })
        .collect()
}

#[test]
fn the_data_planes_operations_are_those_of_the_document() {
    let mut described = BTreeSet::new();
    for (method, path, id) in documented() {
        let Some((dialect, below)) = surface_of(&path) else { continue };
        let concrete = below.replace("{version}", "v1beta").replace("{model}", "m-1").replace("{id}", "x");
        let found = operation::find(dialect, &method.to_uppercase(), &concrete);
        let found = found.unwrap_or_else(|| panic!("{method} {path} is not in the operation table"));
        assert_eq!(id, format!("{}.{}", dialect.as_str(), found.operation.name), "{method} {path}");
        let passing: BTreeSet<_> = found.operation.query.iter().map(|name| (*name).to_owned()).collect();
        assert_same(&passing, &query_of(&path, &method), &format!("openapi.json, {method} {path}"));
        described.insert(id);
    }
    assert_same(&operations(), &described, "openapi.json");
}

/// The unified surface's operations: those that call a provider, and the two that do not.
fn unified_operations() -> BTreeSet<String> {
    let own = ["models.list", "models.get"].map(str::to_owned);
    unified::calls().map(|row| row.name.to_owned()).chain(own).collect()
}

/// What a method and a path of the unified surface mean.
fn unified_operation(method: &str, path: &str) -> &'static str {
    match unified::find(method, &path.replace("{model}", "openai/m-1")) {
        Some(Found::Call(operation)) => operation.name,
        Some(Found::Models) => "models.list",
        Some(Found::Model(name)) if name == "openai/m-1" => "models.get",
        found => panic!("{method} {path}: {found:?}"),
    }
}

#[test]
fn the_unified_surfaces_operations_are_those_of_the_documents() {
    let mut described = BTreeSet::new();
    for (method, path, id) in documented().into_iter().filter(|(_, path, _)| is_unified(path)) {
        let name = unified_operation(&method.to_uppercase(), &path);
        assert_eq!(id, format!("unified.{name}"), "{method} {path}");
        assert!(query_of(&path, &method).is_empty(), "{method} {path}");
        described.insert(name.to_owned());
    }
    assert_same(&unified_operations(), &described, "openapi.json");
    let section = SURFACES_PAGE.split("\n### ").find(|section| section.starts_with("Unified, below `/v1`"));
    let section = section.expect("a section").split("\n## ").next().expect("text");
    let mut described = BTreeSet::new();
    for row in section.lines().filter_map(|line| line.strip_prefix("| `")) {
        let (name, rest) = row.split_once('`').expect("a name");
        let (method, path) = rest.split('`').nth(1).and_then(|route| route.split_once(' ')).expect("a route");
        assert_eq!(unified_operation(method, &format!("/v1{path}")), name, "surfaces.md");
        let row = unified::calls().find(|operation| operation.name == name);
        for provider in Providers::built_in().iter() {
            let has = row.is_none_or(|operation| unified::has(provider, operation));
            assert_eq!(
                rest.to_lowercase().contains(provider.id.as_str()),
                has,
                "surfaces.md: {name} {}",
                provider.id
            );
        }
        described.insert(name.to_owned());
    }
    assert_same(&unified_operations(), &described, "surfaces.md");
}

fn query_of(path: &str, method: &str) -> BTreeSet<String> {
    let parameters = document()["paths"][path][method]["parameters"].clone();
    let inline = |one: &Value| one["in"] == "query";
    let all = parameters.as_array().cloned().unwrap_or_default();
    all.iter().filter(|one| inline(one)).map(|one| one["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn surfaces_md_has_every_operation_with_its_query() {
    let mut described = BTreeSet::new();
    let mut tag = "";
    for line in SURFACES_PAGE.lines() {
        tag = match line.strip_prefix("### ").and_then(|heading| heading.split(' ').next()) {
            Some("OpenAI") => "openai",
            Some("Anthropic,") => "anthropic",
            Some("Gemini,") => "gemini",
            Some("Unified,") => "",
            _ if line.starts_with("## ") => "",
            _ => tag,
        };
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        if let (false, [_, name, route, query, _]) = (tag.is_empty(), cells.as_slice())
            && let Some(name) = name.strip_prefix('`').and_then(|name| name.strip_suffix('`'))
        {
            let dialect = match tag {
                "openai" => Dialect::OpenAi,
                "anthropic" => Dialect::Anthropic,
                _ => Dialect::Gemini,
            };
            let row = operation::table(dialect).iter().find(|row| row.name == name);
            let row = row.unwrap_or_else(|| panic!("surfaces.md: {tag} has no {name}"));
            let named: Vec<_> =
                query.split(", ").map(|one| one.trim_matches('`')).filter(|one| !one.is_empty()).collect();
            assert_eq!(named, row.query, "surfaces.md: {tag} {name}");
            let (method, path) = route.trim_matches('`').split_once(' ').expect("method and path");
            let below = format!("/v1{path}").replace("{model}", "m-1").replace("{id}", "x");
            let found = operation::find(dialect, method, &below).map(|found| found.operation.name);
            assert_eq!(found, Some(name), "surfaces.md: {route}");
            described.insert(format!("{tag}.{name}"));
        }
    }
    assert_same(&operations(), &described, "surfaces.md");
}

/// What stands in backticks in the first column of the page's tables.
fn first_column(page: &str) -> BTreeSet<String> {
    page.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[test]
fn metrics_md_has_every_metric_and_no_other() {
    let named: BTreeSet<_> = METRICS
        .lines()
        .map(|line| line.strip_prefix("pub(super) ").unwrap_or(line))
        .filter(|line| line.starts_with("const ") && line.contains(": &str = "))
        .filter_map(|line| line.split('"').nth(1))
        .map(str::to_owned)
        .collect();
    assert!(named.len() > 10, "the names were not read: {named:?}");
    let table = METRICS_PAGE.split("## ").next().expect("the table comes first");
    assert_same(&named, &first_column(table), "metrics.md");
}

#[test]
fn errors_md_has_every_code_with_its_status_and_no_other() {
    let table = ERRORS_PAGE.split("## Where").next().expect("the table comes first");
    let codes: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str().to_owned()).collect();
    assert_same(&codes, &first_column(table), "errors.md");
    for code in Code::ALL {
        let row = format!("| `{}` | {} |", code.as_str(), code.status());
        assert!(ERRORS_PAGE.contains(&row), "errors.md: {row}");
    }
    let listed = document()["components"]["schemas"]["Code"]["enum"].clone();
    let listed =
        listed.as_array().expect("a list").iter().map(|code| code.as_str().expect("text").to_owned());
    assert_same(&codes, &listed.collect(), "openapi.json, Code");
}

#[test]
fn audit_log_md_has_every_action_and_no_other() {
    let mut sources = Vec::new();
    files(&root().join("crates/keyferry/src/admin"), "rs", &mut sources);
    files(&root().join("crates/storage/src"), "rs", &mut sources);
    files(&root().join("crates/keyferry/src/custody"), "rs", &mut sources);
    sources.push(root().join("crates/keyferry/src/counting.rs"));
    let mut written = BTreeSet::new();
    for source in sources {
        let text = fs::read_to_string(source).expect("text");
        for begin in [".audit(\"", "action: \""] {
            written.extend(
                text.split(begin).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())),
            );
        }
    }
    assert!(written.len() > 10, "the actions were not read: {written:?}");
    let listed = document()["components"]["schemas"]["AuditRow"]["properties"]["action"]["enum"].clone();
    let listed =
        listed.as_array().expect("a list").iter().map(|action| action.as_str().expect("text").to_owned());
    assert_same(&written, &listed.collect(), "openapi.json, AuditRow");
    let table = AUDIT_PAGE.split("## ").find(|section| section.starts_with("Actions")).expect("a section");
    assert_same(&written, &first_column(table), "audit-log.md");
}

fn help_of(command: &[String]) -> String {
    let run =
        Command::new(env!("CARGO_BIN_EXE_keyferry")).args(command).arg("--help").output().expect("runs");
    assert!(run.status.success(), "{command:?}");
    String::from_utf8(run.stdout).expect("UTF-8")
}

/// The subcommands that a help text lists.
fn subcommands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    lines
        .take_while(|line| !line.is_empty())
        // A longer description goes on further to the right.
        .filter_map(|line| {
            line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?.split_whitespace().next()
        })
        .filter(|name| *name != "help" && !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Every command that does something, with its help.
fn commands() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![Vec::new()];
    while let Some(command) = open.pop() {
        let help = help_of(&command);
        let below = subcommands(&help);
        if below.is_empty() {
            found.push((format!("keyferry {}", command.join(" ")), help));
        }
        open.extend(below.into_iter().map(|name| [command.clone(), vec![name]].concat()));
    }
    found
}

#[test]
fn cli_md_has_every_command_with_its_options_and_no_other() {
    let commands = commands();
    assert!(commands.len() > 15, "the help was not read: {commands:?}");
    let sections: Vec<(&str, &str)> =
        CLI_PAGE.split("\n### `").skip(1).filter_map(|section| section.split_once('`')).collect();
    let names = commands.iter().map(|(name, _)| name.as_str()).collect();
    assert_same(&names, &sections.iter().map(|(name, _)| *name).collect(), "cli.md");
    let shared = CLI_PAGE.split("## Managing").nth(1).and_then(|after| after.split("\n### ").next());
    let shared = shared.expect("the options of all managing commands");
    for (name, help) in &commands {
        let (_, section) = sections.iter().find(|(section, _)| section == name).expect("compared above");
        let managing = help.contains("--token-file");
        let options = help.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2);
        for option in options.filter(|option| *option != "--help") {
            let described = section.contains(option) || managing && shared.contains(option);
            assert!(described, "cli.md: {name} has {option}");
        }
    }
}

/// The paths of all keys of a schema: `a.b`, `list[].c`, `map.*.d`.
fn keys(schema: &Value, whole: &Value, path: &str, found: &mut BTreeSet<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        // A previous root is written like the one that wraps.
        if path.ends_with("previous[]") {
            return;
        }
        return keys(&whole["$defs"][name.trim_start_matches("#/$defs/")], whole, path, found);
    }
    for choice in schema["anyOf"].as_array().into_iter().flatten() {
        keys(choice, whole, path, found);
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        keys(field, whole, &path, found);
        found.insert(path);
    }
    if schema["additionalProperties"].is_object() {
        keys(&schema["additionalProperties"], whole, &format!("{path}.*"), found);
    }
    if schema["items"].is_object() {
        keys(&schema["items"], whole, &format!("{path}[]"), found);
    }
}

#[test]
fn configuration_md_has_every_key_of_the_schema_and_no_other() {
    let run = Command::new(env!("CARGO_BIN_EXE_keyferry")).args(["config", "schema"]).output().expect("runs");
    let schema: Value = serde_json::from_slice(&run.stdout).expect("a JSON Schema");
    let mut known = BTreeSet::new();
    keys(&schema, &schema, "", &mut known);
    assert!(known.contains("upstream.dial[].host"), "the schema was not read: {known:?}");
    let tables = CONFIGURATION_PAGE.split("## Environment variables").next().expect("tables");
    assert_same(&known, &first_column(tables), "configuration.md");
}

/// All files below a folder with this ending.
fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, ending, found);
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn logging_md_has_every_event_and_no_other() {
    let mut sources = Vec::new();
    for folder in ["crates/keyferry/src", "crates/storage/src"] {
        files(&root().join(folder), "rs", &mut sources);
    }
    let mut logged = BTreeSet::from(["byok_key_test_success".to_owned(), "byok_key_test_failed".to_owned()]);
    for source in sources {
        let text = fs::read_to_string(source).expect("text");
        logged.extend(
            text.split("event = \"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())),
        );
    }
    assert!(logged.len() > 10, "the events were not read: {logged:?}");
    let events = LOGGING_PAGE.split("## Events").nth(1).expect("a section");
    let described = events
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next())
        .flat_map(|cell| cell.split("`, `").map(|name| name.trim_matches('`').to_owned()))
        .collect();
    assert_same(&logged, &described, "logging.md");
}

#[test]
fn documents_link_to_what_is_there() {
    let root = root();
    let mut pages: Vec<PathBuf> = ["README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"]
        .into_iter()
        .map(|page| root.join(page))
        .collect();
    files(&root.join("docs"), "md", &mut pages);
    for page in pages {
        let text = fs::read_to_string(&page).expect("text");
        for link in text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)) {
            if link.contains("://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if path.is_empty() { page.clone() } else { page.parent().expect("a folder").join(path) };
            assert!(target.exists(), "{}: {link}", page.display());
            if !anchor.is_empty() {
                let headings = fs::read_to_string(&target).expect("text");
                let found = headings
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .any(|line| anchor_of(line) == anchor);
                assert!(found, "{}: {link}", page.display());
            }
        }
    }
}

/// The anchor of a heading, as Markdown renderers make it.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}
