//! Logging in Celery's line format: `[2026-11-20 11:52:24,188: INFO/MainProcess] Connected to ..`.
//!
//! Records come through the `log` crate and are filtered and written by env_logger. Each process sets its log up for
//! itself: main after it has made the zygote, every child when it starts, so that no descriptor is shared. One record is
//! one `write`, so lines of several processes do not mix.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use env_logger::{Builder, Target};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use log::{LevelFilter, Record};

use super::log_format::{Known, LineFormat};
use crate::sys::clock;
use crate::worker::CRITICAL;

/// A log level by Celery's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything.
    Debug,
    /// What happens to each task.
    Info,
    /// What somebody should look at; the default.
    Warning,
    /// What failed.
    Error,
    /// What ends the worker.
    Critical,
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_uppercase().as_str() {
            "DEBUG" => Ok(Self::Debug),
            "INFO" => Ok(Self::Info),
            "WARNING" => Ok(Self::Warning),
            "ERROR" => Ok(Self::Error),
            "CRITICAL" | "FATAL" => Ok(Self::Critical),
            _ => Err(format!(
                "'{text}' is not one of 'DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL', 'FATAL'."
            )),
        }
    }
}

/// How to log; plain data, so that it can wait in the zygote until a child needs it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is logged: this and above.
    pub level: Level,
    /// Where to; without one, to stderr.
    pub file: Option<PathBuf>,
    /// Whether lines may be coloured. They are on a terminal only.
    pub colour: bool,
    /// The time zone of the lines, as `TZ` names it; without one that of this process.
    pub zone: Option<String>,
    /// The form of a line; without one, Celery's.
    pub format: Option<LineFormat>,
}

/// Starts logging in this process, whose name appears in every line: `MainProcess`, `ForkPoolWorker-3`.
///
/// # Errors
/// When the file cannot be opened, or when this process logs already.
pub fn start(settings: &Settings, process: &str) -> io::Result<()> {
    let mut builder = Builder::new();
    match settings.level {
        Level::Debug => builder.filter_level(LevelFilter::Debug),
        Level::Info => builder.filter_level(LevelFilter::Info),
        Level::Warning => builder.filter_level(LevelFilter::Warn),
        Level::Error => builder.filter_level(LevelFilter::Error),
        Level::Critical => builder
            .filter_level(LevelFilter::Off)
            .filter_module(CRITICAL, LevelFilter::Error),
    };
    let mut colour = false;
    match &settings.file {
        Some(path) => {
            builder.target(Target::Pipe(Box::new(WatchedFile::open(path)?)));
        }
        None => colour = settings.colour && io::stderr().is_terminal(),
    }
    let process = process.to_owned();
    let zone = zone(settings.zone.as_deref());
    let format = settings.format.clone();
    builder.format(move |buffer, record| {
        let text = match &format {
            Some(format) => format.line(&Known {
                level: name(record),
                process: &process,
                at: &clock_in(&zone),
                record,
            }),
            None => text(record, &process, now_in(&zone)),
        };
        writeln!(buffer, "{}", line(record, text, colour))
    });
    builder.try_init().map_err(io::Error::other)
}

/// The time on the wall, here.
pub(super) fn now() -> DateTime {
    now_in(&TimeZone::system())
}

fn now_in(zone: &TimeZone) -> DateTime {
    zone.to_datetime(Timestamp::try_from(clock::wall()).unwrap_or_default())
}

fn clock_in(zone: &TimeZone) -> ZonedDateTime {
    let now = Timestamp::try_from(clock::wall()).unwrap_or_default();
    now.to_zoned_datetime(zone.clone())
}

/// A time zone by a name such as `Europe/Berlin`, or by a rule such as `CET-1CEST,M3.5.0,M10.5.0/3`.
fn zone(name: Option<&str>) -> TimeZone {
    let named = name.map(|name| name.trim_start_matches(':'));
    named
        .and_then(|name| TimeZone::get(name).or_else(|_| TimeZone::posix(name)).ok())
        .unwrap_or_else(TimeZone::system)
}

