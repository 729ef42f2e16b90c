//! The worker in the background, and with fewer rights.

use std::ffi::OsString;
use std::str::FromStr;

use super::environment;
use crate::sys::process;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Daemon {
    pub(super) detach: bool,
    pub(super) uid: Option<String>,
    pub(super) gid: Option<String>,
    pub(super) umask: Option<Umask>,
}

/// `--umask`: octal with a leading 0, else decimal, as Celery reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Umask(u32);

impl FromStr for Umask {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let base = if text.starts_with('0') { 8 } else { 10 };
        let number = u32::from_str_radix(text, base);
        number
            .map(Self)
            .map_err(|_| format!("'{text}' is not a valid umask."))
    }
}

impl Daemon {
    /// What the words of a command line and the environment ask for that is Celery's to read otherwise.
    pub(super) fn read(words: &[OsString]) -> Result<Self, String> {
        let mut read = Self::read_words(words)?;
        let variable = |name: &str| environment::variable(&format!("CELERY_WORKER_{name}"));
        read.detach |= variable("DETACH").is_some_and(|text| is_true(&text));
        read.uid = read.uid.or_else(|| variable("UID"));
        read.gid = read.gid.or_else(|| variable("GID"));
        Ok(read)
    }

    /// The same when the app's interpreter has become another user, as one of the app's settings asks.
    pub(super) fn like(self, user: u32, group: u32) -> Self {
        if self.uid.is_some() || self.gid.is_some() || (user, group) == process::user() {
            return self;
        }
        Self {
            uid: Some(user.to_string()),
            gid: Some(group.to_string()),
            ..self
        }
    }

    fn read_words(words: &[OsString]) -> Result<Self, String> {
        let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
        let value = |name: &str| {
            words
                .iter()
                .enumerate()
                .find_map(|(place, word)| match word.strip_prefix(name)? {
                    "" => words.get(place + 1).map(|value| (*value).to_owned()),
                    rest => rest.strip_prefix('=').map(str::to_owned),
                })
        };
        Ok(Self {
            detach: words
                .iter()
                .any(|word| *word == "-D" || *word == "--detach"),
            uid: value("--uid"),
            gid: value("--gid"),
            umask: value("--umask").map(|text| text.parse()).transpose()?,
        })
    }
}

/// What click takes for yes.
fn is_true(text: &str) -> bool {
    ["1", "true", "t", "yes", "y", "on"].contains(&text.to_ascii_lowercase().as_str())
}

/// Goes on in the background, if that is asked for; before anything else is begun.
pub(super) fn leave_terminal(daemon: &Daemon) -> Result<(), String> {
    if let Some(Umask(mask)) = daemon.umask {
        process::set_umask(mask);
    }
    match daemon.detach {
        true => process::detach().map_err(|error| format!("cannot detach: {error}")),
        false => Ok(()),
    }
}

/// Becomes the user and the group that are asked for.
pub(super) fn give_up_rights(daemon: &Daemon) -> Result<(), String> {
    process::become_user(daemon.uid.as_deref(), daemon.gid.as_deref())
        .map_err(|error| format!("cannot change the user: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_celerys() {
        let line = "worker -l INFO --uid=nobody --detach --gid 33 --umask 022";
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let daemon = Daemon {
            detach: true,
            uid: Some("nobody".into()),
            gid: Some("33".into()),
            umask: Some(Umask(0o22)),
        };
        assert_eq!(Daemon::read_words(&words), Ok(daemon));
        assert_eq!(Daemon::read_words(&[]), Ok(Daemon::default()));
        let (user, group) = process::user();
        assert_eq!(Daemon::default().like(user, group), Daemon::default());
        let other = Daemon::default().like(user + 1, group);
        assert_eq!(other.uid, Some((user + 1).to_string()));
        assert_eq!("18".parse(), Ok(Umask(18)));
        assert!("9x".parse::<Umask>().is_err());
    }
}
