//! Where a worker logs to: a file for each of its processes, or stderr.

use std::path::PathBuf;

use super::log::{self, Format, Level};
use crate::worker::node_name;

/// The log file's name with its formats, which each process expands for itself: `%i` is the child's number.
#[derive(Clone)]
pub(super) struct LogFile {
    pub(super) pattern: Option<String>,
    pub(super) node: String,
    pub(super) format: Format,
}

impl LogFile {
    pub(super) fn settings(
        &self,
        level: Level,
        colour: bool,
        index: u32,
    ) -> Result<log::Settings, String> {
        let expand = |pattern: &String| {
            node_name::expand_file(pattern, &self.node, index as usize).map(PathBuf::from)
        };
        let file = self.pattern.as_ref().map(expand).transpose();
        let file = file.map_err(|error| format!("log file: {error}"))?;
        Ok(log::Settings {
            level,
            format: self.format.clone(),
            file,
            colour,
            zone: None,
        })
    }
}

pub(super) fn cannot_log(settings: &log::Settings, error: &std::io::Error) -> String {
    match &settings.file {
        Some(path) => format!("cannot log to {}: {error}", path.display()),
        None => format!("cannot log: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_file_is_named_for_its_process() {
        let log = LogFile {
            pattern: Some("%n%I.log".to_owned()),
            node: "w1@host".to_owned(),
            format: Format::Celery,
        };
        let file = |index| {
            log.settings(Level::Info, false, index)
                .unwrap()
                .file
                .unwrap()
        };
        assert_eq!(file(0), PathBuf::from("w1.log"));
        assert_eq!(file(2), PathBuf::from("w1-2.log"));
        let odd = LogFile {
            pattern: Some("%z".to_owned()),
            ..log
        };
        assert!(
            odd.settings(Level::Info, false, 0)
                .unwrap_err()
                .contains("%z")
        );
    }
}
