//! What survives the worker: revoked ids and stamps, and the node's logical clock.
//!
//! A text file of one record a line, each with its checksum, that is only ever appended to. A process that is killed at
//! any octet leaves at worst half a last line, which is dropped at the next start; then the file is written anew,
//! without what is too old, and takes the place of the old one in one step. Writing and `fsync` are done by a thread of
//! their own: a slow disk delays nobody. One file belongs to one node.
//!
//! ```text
//! celeriac state 1
//! 5d1c98f0 {"revoked":"8a75c803-...","at":1764155000.25}
//! 1c86bc7a {"stamp":"customer","value":"x"}
//! 0f3be512 {"clock":4711}
//! ```
//!
//! Celery's own state file is a shelve, which only Python can read: the interpreter of a Python app reports what is in
//! it, and it is put aside once that is in a file of ours ([`StateDb::import`]).

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;

const HEADER: &str = "celeriac state 1\n";

/// An open state file. Dropping it waits until everything is on the disk.
#[derive(Debug)]
pub struct StateDb {
    writer: Option<Sender<String>>,
    thread: Option<JoinHandle<()>>,
    clock: u64,
}

/// What is in a file.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Saved {
    /// The revoked ids, with their times.
    pub(super) revoked: Vec<(String, SystemTime)>,
    /// The revoked stamps, each with a value.
    pub(super) stamps: Vec<(String, Value)>,
}

/// What was in a state file of Celery's, a shelve.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Shelve {
    /// The files it consists of.
    pub files: Vec<PathBuf>,
    /// The revoked ids; when they were revoked cannot be told.
    pub revoked: Vec<String>,
    /// The logical clock.
    pub clock: u64,
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
enum Record {
    Revoked { revoked: String, at: f64 },
    Stamp { stamp: String, value: Value },
    Clock { clock: u64 },
}

impl StateDb {
    /// Puts a state file of ours in the place of Celery's, with what was in that, as of `now`; Celery's files get another
    /// name.
    ///
    /// # Errors
    /// When that cannot be written; Celery's files are as they were then, or have both names.
    pub(super) fn import(
        path: &Path,
        shelve: &Shelve,
        now: SystemTime,
    ) -> Result<(), StateDbError> {
        let error = |error| StateDbError::Io(path.to_owned(), error);
        for file in &shelve.files {
            fs::rename(file, beside(file, "celery")).map_err(error)?;
        }
        let mut text = HEADER.to_owned();
        for id in &shelve.revoked {
            text.push_str(&revoked_line(id, now));
        }
        let clock = shelve.clock;
        text.push_str(&line(&Record::Clock { clock }));
        replace(path, &text).map_err(error)?;
        log::info!(
            "statedb: {} has what was in Celery's state file: {} revoked ids",
            path.display(),
            shelve.revoked.len()
        );
        Ok(())
    }

    /// Opens the file, or makes it. Gives what is in it, but for ids that were revoked longer than `age` ago.
    ///
    /// # Errors
    /// When it cannot be written, or belongs to another program: it is not touched then.
    pub(super) fn open(
        path: PathBuf,
        age: Duration,
        now: SystemTime,
    ) -> Result<(Self, Saved), StateDbError> {
        let error = |error| StateDbError::Io(path.clone(), error);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(reason) => return Err(error(reason)),
        };
        let read = read(&text).ok_or_else(|| StateDbError::Foreign(path.clone()))?;
        if read.damaged {
            let aside = beside(&path, "damaged");
            fs::copy(&path, &aside).map_err(error)?;
            log::warn!(
                "{} is damaged: what could be read of it is kept, the rest is in {}",
                path.display(),
                aside.display()
            );
        }
        // What is younger than now was written by a clock that has been set back since, or rounded.
        let is_young =
            |at: &SystemTime| now.duration_since(*at).map_or(true, |passed| passed < age);
        let mut saved = read.saved;
        saved.revoked.retain(|(_, at)| is_young(at));