/// One record as Celery prints it.
fn text(record: &Record<'_>, process: &str, at: DateTime) -> String {
    format!(
        "[{}: {}/{process}] {}",
        at.strftime("%Y-%m-%d %H:%M:%S,%3f"),
        name(record),
        record.args()
    )
}

/// A line in the colour of its level.
fn line(record: &Record<'_>, text: String, colour: bool) -> String {
    let code = match name(record) {
        _ if !colour => return text,
        "DEBUG" => 34,
        "WARNING" => 33,
        "ERROR" => 31,
        "CRITICAL" => 35,
        _ => return text,
    };
    format!("\x1b[1;{code}m{text}\x1b[0m")
}

/// The level by Python's name.
fn name(record: &Record<'_>) -> &'static str {
    match record.level() {
        log::Level::Error if record.target() == CRITICAL => "CRITICAL",
        log::Level::Error => "ERROR",
        log::Level::Warn => "WARNING",
        log::Level::Info => "INFO",
        log::Level::Debug | log::Level::Trace => "DEBUG",
    }
}

/// A log file that is opened again once somebody moved it away, as logrotate does.
struct WatchedFile {
    path: PathBuf,
    file: File,
}

impl WatchedFile {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: append(path)?,
        })
    }

    /// Whether the path still names the open file.
    fn is_current(&self) -> io::Result<bool> {
        let open = self.file.metadata()?;
        match self.path.metadata() {
            Ok(named) => Ok((named.dev(), named.ino()) == (open.dev(), open.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Write for WatchedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_current()? {
            self.file = append(&self.path)?;
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_has_a_name_or_a_rule() {
        let noon: Timestamp = "2026-07-01T12:00:00Z".parse().unwrap();
        for name in [
            "Europe/Berlin",
            ":Europe/Berlin",
            "CET-1CEST,M3.5.0,M10.5.0/3",
        ] {
            assert_eq!(zone(Some(name)).to_datetime(noon).hour(), 14, "{name}");
        }
        assert_eq!(zone(Some("no such place")), TimeZone::system());
    }

    fn formatted(level: log::Level, target: &str, colour: bool) -> String {
        let at = "2026-11-20T11:52:24.188999".parse().unwrap();
        let record = Record::builder()
            .level(level)
            .target(target)
            .args(format_args!("ready."))
            .build();
        line(&record, text(&record, "MainProcess", at), colour)
    }

    #[test]
    fn a_line_is_celerys() {
        for (level, target, expected) in [
            (
                log::Level::Info,
                "celeriac",
                "[2026-11-20 11:52:24,188: INFO/MainProcess] ready.",
            ),
            (
                log::Level::Warn,
                "celeriac",
                "[2026-11-20 11:52:24,188: WARNING/MainProcess] ready.",
            ),
            (
                log::Level::Error,
                CRITICAL,
                "[2026-11-20 11:52:24,188: CRITICAL/MainProcess] ready.",
            ),
        ] {
            assert_eq!(formatted(level, target, false), expected);
        }
    }

    #[test]
    fn colours_are_celerys() {
        assert!(formatted(log::Level::Error, "x", true).starts_with("\x1b[1;31m[2026"));
        assert!(formatted(log::Level::Error, "x", true).ends_with("ready.\x1b[0m"));
        assert!(formatted(log::Level::Info, "x", true).starts_with("[2026"));
    }

    #[test]
    fn levels_have_celerys_names_in_any_case() {
        assert_eq!("info".parse(), Ok(Level::Info));
        assert_eq!("FATAL".parse(), Ok(Level::Critical));
        assert!("loud".parse::<Level>().is_err());
    }

    #[test]
    fn a_moved_file_is_opened_again() {
        let directory = std::env::temp_dir().join(format!("celeriac-log-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("worker.log");
        let moved = directory.join("worker.log.1");
        let mut file = WatchedFile::open(&path).unwrap();
        file.write_all(b"one\n").unwrap();
        std::fs::rename(&path, &moved).unwrap();
        file.write_all(b"two\n").unwrap();
        file.write_all(b"three\n").unwrap();
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "one\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\nthree\n");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
