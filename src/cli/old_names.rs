//! Names of 2010: `celeryctl`, `celeryd`, `celeryev`, as a sub-command or as what the binary is called by.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// What follows an old program's name today. `celeryctl` had the sub-commands of today.
const PROGRAMS: [(&str, Option<&str>); 3] = [
    ("celeryctl", None),
    ("celeryd", Some("worker")),
    ("celeryev", Some("events")),
];

/// Options that were spelled otherwise.
const OPTIONS: [(&str, &str); 1] = [("--maxtasksperchild", "--max-tasks-per-child")];

/// The command line in today's words; one that is in today's words already stays as it is.
pub(super) fn modern(line: Vec<OsString>) -> Vec<OsString> {
    let called = line.first().and_then(|name| program(name));
    let asked = || line.get(1).and_then(|name| program(name));
    let (command, taken) = match (called, asked()) {
        (Some(command), _) => (command, 1),
        (None, Some(command)) => (command, 2),
        (None, None) => return line,
    };
    let mut words = line.into_iter();
    let mut modern: Vec<OsString> = words.next().into_iter().collect();
    modern.extend(command.map(OsString::from));
    let rest: Vec<OsString> = words.skip(taken - 1).map(option).collect();
    modern.extend(match command {
        None => celeryctl(rest),
        Some(_) => rest,
    });
    modern
}

fn program(name: &OsStr) -> Option<Option<&'static str>> {
    let name = Path::new(name).file_name()?.to_str()?;
    let known = PROGRAMS.iter().find(|(old, _)| *old == name);
    known.map(|(_, command)| *command)
}

fn option(word: OsString) -> OsString {
    for (old, new) in OPTIONS {
        let rest = word.to_str().and_then(|word| word.strip_prefix(old));
        if let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with('=')) {
            return format!("{new}{rest}").into();
        }
    }
    word
}

/// `celeryctl apply` is `call`, its `purge` did not ask, and `celeryctl -t NAME ID` is `result`.
fn celeryctl(mut words: Vec<OsString>) -> Vec<OsString> {
    match words.first().and_then(|word| word.to_str()) {
        Some("apply") => words[0] = "call".into(),
        Some("purge") => words.insert(1, "--force".into()),
        Some("-t" | "--task") => words.insert(0, "result".into()),
        _ => {}
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_words_become_todays() {
        for (old, new) in [
            ("celeriac status", "celeriac status"),
            ("celeriac celeryctl inspect ping", "celeriac inspect ping"),
            ("/usr/bin/celeryctl status", "/usr/bin/celeryctl status"),
            (
                "celeryctl apply tasks.add -a [2,2]",
                "celeryctl call tasks.add -a [2,2]",
            ),
            ("celeryctl purge", "celeryctl purge --force"),
            (
                "celeryctl -t tasks.add 5",
                "celeryctl result -t tasks.add 5",
            ),
            (
                "celeriac celeryd -c 2 --maxtasksperchild=5",
                "celeriac worker -c 2 --max-tasks-per-child=5",
            ),
            ("./celeryd -Q a", "./celeryd worker -Q a"),
            ("celeryev --dump", "celeryev events --dump"),
            ("celeriac celeryev -d", "celeriac events -d"),
            ("celeriac", "celeriac"),
            ("celeryctl", "celeryctl"),
        ] {
            let line = old.split(' ').map(OsString::from).collect();
            let expected: Vec<OsString> = new.split(' ').map(OsString::from).collect();
            assert_eq!(modern(line), expected, "{old}");
        }
        assert!(modern(vec![]).is_empty());
    }
}
