//! A command line that is meant for the app's own Celery, and the few words in it that are for us.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::cli::own;

/// Options before the sub-command that take a value, as Celery has them.
const WITH_VALUE: [&str; 8] = [
    "-A",
    "--app",
    "-b",
    "--broker",
    "--result-backend",
    "--loader",
    "--config",
    "--workdir",
];

/// A command line with a Python app in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// What to do: `worker`, `check`, or a command of Celery's.
    pub(super) command: String,
    /// `-A`, unless it is in the environment.
    pub(super) app: Option<OsString>,
    /// Something else that names an app: `--config`, `--loader`.
    pub(super) configured: bool,
    /// `--python`.
    pub(super) python: Option<PathBuf>,
    /// `-P`.
    pub(super) pool: Option<String>,
    /// Options that Celery has not, with their values.
    pub(super) own: Vec<OsString>,
    /// Everything, for Celery: `-A` first, where Celery wants it, and without what is only ours.
    pub(super) arguments: Vec<OsString>,
}

impl Line {
    /// Reads the words after the program's name. `None` when there is no sub-command.
    pub(super) fn read(words: &[OsString]) -> Option<Self> {
        let mut line = Self::default();
        let mut rest = Vec::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                rest.push(word.clone());
                rest.extend(words.by_ref().cloned());
            } else if let Some(value) = option(word, &["-A", "--app"], &mut words) {
                line.app = Some(value);
            } else if let Some(value) = option(word, &["--python"], &mut words) {
                line.python = Some(value.into());
            } else if let Some((name, value)) = own_option(word, &mut words) {
                line.own.extend([name.into(), value]);
            } else if let Some(value) = option(word, &["-P", "--pool"], &mut words) {
                line.pool = value.to_str().map(str::to_owned);
                rest.extend(["--pool".into(), value]);
            } else {
                rest.push(word.clone());
                let is_option = word.as_encoded_bytes().starts_with(b"-");
                if is_option && line.command.is_empty() {
                    line.configured |= names_configuration(word);
                    if WITH_VALUE.iter().any(|name| word == *name) {
                        rest.extend(words.next().cloned());
                    }
                } else if !is_option && line.command.is_empty() {
                    word.to_str()?.clone_into(&mut line.command);
                }
            }
        }
        if let Some(app) = &line.app {
            line.arguments.extend(["--app".into(), app.clone()]);
        }
        line.arguments.extend(rest);
        (!line.command.is_empty()).then_some(line)
    }
}

/// Without `-A` these name an app, Celery's default one.
fn names_configuration(word: &OsStr) -> bool {
    let text = word.to_str().unwrap_or_default();
    let name = text.split_once('=').map_or(text, |(name, _)| name);
    name == "--config" || name == "--loader"
}

/// One of the options that Celery has not, and its value.
fn own_option<'a>(
    word: &OsStr,
    words: &mut impl Iterator<Item = &'a OsString>,
) -> Option<(&'static str, OsString)> {
    own::NAMES
        .into_iter()
        .find_map(|name| Some((name, option(word, &[name], words)?)))
}

/// The value of `word` if it is one of these options: `-A x`, `-Ax`, `--app x`, `--app=x`.
fn option<'a>(
    word: &OsStr,
    names: &[&str],
    words: &mut impl Iterator<Item = &'a OsString>,
) -> Option<OsString> {
    if names.iter().any(|name| word == *name) {
        return words.next().cloned();
    }
    let text = word.to_str()?;
    names.iter().find_map(|name| {
        let value = text.strip_prefix(name)?;
        match name.starts_with("--") {
            true => value.strip_prefix('=').map(OsString::from),
            false => Some(value.strip_prefix('=').unwrap_or(value).into()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Line> {
        let words: Vec<OsString> = text.split(' ').map(OsString::from).collect();
        Line::read(&words)
    }

    fn joined(line: &Line) -> String {
        line.arguments.join(OsStr::new(" ")).into_string().unwrap()
    }

    #[test]
    fn the_app_goes_first_and_our_own_options_go() {
        let forms = [
            "-A proj worker -l INFO",
            "-Aproj worker -l INFO",
            "--app proj worker -l INFO",
            "--app=proj worker -l INFO",
            "worker -A proj -l INFO",
            "worker -l INFO --python /venv/bin/python -A proj",
        ];
        for form in forms {
            let line = read(form).unwrap();
            assert_eq!(line.command, "worker", "{form}");
            assert_eq!(joined(&line), "--app proj worker -l INFO", "{form}");
        }
        let line = read("worker --max-worker-lost 5 -A proj --dead-letter=expired").unwrap();
        assert_eq!(joined(&line), "--app proj worker");
        assert_eq!(
            line.own,
            ["--max-worker-lost", "5", "--dead-letter", "expired"]
        );
        let line = read("worker --python=/p -A proj").unwrap();
        assert_eq!(line.python, Some("/p".into()));
    }

    #[test]
    fn a_value_is_not_taken_for_the_command() {
        let line = read("-b amqp:// --workdir worker -A proj inspect active").unwrap();
        assert_eq!(line.command, "inspect");
        assert_eq!(
            joined(&line),
            "--app proj -b amqp:// --workdir worker inspect active"
        );
    }

    #[test]
    fn what_follows_two_dashes_is_celerys() {
        let line = read("-A proj worker -- -A other").unwrap();
        assert_eq!(line.app, Some("proj".into()));
        assert_eq!(joined(&line), "--app proj worker -- -A other");
    }

    #[test]
    fn the_pool_is_known_in_any_form() {
        for form in [
            "worker -P gevent",
            "worker -Pgevent",
            "worker --pool=gevent",
        ] {
            assert_eq!(read(form).unwrap().pool.as_deref(), Some("gevent"));
        }
    }

    #[test]
    fn no_command_is_no_line() {
        assert_eq!(read("-A proj"), None);
        assert_eq!(read("--version"), None);
    }

    #[test]
    fn a_configuration_names_an_app_too() {
        for line in ["--config cfg worker", "--loader=my.Loader worker"] {
            assert!(read(line).unwrap().configured, "{line}");
        }
        assert!(!read("-b amqp:// worker --config").unwrap().configured);
    }
}
