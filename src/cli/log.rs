//! Logging in Celery's line format: `[2026-11-20 11:52:24,188: INFO/MainProcess] Connected to ..`; or as JSON.
//!
//! Records come through the `log` crate and are filtered and written by env_logger. Each process sets its log up for
//! itself: main after it has made the zygote, every child when it starts, so that no descriptor is shared. One record is
//! one `write`, so lines of several processes do not mix; and nobody waits for who reads them ([`lines`]).

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use env_logger::{Builder, Target};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use log::{LevelFilter, Record};

use super::json_log;
use super::log_format::{Known, LineFormat};
use crate::sys::clock;
use crate::sys::lines::{self, Background, Patient};
use crate::worker::{CRITICAL, DUMP};

/// How long the end of a process waits for its log to be written.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

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

/// What lines look like.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Format {
    /// Celery's.
    #[default]
    Celery,
    /// A form of the app's own.
    Own(LineFormat),
    /// A JSON object a line.
    Json,
}

/// How to log; plain data, so that it can wait in the zygote until a child needs it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is logged: this and above.
    pub level: Level,
    /// In which form.
    pub format: Format,
    /// Where to; without one, to stderr.
    pub file: Option<PathBuf>,
    /// Whether lines may be coloured. They are on a terminal only.
    pub colour: bool,
    /// The time zone of the lines, as `TZ` names it; without one that of this process.
    pub zone: Option<String>,
}

/// Starts logging in a main process, whose name appears in every line: `MainProcess`. It never waits for its log.
///
/// # Errors
/// When the file cannot be opened, or when this process logs already.
pub fn start(settings: &Settings, process: &str) -> io::Result<()> {
    let target = match &settings.file {
        Some(path) => Background::start(WatchedFile::open(path)?)?,
        None => Background::start(io::stderr())?,
    };
    begin(settings, process, Box::new(target))
}

/// The same in a child: `ForkPoolWorker-3`. What it logs is written when it goes on, or it crashes first.
///
/// # Errors
/// As [`start`].
pub fn start_in_child(settings: &Settings, process: &str) -> io::Result<()> {
    let target: Box<dyn Write + Send> = match &settings.file {
        Some(path) => Box::new(WatchedFile::open(path)?),
        None => Box::new(Patient::stderr()),
    };
    begin(settings, process, target)
}

/// Has what was logged written before the process ends, unless nobody reads it.
pub(super) fn finish() {
    lines::flush(LAST_PATIENCE);
    let dropped = lines::untold();
    if dropped > 0 {
        ::log::warn!("{}", told(dropped));
        lines::flush(LAST_PATIENCE);
    }
}

fn told(dropped: u64) -> String {
    format!("{dropped} lines of this log were dropped: nobody read them")
}

fn begin(settings: &Settings, process: &str, target: Box<dyn Write + Send>) -> io::Result<()> {
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
    builder.filter_module(DUMP, LevelFilter::Error);
    builder.target(Target::Pipe(target));
    let style = Style {
        format: settings.format.clone(),
        colour: settings.colour && settings.file.is_none() && io::stderr().is_terminal(),
        process: process.to_owned(),
        zone: zone(settings.zone.as_deref()),
    };
    builder.format(move |buffer, record| {
        let dropped = lines::untold();
        if dropped > 0 {
            writeln!(buffer, "{}", style.told(dropped))?;
        }
        writeln!(buffer, "{}", style.line(record))
    });
    builder.try_init().map_err(io::Error::other)
}

/// What a line is made by.
struct Style {
    format: Format,
    colour: bool,
    process: String,
    zone: TimeZone,
}

impl Style {
    /// A line about lines that were not written.
    fn told(&self, dropped: u64) -> String {
        let mut record = Record::builder();
        record.level(log::Level::Warn).target("celeriac");
        self.line(&record.args(format_args!("{}", told(dropped))).build())
    }

    fn line(&self, record: &Record<'_>) -> String {
        let at = &clock_in(&self.zone);
        let (level, process) = (name(record), &self.process);
        let mut text = match &self.format {
            Format::Json => return json_log::line(record, level, process, at),
            _ if record.target() == DUMP => return record.args().to_string(),
            Format::Celery => text(record, process, at.datetime()),
            Format::Own(format) => format.line(&Known {
                level,
                process,
                at,
                record,
            }),
        };
        if let Some(traceback) = record.key_values().get("traceback".into()) {
            let _ = write!(text, "\n{traceback}");
        }
        line(record, text, self.colour)
    }
}

/// The time on the wall, here.
pub(super) fn now() -> DateTime {
    TimeZone::system().to_datetime(Timestamp::try_from(clock::wall()).unwrap_or_default())
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
