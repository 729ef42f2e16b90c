//! Holds the house's plan: which module may use which, where `unsafe` may stand, how long a file may
//! get. It reads the source text, so the plan cannot rot silently; each line of the plan says why.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One module of the crate and what it may use of the others.
struct Row {
    module: &'static str,
    uses: &'static [&'static str],
    why: &'static str,
}

const fn row(module: &'static str, uses: &'static [&'static str], why: &'static str) -> Row {
    Row { module, uses, why }
}

/// The floors, the lowest first. A module uses only those in rows above its own.
const PLAN: &[Row] = &[
    row("sys", &[], "the kernel knows nothing of us"),
    row("util", &[], "pure helpers without I/O or clock"),
    row(
        "hub",
        &["sys", "util"],
        "an event loop for anybody's files, not for ours",
    ),
    row("amqp", &["util"], "sans-IO: bytes and `now` in, events out"),
    row(
        "message",
        &["util", "amqp"],
        "pure: the forms that tasks, results and records take",
    ),
    row(
        "boot",
        &["util", "hub"],
        "starts and stops steps; the Hub only as a type they are lent",
    ),
    row(
        "link",
        &["sys", "util", "hub", "amqp"],
        "a socket under a connection; its owner wires it",
    ),
    row(
        "pool",
        &["sys", "util", "hub", "message"],
        "children; its owner wires it to the Hub",
    ),
    row(
        "worker",
        &[
            "sys", "util", "hub", "amqp", "message", "boot", "link", "pool",
        ],
        "puts the parts together, and does not know who starts it",
    ),
    row(
        "broker",
        &["sys", "util", "hub", "amqp"],
        "a server on the same codec; knows no worker",
    ),
    row(
        "client",
        &["sys", "util", "amqp", "message", "link"],
        "talks to workers through their broker; knows none",
    ),
    row(
        "app",
        &[
            "sys", "util", "hub", "message", "link", "pool", "worker", "broker", "client", "cli",
        ],
        "the public face; `App::main` is the command line, which is why it may name `cli`",
    ),
    row(
        "cli",
        &[
            "sys", "util", "hub", "amqp", "message", "boot", "link", "pool", "worker", "broker",
            "client", "app",
        ],
        "the commands; the client commands speak AMQP themselves",
    ),
    row("manual", &[], "prose"),
];

/// What of the outside only some modules may name.
const OUTSIDE: &[(&str, &[&str], &str)] = &[
    ("libc", &["sys"], "only sys talks to the kernel by hand"),
    ("mio", &["hub"], "only the Hub polls"),
    ("nix", &["sys"], "only sys talks to the kernel by hand"),
    (
        "polling",
        &["sys"],
        "the command-line client waits for its one socket through sys::wait, without a Hub",
    ),
];

/// What the pure modules may not name: time, files and peers reach them as arguments.
const PURE: &[&str] = &["amqp", "message", "util"];
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
];

/// A file longer than this holds more than one idea.
const LONGEST: usize = 500;

/// Everything wrong with the text of `path` (relative to `src`).
fn violations(path: &str, text: &str) -> Vec<String> {
    let code = code_of(text);
    let module = path.split(['/', '.']).next().unwrap_or_default();
    let mut found = Vec::new();
    if text.lines().count() > LONGEST {
        found.push(format!("{path} is longer than {LONGEST} lines"));
    }
    if module != "sys" && words(&code).any(|word| word == "unsafe") {
        found.push(format!("{path} says `unsafe`, which only sys may"));
    }
    let tested = without_tests(path, &code);
    for (krate, users, why) in OUTSIDE {
        if !users.contains(&module) && names_root(tested, krate) {
            found.push(format!("{path} uses {krate}: {why}"));
        }
    }
    if PURE.contains(&module) {
        let impure = IMPURE.iter().filter(|name| tested.contains(*name));
        found.extend(impure.map(|name| format!("{path} names {name}, but {module} is pure")));
    }
    let Some(row) = PLAN.iter().find(|row| row.module == module) else {
        let known = ["lib", "main", "fuzzing"].contains(&module); // they only re-export
        return if known {
            found
        } else {
            vec![format!("{path}: {module} is not in the plan")]
        };
    };
    for used in modules_used(path, &code) {
        if used != module && !row.uses.contains(&used) {
            found.push(format!("{path} uses {used}, but {module} is: {}", row.why));
        }
    }
    found
}

