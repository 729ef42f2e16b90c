//! Node names (`celery@host`) and the `%h %n %d` formats written into them.

use std::fmt;
use std::path::PathBuf;

/// Expands a `-n` argument into a node name, as Celery does.
///
/// A value without `@` is the *host* part and gets the name `celery`. In it `%h` is this machine's
/// host name, `%n` the first label of the host name, `%d` what follows the first dot (may be empty),
/// `%i` and `%I` the pool process (`0` and nothing in main), `%%` a per cent sign.
///
/// # Errors
/// Any other `%x` is refused by name.
///
/// ```
/// use celeriac::worker::node_name::expand;
/// assert_eq!(expand("w1@%h", "box.example.org").unwrap(), "w1@box.example.org");
/// assert_eq!(expand("w1@%n", "box.example.org").unwrap(), "w1@box");
/// assert_eq!(expand("elsewhere", "box").unwrap(), "celery@elsewhere");
/// ```
pub fn expand(argument: &str, host: &str) -> Result<String, UnknownFormat> {
    let (name, domain) = host.split_once('.').unwrap_or((host, ""));
    let expanded = replace(argument, |letter| match letter {
        'h' => Some(host),
        'n' => Some(name),
        'd' => Some(domain),
        'i' => Some("0"),
        'I' => Some(""),
        _ => None,
    })?;
    Ok(if expanded.contains('@') {
        expanded
    } else {
        format!("celery@{expanded}")
    })
}

/// Expands a file name (`-f`) for the process of pool index `index` (0 in main): as [`expand`], where
/// `%h` and `%n` are the parts of `node` and `%p` is all of it.
///
/// # Errors
/// Any other `%x` is refused by name.
pub fn expand_file(argument: &str, node: &str, index: usize) -> Result<String, UnknownFormat> {
    let (name, host) = node.split_once('@').unwrap_or((node, ""));
    let domain = host.split_once('.').map_or("", |(_, domain)| domain);
    let number = index.to_string();
    let dashed = if index == 0 {
        String::new()
    } else {
        format!("-{index}")
    };
    replace(argument, |letter| match letter {
        'p' => Some(node),
        'h' => Some(host),
        'n' => Some(name),
        'd' => Some(domain),
        'i' => Some(&number),
        'I' => Some(&dashed),
        _ => None,
    })
}

/// The default node name of this machine: `celery@<host>`.
pub fn default(host: &str) -> String {
    format!("celery@{host}")
}

fn replace<'a>(
    argument: &str,
    value: impl Fn(char) -> Option<&'a str>,
) -> Result<String, UnknownFormat> {
    let mut expanded = String::with_capacity(argument.len());
    let mut letters = argument.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            expanded.push(letter);
            continue;
        }
        match letters.next() {
            Some('%') => expanded.push('%'),
            Some(format) => {
                let unknown = || UnknownFormat {
                    format,
                    argument: argument.to_owned(),
                };
                expanded.push_str(value(format).ok_or_else(unknown)?);
            }
            None => expanded.push('%'),
        }
    }
    Ok(expanded)
}

/// A `%x` that stands for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFormat {
    format: char,
    argument: String,
}

impl fmt::Display for UnknownFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown format `%{}` in {:?}",
            self.format, self.argument
        )
    }
}

impl std::error::Error for UnknownFormat {}

/// The state file of a node (`--statedb`), if one is named.
///
/// # Errors
/// When the name has a format that there is not.
pub fn state_file(pattern: Option<&str>, node: &str) -> Result<Option<PathBuf>, String> {
    let path = pattern
        .map(|pattern| expand_file(pattern, node, 0))
        .transpose();
    path.map(|path| path.map(PathBuf::from))
        .map_err(|error| format!("statedb: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_of_a_node_name() {
        let host = "box.example.org";
        for (argument, expected) in [
            ("w1@%h", "w1@box.example.org"),
            ("%n@%d", "box@example.org"),
            ("w%i@%h%I", "w0@box.example.org"),
            ("100%%@x", "100%@x"),
            ("%h", "celery@box.example.org"),
            ("a@b@c", "a@b@c"),
            ("tail%", "celery@tail%"),
        ] {
            assert_eq!(expand(argument, host).unwrap(), expected, "{argument}");
        }
        assert_eq!(expand("a@%d", "plain").unwrap(), "a@");
        assert_eq!(default(host), "celery@box.example.org");
    }

    #[test]
    fn an_unknown_format_is_named() {
        let error = expand("a%z@h", "h").unwrap_err();
        assert_eq!(error.to_string(), "unknown format `%z` in \"a%z@h\"");
        assert!(
            expand("%p@h", "h").is_err(),
            "the whole name is not known yet"
        );
    }

    #[test]
    fn every_format_of_a_file_name() {
        let node = "w1@box.example.org";
        assert_eq!(
            expand_file("%n-%h.log", node, 0).unwrap(),
            "w1-box.example.org.log"
        );
        assert_eq!(
            expand_file("%p%I.log", node, 2).unwrap(),
            "w1@box.example.org-2.log"
        );
        assert_eq!(expand_file("%d.%i", node, 3).unwrap(), "example.org.3");
    }
}
