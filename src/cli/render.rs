//! Replies of nodes as people read them, in the form of Celery's command line, which scripts read too.

use crate::message::json::{Kind, Raw, push_string, python_float, python_repr, python_str};
use crate::message::pidbox::Arguments;

/// How replies are shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// With colours.
    pub(super) colour: bool,
    /// Without the arrow before each node.
    pub(super) quiet: bool,
}

impl Style {
    /// A node's line, and under it what it said if `body` is wanted.
    pub(super) fn reply(self, node: &str, answer: Raw<'_>, body: bool) -> String {
        let (status, text) = pretty(answer);
        let arrow = match self.quiet {
            true => String::new(),
            false => format!("{} ", self.paint("37", "->")),
        };
        let node = self.paint("36", &format!("{node}: "));
        let status = self.paint(if status == "OK" { "32" } else { "31" }, status);
        let mut shown = format!("{arrow} {node}{status}\n");
        if body && !text.is_empty() {
            shown.push_str(&indent(&text));
            shown.push('\n');
        }
        shown
    }

    fn paint(self, colour: &str, text: &str) -> String {
        match self.colour {
            true => format!("\u{1b}[{colour}m\u{1b}[1m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }
}

/// The line that counts nodes.
pub(super) fn footer(nodes: usize) -> String {
    let noun = if nodes == 1 { "node" } else { "nodes" };
    format!("\n{nodes} {noun} online.")
}

/// Whether an answer is one of success, and its text.
fn pretty(answer: Raw<'_>) -> (&'static str, String) {
    match answer.kind() {
        Kind::Array => {
            let items = answer
                .elements()
                .map(|item| format!("* {}", python_str(item)));
            let items: Vec<String> = items.collect();
            let text = items.join("\n");
            (
                "OK",
                if items.is_empty() {
                    "- empty -".to_owned()
                } else {
                    text
                },
            )
        }
        Kind::Object => {
            let fields = Arguments::of(answer);
            match (fields.find("ok"), fields.find("error")) {
                (Some(inner), _) => ("OK", indent(&pretty(inner).1)),
                (None, Some(inner)) => ("ERROR", indent(&pretty(inner).1)),
                (None, None) => ("OK", sorted(answer, 0)),
            }
        }
        Kind::String => ("OK", python_str(answer)),
        Kind::Null | Kind::Boolean | Kind::Number => ("OK", python_repr(answer)),
    }
}

fn indent(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(|line| format!("    {line}")).collect();
    lines.join("\n")
}

/// `json.dumps(value, sort_keys=True, indent=4)`.
fn sorted(value: Raw<'_>, level: usize) -> String {
    let margin = " ".repeat(4 * (level + 1));
    let (open, close, lines): (_, _, Vec<String>) = match value.kind() {
        // Deeper than this nobody reads, and each level is scanned anew.
        Kind::Array | Kind::Object if level > 60 => return value.text().to_owned(),
        Kind::Array => {
            let elements = value.elements().map(|element| sorted(element, level + 1));
            ("[", "]", elements.collect())
        }
        Kind::Object => {
            let mut members: Vec<_> = value
                .members()
                .map(|(key, value)| (key.as_str().unwrap_or_default(), value))
                .collect();
            members.sort_by(|one, other| one.0.cmp(&other.0));
            let lines = members
                .into_iter()
                .map(|(key, value)| format!("{}: {}", quoted(&key), sorted(value, level + 1)));
            ("{", "}", lines.collect())
        }
        Kind::String => return quoted(&value.as_str().unwrap_or_default()),
        Kind::Number => return number(value),
        Kind::Null | Kind::Boolean => return value.text().to_owned(),
    };
    if lines.is_empty() {
        return format!("{open}{close}");
    }
    let lines: Vec<String> = lines.iter().map(|line| format!("{margin}{line}")).collect();
    let margin = " ".repeat(4 * level);
    format!("{open}\n{}\n{margin}{close}", lines.join(",\n"))
}

fn number(value: Raw<'_>) -> String {
    let text = value.text();
    if text.contains(['.', 'e', 'E']) {
        return python_float(value.as_f64().unwrap_or(f64::NAN));
    }
    text.to_owned()
}

fn quoted(text: &str) -> String {
    let mut out = Vec::new();
    push_string(&mut out, text);
    String::from_utf8(out).unwrap_or_default() // only ASCII was written
}

/// Two columns of text as click writes them: names, and what they mean, 78 characters wide.
pub(super) fn columns(rows: &[(String, &str)]) -> String {
    const FIRST: usize = 30;
    const SECOND: usize = 44;
    let widest = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let first = widest.min(FIRST);
    let mut text = String::new();
    for (name, help) in rows {
        let lines = wrap(help, SECOND);
        let margin = format!("\n{}", " ".repeat(first + 4));
        let gap = match name.len() <= first {
            true => " ".repeat(first - name.len() + 2),
            false => margin.clone(),
        };
        text.push_str(&format!("  {name}{gap}{}\n", lines.join(&margin)));
    }
    text
}

/// Lines of at most `width` characters; a word may be divided after a hyphen.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        for (place, piece) in word.split_inclusive('-').enumerate() {
            let blank = if place == 0 { " " } else { "" };
            match lines.last_mut() {
                Some(line) if line.is_empty() => line.push_str(piece),
                Some(line) if line.len() + blank.len() + piece.len() <= width => {
                    line.push_str(blank);
                    line.push_str(piece);
                }
                _ => lines.push(piece.to_owned()),
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style {
        colour: false,
        quiet: false,
    };

    fn shown(answer: &str) -> String {
        PLAIN.reply("ref@lab", Raw::parse(answer).unwrap(), true)
    }

    /// The captures `inspect_*` and `control_*`.
    #[test]
    fn replies_read_as_celerys() {
        for (answer, expected) in [
            (r#"{"ok": "pong"}"#, "->  ref@lab: OK\n        pong\n"),
            (
                r#"{"error": "unknown task"}"#,
                "->  ref@lab: ERROR\n        unknown task\n",
            ),
            ("[]", "->  ref@lab: OK\n    - empty -\n"),
            ("null", "->  ref@lab: OK\n    None\n"),
            (
                r#"{"clock": 116}"#,
                "->  ref@lab: OK\n    {\n        \"clock\": 116\n    }\n",
            ),
            ("{}", "->  ref@lab: OK\n    {}\n"),
            (
                r#"[{"id": "a", "eta": null}, "b"]"#,
                "->  ref@lab: OK\n    * {'id': 'a', 'eta': None}\n    * b\n",
            ),
            (
                r#"{"ok": "\na\n"}"#,
                "->  ref@lab: OK\n        \n        a\n        \n",
            ),
            (
                r#"{"b": [1.50, "\u00e9"], "a": []}"#,
                "->  ref@lab: OK\n    {\n        \"a\": [],\n        \"b\": [\n            1.5,\n            \"\\u00e9\"\n        ]\n    }\n",
            ),
        ] {
            assert_eq!(shown(answer), expected, "{answer}");
        }
    }

    #[test]
    fn colours_are_clicks() {
        let style = Style {
            colour: true,
            quiet: false,
        };
        let expected = "\u{1b}[37m\u{1b}[1m->\u{1b}[0m  \u{1b}[36m\u{1b}[1mref@lab: \u{1b}[0m\u{1b}[32m\u{1b}[1mOK\u{1b}[0m\n";
        assert_eq!(
            style.reply("ref@lab", Raw::parse(r#"{"ok": "pong"}"#).unwrap(), false),
            expected
        );
        let quiet = Style {
            colour: false,
            quiet: true,
        };
        assert_eq!(quiet.reply("a@b", Raw::NULL, false), " a@b: OK\n");
        assert_eq!(
            (footer(1), footer(2)),
            ("\n1 node online.".into(), "\n2 nodes online.".into())
        );
    }

    #[test]
    fn columns_are_clicks() {
        let rows = [
            (
                "objgraph [object_type=Request] [num=200 [max_depth=10]]".to_owned(),
                "Create graph of uncollected objects (memory-leak debugging).",
            ),
            ("ping".to_owned(), "Ping worker(s)."),
        ];
        let expected = "  objgraph [object_type=Request] [num=200 [max_depth=10]]\n                                  Create graph of uncollected objects (memory-\n                                  leak debugging).\n  ping                            Ping worker(s).\n";
        assert_eq!(columns(&rows), expected);
    }
}
