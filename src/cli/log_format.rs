//! Lines of the log in a format of the app's own: Python's `%(asctime)s %(levelname)s ... %(message)s`.
//!
//! Main has no Python to format them. It reads the format once, and knows the attributes that Python's `logging` gives to
//! every record. One that it does not know is shown as `???`, as Celery shows what a record has not.

use std::fmt::Write as _;

use jiff::ZonedDateTime;
use jiff::fmt::strtime;

/// What a line is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct LineFormat {
    pieces: Vec<Piece>,
    /// The form of `asctime`; without one, Python's.
    datefmt: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    Field {
        name: String,
        width: u16,
        left: bool,
        zeros: bool,
        precision: Option<u16>,
    },
}

/// What is known of a record.
pub(super) struct Known<'a> {
    pub(super) level: &'static str,
    pub(super) process: &'a str,
    pub(super) at: &'a ZonedDateTime,
    pub(super) record: &'a log::Record<'a>,
}

impl LineFormat {
    /// Reads a format. Nothing when it is none of Python's, or its dates are none that can be written here.
    pub(super) fn parse(format: &str, datefmt: Option<&str>) -> Option<Self> {
        let mut pieces = Vec::new();
        let mut rest = format;
        while let Some((text, after)) = rest.split_once('%') {
            push(&mut pieces, text);
            if let Some(after) = after.strip_prefix('%') {
                push(&mut pieces, "%");
                rest = after;
                continue;
            }
            let (name, after) = after.strip_prefix('(')?.split_once(')')?;
            let end = after.find(|c: char| c.is_ascii_alphabetic())?;
            let (options, conversion) = after.split_at(end);
            let (flags, precision) = match options.split_once('.') {
                Some((flags, digits)) => (flags, Some(digits.parse().ok()?)),
                None => (options, None),
            };
            let digits = flags.trim_start_matches(['-', '+', '#', ' ', '0']);
            pieces.push(Piece::Field {
                name: name.to_owned(),
                width: if digits.is_empty() {
                    0
                } else {
                    digits.parse().ok()?
                },
                left: flags.contains('-'),
                zeros: flags.starts_with('0'),
                precision,
            });
            rest = conversion.get(1..)?;
        }
        push(&mut pieces, rest);
        if datefmt
            .is_some_and(|datefmt| strtime::format(datefmt, &ZonedDateTime::default()).is_err())
        {
            return None;
        }
        Some(Self {
            pieces,
            datefmt: datefmt.map(str::to_owned),
        })
    }

    /// A record as a line.
    pub(super) fn line(&self, known: &Known<'_>) -> String {
        let mut line = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => line.push_str(text),
                Piece::Field {
                    name,
                    width,
                    left,
                    zeros,
                    precision,
                } => {
                    let value = self.value(name, precision.map(usize::from), known);
                    let width = usize::from(*width);
                    // Writing to a string does not fail.
                    let _ = match (left, zeros) {
                        (true, _) => write!(line, "{value:<width$}"),
                        (false, true) => write!(line, "{value:0>width$}"),
                        (false, false) => write!(line, "{value:>width$}"),
                    };
                }
            }
        }
        line
    }

    fn value(&self, name: &str, precision: Option<usize>, known: &Known<'_>) -> String {
        let at = known.at;
        let record = known.record;
        let number = |value: f64| match precision {
            Some(digits) => format!("{value:.digits$}"),
            None => value.to_string(),
        };
        let milliseconds = f64::from(at.subsec_nanosecond()) / 1e6;
        let path = record.file().unwrap_or("???");
        let text = match name {
            "asctime" => self.date(at),
            "message" => record.args().to_string(),
            "levelname" => known.level.to_owned(),
            "levelno" => level_number(known.level).to_string(),
            "name" => record.target().replace("::", "."),
            "process" => std::process::id().to_string(),
            "processName" => known.process.to_owned(),
            "threadName" => "MainThread".to_owned(),
            "thread" => std::process::id().to_string(),
            "created" => return number(at.timestamp().as_nanosecond() as f64 / 1e9),
            "msecs" => return number(milliseconds.floor()),
            "module" => last(record.module_path().unwrap_or("???"), "::").to_owned(),
            "filename" => last(path, "/").to_owned(),
            "pathname" => path.to_owned(),
            "lineno" => record.line().unwrap_or(0).to_string(),
            "taskName" => "None".to_owned(),
            _ => "???".to_owned(),
        };
        match precision {
            Some(digits) => text.chars().take(digits).collect(),
            None => text,
        }
    }

    fn date(&self, at: &ZonedDateTime) -> String {
        let form = self.datefmt.as_deref().unwrap_or("%Y-%m-%d %H:%M:%S,%3f");
        strtime::format(form, at).unwrap_or_default() // it was tried before
    }
}

fn push(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

fn last<'a>(path: &'a str, separator: &str) -> &'a str {
    path.rsplit(separator).next().unwrap_or(path)
}

/// Python's number for a level.
fn level_number(level: &str) -> u8 {
    match level {
        "DEBUG" => 10,
        "INFO" => 20,
        "WARNING" => 30,
        "ERROR" => 40,
        _ => 50,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: &str, datefmt: Option<&str>) -> String {
        let at: ZonedDateTime = "2026-11-26T16:40:05.0078[UTC]".parse().unwrap();
        let known = Known {
            level: "WARNING",
            process: "MainProcess",
            at: &at,
            record: &log::Record::builder()
                .args(format_args!("50% of it"))
                .target("celeriac::worker")
                .file(Some("src/worker/mod.rs"))
                .line(Some(7))
                .build(),
        };
        LineFormat::parse(format, datefmt).unwrap().line(&known)
    }

    /// Each as Python's `logging.Formatter` writes it.
    #[test]
    fn lines_are_as_python_writes_them() {
        for (format, expected) in [
            (
                "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s",
                "[2026-11-26 16:40:05,007: WARNING/MainProcess] 50% of it",
            ),
            ("%(levelname)-10s|%(message)s", "WARNING   |50% of it"),
            ("%(levelname)10s|%(levelname).1s", "   WARNING|W"),
            ("%(msecs)03d %(levelno)s 100%%", "007 30 100%"),
            ("%(created).3f", "1795711205.008"),
            (
                "%(name)s:%(filename)s:%(lineno)d",
                "celeriac.worker:mod.rs:7",
            ),
            ("%(task_id)s plain", "??? plain"),
            ("", ""),
        ] {
            assert_eq!(line(format, None), expected, "{format}");
        }
        assert_eq!(line("%(asctime)s", Some("%H:%M:%S %z")), "16:40:05 +0000");
    }

    #[test]
    fn what_is_no_format_of_pythons_is_refused() {
        for format in [
            "%s",
            "%(message",
            "%(message)",
            "100%",
            "%(message)1.xs",
            "%(message)99999s",
            "%(created).99999f",
        ] {
            assert_eq!(LineFormat::parse(format, None), None, "{format}");
        }
        assert_eq!(LineFormat::parse("%(asctime)s", Some("%!")), None);
    }
}