        let mut text = HEADER.to_owned();
        for (id, at) in &saved.revoked {
            text.push_str(&revoked_line(id, *at));
        }
        for (stamp, value) in &saved.stamps {
            text.push_str(&stamp_line(stamp, value));
        }
        text.push_str(&line(&Record::Clock { clock: read.clock }));
        let file = replace(&path, &text).map_err(error)?;
        let (writer, lines) = channel();
        let thread = thread::Builder::new()
            .name("statedb".into())
            .spawn(move || write(file, &lines))
            .map_err(error)?;
        let state_db = Self {
            writer: Some(writer),
            thread: Some(thread),
            clock: read.clock,
        };
        Ok((state_db, saved))
    }

    /// The clock as it was saved last.
    pub fn clock(&self) -> u64 {
        self.clock
    }

    /// Saves the clock.
    pub(super) fn set_clock(&mut self, clock: u64) {
        self.clock = clock;
        self.append(line(&Record::Clock { clock }));
    }

    /// Saves a revoked id.
    pub(super) fn revoked(&mut self, id: &str, at: SystemTime) {
        self.append(revoked_line(id, at));
    }

    /// Saves a revoked stamp.
    pub(super) fn revoked_stamp(&mut self, stamp: &str, value: &Value) {
        self.append(stamp_line(stamp, value));
    }

    fn append(&self, line: String) {
        if let Some(writer) = &self.writer {
            let _ = writer.send(line); // a writer that is gone has said why
        }
    }
}

impl Drop for StateDb {
    fn drop(&mut self) {
        self.writer = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The life of the writing thread: whatever has come together leaves together.
fn write(mut file: File, lines: &Receiver<String>) {
    while let Ok(mut text) = lines.recv() {
        text.extend(lines.try_iter());
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_data());
        if let Err(error) = written {
            log::error!(
                "statedb: cannot be written, and what is revoked from now on is not kept: {error}"
            );
            return;
        }
    }
}

/// Puts a new file in the place of the old one, whole or not at all, and leaves it open for more.
fn replace(path: &Path, text: &str) -> io::Result<File> {
    let new = beside(path, "new");
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    if let Some(directory) = path
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty())
    {
        File::open(directory)?.sync_all()?;
    }
    OpenOptions::new().append(true).open(path)
}

fn beside(path: &Path, word: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(word);
    name.into()
}

#[derive(Debug, Default, PartialEq)]
struct Read {
    saved: Saved,
    clock: u64,
    /// More is wrong than that the last line is incomplete.
    damaged: bool,
}

/// Reads a file. `None`: it is another program's.
fn read(octets: &[u8]) -> Option<Read> {
    let mut read = Read::default();
    let Some(body) = octets.strip_prefix(HEADER.as_bytes()) else {
        return HEADER.as_bytes().starts_with(octets).then_some(read);
    };
    for piece in body.split_inclusive(|octet| *octet == b'\n') {
        match record(piece) {
            Some(Record::Revoked { revoked, at }) => {
                let since = Duration::try_from_secs_f64(at).unwrap_or_default();
                read.saved
                    .revoked
                    .push((revoked, UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)));
            }
            Some(Record::Stamp { stamp, value }) => {
                if !read.saved.stamps.contains(&(stamp.clone(), value.clone())) {
                    read.saved.stamps.push((stamp, value));
                }
            }
            Some(Record::Clock { clock }) => read.clock = clock,
            None => read.damaged |= piece.ends_with(b"\n"),
        }
    }
    Some(read)
}

fn record(piece: &[u8]) -> Option<Record> {
    let text = std::str::from_utf8(piece).ok()?.strip_suffix('\n')?;
    let (sum, json) = text.split_once(' ')?;
    if u32::from_str_radix(sum, 16).ok()? != checksum(json) {
        return None;
    }
    serde_json::from_str(json).ok()
}

fn revoked_line(id: &str, at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    line(&Record::Revoked {
        revoked: id.to_owned(),
        at: since.as_secs_f64(),
    })
}

fn stamp_line(stamp: &str, value: &Value) -> String {
    line(&Record::Stamp {
        stamp: stamp.to_owned(),
        value: value.clone(),
    })
}

fn line(record: &Record) -> String {
    let json = serde_json::to_string(record).unwrap_or_default(); // text and numbers
    format!("{:08x} {json}\n", checksum(&json))
}

/// FNV-1a: against torn and overwritten lines, not against malice.
fn checksum(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |sum, octet| {
        (sum ^ u32::from(octet)).wrapping_mul(0x0100_0193)
    })
}

/// Why a state file cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum StateDbError {
    /// It is not ours.
    Foreign(PathBuf),
    /// It cannot be read or written.
    Io(PathBuf, io::Error),
}

impl fmt::Display for StateDbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign(path) => write!(
                f,
                "statedb: {} is no state file of celeriac's; Celery's can only be read by the interpreter of a Python \
                 app (-A). Name another file, or move this one away",
                path.display()
            ),
            Self::Io(path, error) => write!(f, "statedb: {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for StateDbError {}

#[cfg(test)]
#[path = "statedb_tests.rs"]
mod tests;
