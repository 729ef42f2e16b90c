//! The banner a worker greets with on stdout, and the list of its tasks.

use std::fmt::Write;

/// What the banner tells.
#[derive(Clone, Debug)]
pub(super) struct Banner<'a> {
    pub(super) node: &'a str,
    /// For example `0.1.0 (celeriac)`.
    pub(super) version: &'a str,
    pub(super) platform: &'a str,
    /// Local time, `2026-11-20 11:52:24`.
    pub(super) time: &'a str,
    /// The app's name and an address that tells one instance from another.
    pub(super) app: &'a str,
    /// The broker, without its password.
    pub(super) transport: &'a str,
    pub(super) results: &'a str,
    pub(super) concurrency: usize,
    /// The queues consumed from; each is bound to a direct exchange of its own name.
    pub(super) queues: &'a [&'a str],
    /// Whether it sends events of tasks.
    pub(super) task_events: bool,
}

/// Celery's emblem: people recognise it, and scripts cut the first fifteen columns off.
const EMBLEM: [&str; 12] = [
    " --------------",
    "--- ***** -----",
    "-- ******* ----",
    "- *** --- * ---",
    "- ** ----------",
    "- ** ----------",
    "- ** ----------",
    "- ** ----------",
    "- *** --- * ---",
    "-- ******* ----",
    "--- ***** -----",
    " --------------",
];

/// The banner, then the tasks when there is a list of them.
pub(super) fn render(banner: &Banner<'_>, tasks: Option<&[&str]>) -> String {
    let mut text = String::from(" \n");
    let mut emblem = EMBLEM.iter();
    for row in rows(banner) {
        let _ = match emblem.next() {
            Some(stripes) => writeln!(text, "{stripes} {row}"),
            None => writeln!(text, "{:16}{row}", ""),
        };
    }
    if let Some(tasks) = tasks {
        text.push_str("\n[tasks]\n");
        for name in tasks {
            let _ = writeln!(text, "  . {name}");
        }
    }
    text.push('\n');
    text
}

fn rows(banner: &Banner<'_>) -> Vec<String> {
    let events = match banner.task_events {
        true => ".> task events: ON",
        false => ".> task events: OFF (enable -E to monitor tasks in this worker)",
    };
    let mut rows = vec![
        format!("{} v{}", banner.node, banner.version),
        String::new(),
        format!("{} {}", banner.platform, banner.time),
        String::new(),
        "[config]".to_owned(),
        format!(".> app:         {}", banner.app),
        format!(".> transport:   {}", banner.transport),
        format!(".> results:     {}", banner.results),
        format!(".> concurrency: {} (prefork)", banner.concurrency),
        events.to_owned(),
        String::new(),
        "[queues]".to_owned(),
    ];
    let mut queues = banner.queues.to_vec();
    queues.sort_unstable();
    for queue in &queues {
        rows.push(format!(
            ".> {queue:<16} exchange={queue}(direct) key={queue}"
        ));
    }
    if queues.len() == 1 {
        // Celery leaves a row empty after a single queue, and only then.
        rows.push(String::new());
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    const BANNER: Banner<'_> = Banner {
        node: "ref@lab",
        version: "0.1.0 (celeriac)",
        platform: "Linux-6.18.44-x86_64",
        time: "2026-11-20 11:52:24",
        app: "proj:0x7f1b70670050",
        transport: "amqp://guest:**@127.0.0.1:5672/ref",
        results: "rpc://",
        concurrency: 1,
        queues: &[],
        task_events: false,
    };

    #[test]
    fn it_reads_as_celerys_does() {
        let queues = ["celery"];
        let banner = Banner {
            queues: &queues,
            ..BANNER
        };
        let expected = concat!(
            " \n",
            " -------------- ref@lab v0.1.0 (celeriac)\n",
            "--- ***** ----- \n",
            "-- ******* ---- Linux-6.18.44-x86_64 2026-11-20 11:52:24\n",
            "- *** --- * --- \n",
            "- ** ---------- [config]\n",
            "- ** ---------- .> app:         proj:0x7f1b70670050\n",
            "- ** ---------- .> transport:   amqp://guest:**@127.0.0.1:5672/ref\n",
            "- ** ---------- .> results:     rpc://\n",
            "- *** --- * --- .> concurrency: 1 (prefork)\n",
            "-- ******* ---- .> task events: OFF (enable -E to monitor tasks in this worker)\n",
            "--- ***** ----- \n",
            " -------------- [queues]\n",
            "                .> celery           exchange=celery(direct) key=celery\n",
            "                \n",
            "\n",
            "[tasks]\n",
            "  . proj.add\n",
            "  . proj.fail\n",
            "\n",
        );
        assert_eq!(render(&banner, Some(&["proj.add", "proj.fail"])), expected);
    }

    #[test]
    fn queues_are_sorted() {
        let queues = ["mail", "celery"];
        let text = render(
            &Banner {
                queues: &queues,
                ..BANNER
            },
            None,
        );
        let expected = concat!(
            " -------------- [queues]\n",
            "                .> celery           exchange=celery(direct) key=celery\n",
            "                .> mail             exchange=mail(direct) key=mail\n",
            "\n",
        );
        assert!(text.ends_with(expected), "{text}");
    }
}