/// The part of `code` that is not for tests, which may read a clock or name an errno: what stands
/// before the module of tests.
fn without_tests<'a>(path: &str, code: &'a str) -> &'a str {
    if path.ends_with("tests.rs") {
        return "";
    }
    code.split_once("#[cfg(test)]\nmod ")
        .map_or(code, |(product, _)| product)
}

/// The modules at the top of the crate that `code` names through `crate::` or a tower of `super::`.
fn modules_used(path: &str, code: &str) -> BTreeSet<&'static str> {
    let inside = path.trim_end_matches(".rs").trim_end_matches("/mod");
    // From `src/a/b.rs` two steps up are the crate; in a nested `mod tests` they are not, but then
    // they only lead to the names of a module's own children.
    let tower = "super::".repeat(inside.split('/').count());
    let mut used = BTreeSet::new();
    for root in ["crate::", tower.as_str()] {
        for (at, _) in code.match_indices(root) {
            for name in heads(&code[at + root.len()..]) {
                used.extend(
                    PLAN.iter()
                        .map(|row| row.module)
                        .find(|module| *module == name),
                );
            }
        }
    }
    used
}

/// The first names of the paths that `rest` begins with: one, or one for each of a `{group}`.
fn heads(rest: &str) -> Vec<&str> {
    let name = |text| words(text).next().unwrap_or_default();
    let Some(group) = rest.strip_prefix('{') else {
        return vec![name(rest)];
    };
    let mut heads = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, sign) in group.char_indices() {
        match sign {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                heads.push(name(&group[start..at]));
                start = at + 1;
                if sign == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    heads
}

/// Whether a path in `code` starts with the crate `name`.
fn names_root(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].trim_end_matches("::").chars().next_back();
        let own_path = code[..at].ends_with("::") && before.is_some_and(is_word);
        let starts = !own_path && !code[..at].chars().next_back().is_some_and(is_word);
        let after = &code[at + name.len()..];
        starts && (after.starts_with("::") || after.starts_with(" as "))
    })
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|sign| !is_word(sign))
        .filter(|word| !word.is_empty())
}

fn is_word(sign: char) -> bool {
    sign.is_alphanumeric() || sign == '_'
}

/// `text` without its comments and without what stands in its string literals.
fn code_of(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(sign) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(hashes) = raw_string(rest) {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = hashes + 2;
            rest[open..]
                .find(&close)
                .map_or(rest.len(), |at| open + at + close.len())
        } else if sign == '"' {
            string(rest)
        } else if sign == '\'' {
            character(rest)
        } else {
            0
        };
        if skipped == 0 {
            code.push(sign);
            rest = &rest[sign.len_utf8()..];
        } else {
            code.push(' ');
            rest = &rest[skipped..];
        }
    }
    code
}

/// The length of the block comment, which may hold others, at the start of `rest`.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The number of hash signs if `rest` starts with a raw string literal.
fn raw_string(rest: &str) -> Option<usize> {
    let hashes = rest.strip_prefix('r')?;
    let quoted = hashes.trim_start_matches('#');
    quoted
        .starts_with('"')
        .then_some(hashes.len() - quoted.len())
}

