//! What a worker tells of itself: options of the command line, and the answers to `inspect conf` and `report`.

use std::time::Duration;

use super::VERSION;
use super::values::Seconds;
use crate::link::BrokerUrl;
use crate::message::channels::Channels;
use crate::message::json::{Object, Raw, python_repr};
use crate::worker::Monitoring;

/// Options about events and other workers.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Send events of tasks, for monitors
    #[arg(short = 'E', long)]
    task_events: bool,

    /// Do not listen to other workers
    #[arg(long)]
    without_gossip: bool,

    /// Do not greet other workers at the start
    #[arg(long)]
    without_mingle: bool,

    /// Do not send events of the worker
    #[arg(long)]
    without_heartbeat: bool,

    /// Seconds between two events that say that the worker is alive; 2 by default
    #[arg(long, value_name = "SECONDS")]
    heartbeat_interval: Option<Seconds>,
}

impl Options {
    /// The settings; `conf` is a JSON object, and the report is made of it.
    pub(super) fn settings(
        &self,
        app: &str,
        transport: &str,
        results: &str,
        conf: &str,
    ) -> Monitoring {
        let every = self.heartbeat_interval.map(|Seconds(every)| every);
        let every = every.filter(|every| !every.is_zero());
        Monitoring {
            remote_control: true,
            task_events: self.task_events,
            gossip: !self.without_gossip,
            mingle: !self.without_mingle,
            heartbeat: (!self.without_heartbeat).then(|| every.unwrap_or(Duration::from_secs(2))),
            http: None,
            heartbeat_file: None,
            channels: Channels::default(),
            report: report(app, transport, results, conf),
            conf: conf.to_owned(),
            conf_with_defaults: conf.to_owned(),
        }
    }
}

/// The settings that are not the default, as far as the command line and the environment name them.
pub(super) fn conf(broker: Option<&BrokerUrl>, results: &str) -> String {
    let mut object = Object::new();
    if let Some(url) = broker {
        // A URL prints two stars for its password; Celery's answer to this command has eight.
        object.push("broker_url", &url.to_string().replace(":**@", ":********@"));
    }
    object.push("result_backend", results);
    object.into_json()
}

/// Celery's bug report, in its form.
pub(super) fn report(app: &str, transport: &str, results: &str, conf: &str) -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let (release, arch) = (release.trim(), std::env::consts::ARCH);
    let mut text = format!(
        "\nsoftware -> celeriac:{VERSION}\n\
         platform -> system:Linux arch:{arch}\n            kernel version:{release} imp:Rust\n\
         loader   -> {app}\n\
         settings -> transport:{transport} results:{results}\n\n"
    );
    let shown = Raw::parse(conf).unwrap_or(Raw::EMPTY_MAPPING);
    for (name, value) in shown.members() {
        let name = name.as_str().unwrap_or_default();
        text.push_str(&format!("{name}: {}\n", python_repr(value)));
    }
    text
}
