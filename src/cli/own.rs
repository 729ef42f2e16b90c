//! Options of the worker that Celery has not. For a Python app they are taken off its command line.

use std::ffi::OsString;

use clap::{Args, Parser, ValueEnum};

use crate::worker::LifeSettings;

/// Their names, each with a value.
pub(super) const NAMES: [&str; 2] = ["--max-worker-lost", "--dead-letter"];

/// See the [module page](self).
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Own {
    /// How often one task may cost its child's life before it is handed back no more: 3 by default; 0 for any number
    #[arg(long, value_name = "N")]
    max_worker_lost: Option<u32>,

    /// Reject these, for the queue's dead-letter exchange to keep, where Celery acknowledges and forgets them
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    dead_letter: Vec<Class>,
}

/// What cannot be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Class {
    /// Tasks whose time has passed.
    Expired,
    /// Messages whose body cannot be decoded.
    Undecodable,
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    own: Own,
}

impl Own {
    /// Reads these options and nothing else.
    pub(super) fn read(words: &[OsString]) -> Result<Self, String> {
        let words = std::iter::once("celeriac".into()).chain(words.iter().cloned());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        Ok(line.own)
    }

    /// Has them hold.
    pub(super) fn apply(&self, life: &mut LifeSettings) {
        if let Some(most) = self.max_worker_lost {
            life.max_worker_lost = Some(most).filter(|most| *most > 0);
        }
        life.dead_letter_expired |= self.dead_letter.contains(&Class::Expired);
        life.dead_letter_undecodable |= self.dead_letter.contains(&Class::Undecodable);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_change_what_they_name_and_no_more() {
        let read = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let mut life = LifeSettings::default();
            Own::read(&words)
                .map(|own| own.apply(&mut life))
                .map(|()| life)
        };
        let life = read("--max-worker-lost 0 --dead-letter expired,undecodable").unwrap();
        assert_eq!(life.max_worker_lost, None);
        assert!(life.dead_letter_expired && life.dead_letter_undecodable);
        let life = read("--max-worker-lost=7").unwrap();
        assert_eq!(
            (life.max_worker_lost, life.dead_letter_expired),
            (Some(7), false)
        );
        assert!(read("--dead-letter everything").is_err());
    }
}