/// The length of the string literal at the start of `rest`.
fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, sign) in rest.char_indices().skip(1) {
        match sign {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of the character literal at the start of `rest`; `0` when it is a lifetime.
fn character(rest: &str) -> usize {
    let mut signs = rest.char_indices().skip(1);
    match (signs.next(), signs.next()) {
        (Some((_, '\\')), Some((at, _))) => rest[at + 1..].find('\'').map_or(0, |end| at + end + 2),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

/// Every `.rs` file under `directory`.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a readable directory") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn the_source_keeps_to_the_plan() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&src, &mut paths);
    assert!(paths.len() > 20, "the source is found");
    let mut found = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).expect("a readable source file");
        let path = path
            .strip_prefix(&src)
            .expect("a path under src")
            .to_string_lossy();
        found.extend(violations(&path, &text));
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn the_plan_leads_downwards() {
    for (at, row) in PLAN.iter().enumerate() {
        for used in row.uses {
            let lower = PLAN[..at].iter().any(|other| other.module == *used);
            // The one circle: the library's `main` is the command line, which runs the library.
            assert!(
                lower || (row.module, *used) == ("app", "cli"),
                "{} uses {used}",
                row.module
            );
        }
    }
}

#[test]
fn every_kind_of_violation_is_found() {
    let cases = [
        (
            "hub/x.rs",
            "use crate::worker::Worker;",
            "hub/x.rs uses worker",
        ),
        (
            "hub/x.rs",
            "use crate::{sys::fd, pool};",
            "hub/x.rs uses pool",
        ),
        (
            "hub/x.rs",
            "use crate::{util::{slots, buffer}, amqp::Frame};",
            "hub/x.rs uses amqp",
        ),
        ("hub/x.rs", "use super::super::link;", "hub/x.rs uses link"),
        ("hub/mod.rs", "use super::boot;", "hub/mod.rs uses boot"),
        (
            "hub/a/b.rs",
            "use super::super::super::{cli};",
            "hub/a/b.rs uses cli",
        ),
        (
            "amqp/x.rs",
            "fn f() { crate::sys::clock::now(); }",
            "amqp/x.rs uses sys",
        ),
        (
            "amqp/x.rs",
            "let now = Instant::now();",
            "amqp/x.rs names Instant::now",
        ),
        (
            "link/x.rs",
            "let s = \"a\\\"b\"; use mio::Poll;",
            "link/x.rs uses mio",
        ),
        ("link/x.rs", "::nix::unistd::fork();", "link/x.rs uses nix"),
        (
            "pool/x.rs",
            "let q = '\"'; unsafe { f() }",
            "pool/x.rs says `unsafe`",
        ),
        ("attic/x.rs", "", "attic/x.rs: attic is not in the plan"),
    ];
    for (path, text, expected) in cases {
        let found = violations(path, text);
        assert!(
            matches!(&found[..], [one] if one.starts_with(expected)),
            "{text}: {found:?}"
        );
    }
    assert_eq!(violations("sys/x.rs", &"\n".repeat(LONGEST + 1)).len(), 1);
}

#[test]
fn what_is_not_code_does_not_count() {
    let innocent = [
        "// use crate::worker;",
        "//! [`Worker`](crate::worker::Worker)",
        "/* unsafe /* nested */ unsafe */",
        "let text = \"crate::worker \\\" unsafe\";",
        "let text = r#\"a \" crate::worker unsafe\"#;",
        "fn f<'a>(text: &'a str) -> &'a str { \"'unsafe\" }",
        "#![deny(unsafe_code)]",
        "use super::sources; use self::mio::X; use crate::hub::nix::y;",
        "use crate::sys::signal::Signal;",
        "fn f() {}\n#[cfg(test)]\nmod tests { use nix::poll; }",
    ];
    for text in innocent {
        assert_eq!(violations("hub/x.rs", text), Vec::<String>::new(), "{text}");
    }
}

/// T23: what a close code means is said in one place, `link/remedy.rs`; that one code is also a sign of something is
/// `link/loss.rs`'s to know.
#[test]
fn t23_only_one_place_decides_about_close_codes() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&src.join("link"), &mut paths);
    sources(&src.join("worker"), &mut paths);
    let allowed = ["remedy.rs", "loss.rs"];
    let tells = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("a readable source file");
        text.contains("ReplyCode")
            && !allowed
                .iter()
                .any(|name| path.ends_with(format!("link/{name}")))
    };
    paths.retain(tells);
    assert_eq!(paths, Vec::<PathBuf>::new());
}
