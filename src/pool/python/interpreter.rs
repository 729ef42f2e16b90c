//! Which Python is the app's.

use std::env;
use std::path::{Path, PathBuf};

use super::StartError;

/// The interpreter of the app: `given` (`--python`), else the one beside this program (both are installed in the
/// app's virtual environment), else that of the active virtual environment, else the first in `PATH`.
///
/// # Errors
/// [`StartError::NoInterpreter`].
pub fn find(given: Option<PathBuf>) -> Result<PathBuf, StartError> {
    let program = env::current_exe().ok();
    let places = Places {
        given,
        beside: program.and_then(|program| Some(program.parent()?.to_owned())),
        environment: env::var_os("VIRTUAL_ENV").map(PathBuf::from),
        path: env::var_os("PATH")
            .map(|path| env::split_paths(&path).collect())
            .unwrap_or_default(),
    };
    places.find(Path::is_file).ok_or(StartError::NoInterpreter)
}

/// Where to look.
struct Places {
    given: Option<PathBuf>,
    beside: Option<PathBuf>,
    environment: Option<PathBuf>,
    path: Vec<PathBuf>,
}

impl Places {
    fn find(self, exists: impl Fn(&Path) -> bool) -> Option<PathBuf> {
        if self.given.is_some() {
            return self.given; // also when it does not exist: no other one was meant
        }
        let own = [self.beside, self.environment.map(|root| root.join("bin"))]
            .into_iter()
            .flatten()
            .map(|folder| folder.join("python"));
        let (python3, python) = (
            self.path.iter().map(|folder| folder.join("python3")),
            self.path.iter().map(|folder| folder.join("python")),
        );
        own.chain(python3)
            .chain(python)
            .find(|candidate| exists(candidate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        Places {
            given: None,
            beside: Some("/opt/app/bin".into()),
            environment: Some("/venv".into()),
            path: vec!["/usr/local/bin".into(), "/usr/bin".into()],
        }
    }

    #[test]
    fn the_nearest_interpreter_is_taken() {
        let order = [
            "/opt/app/bin/python",
            "/venv/bin/python",
            "/usr/local/bin/python3",
            "/usr/bin/python3",
            "/usr/local/bin/python",
            "/usr/bin/python",
        ];
        for (index, expected) in order.iter().enumerate() {
            let there = &order[index..];
            let found = places().find(|path| there.contains(&path.to_str().unwrap()));
            assert_eq!(found.as_deref(), Some(Path::new(expected)));
        }
        assert_eq!(places().find(|_| false), None);
    }

    #[test]
    fn what_is_named_is_taken_even_if_it_is_not_there() {
        let mut places = places();
        places.given = Some("/no/python".into());
        assert_eq!(places.find(|_| false), Some("/no/python".into()));
    }
}
