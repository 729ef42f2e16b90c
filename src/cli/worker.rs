//! `celeriac worker`: serves the app's tasks.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::num::NonZeroU32;
use std::process::ExitCode;

use clap::ArgAction;
use clap::builder::PossibleValuesParser;

use super::banner::{self, Banner};
use super::daemon::{Daemon, Umask};
use super::log::{self, Format, Level};
use super::log_file::{LogFile, cannot_log};
use super::own::{LogFormat, Own};
use super::pidfile;
use super::values::{Concurrency, Range};
use super::{FAILURE, Setting, VERSION, environment, monitoring};
use crate::app::runner::Runner;
use crate::app::{App, demo};
use crate::link::BrokerUrl;
use crate::message::task::Accept;
use crate::pool::{ChildName, StartMethod, native};
use crate::sys::process;
use crate::util::span;
use crate::worker::{
    self, Autoscale, BrokerSettings, LifeSettings, Limits, Monitoring, Queue, ResultBackend,
    Settings, node_name,
};

/// Celery's `worker_prefetch_multiplier`.
const PREFETCH_MULTIPLIER: u32 = 4;
/// The name of the main process in the log.
const MAIN_PROCESS: &str = "MainProcess";
/// The result backend that keeps nothing, as Celery writes it.
const DISABLED: &str = "disabled://";
/// The result backend that sends a result to who asked for it.
const RPC: &str = "rpc://";

/// Serve tasks
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_override_self = true)]
pub(super) struct Arguments {
    /// Node name: name@host, or the host alone. %h is this machine's host name, %n its first label, %d the rest
    #[arg(
        short = 'n',
        long,
        env = "CELERY_WORKER_HOSTNAME",
        hide_env_values = true,
        value_name = "TEXT"
    )]
    hostname: Option<String>,

    /// How many child processes run tasks; 0 or auto for one a processor
    #[arg(
        short,
        long,
        env = "CELERY_WORKER_CONCURRENCY",
        hide_env_values = true,
        default_value = "0",
        value_name = "N"
    )]
    concurrency: Concurrency,

    /// Have as many children as there are tasks for, between these numbers: MAX,MIN; MIN is 0 by default
    #[arg(
        long,
        env = "CELERY_WORKER_AUTOSCALE",
        hide_env_values = true,
        value_name = "MAX,MIN"
    )]
    autoscale: Option<Range>,

    /// Let remote control replace every child (pool_restart)
    #[arg(long)]
    pool_restarts: bool,

    /// Queues to serve, joined by commas
    #[arg(
        short = 'Q',
        long,
        env = "CELERY_WORKER_QUEUES",
        hide_env_values = true,
        action = ArgAction::Set,
        value_delimiter = ',',
        default_value = "celery",
        value_name = "LIST"
    )]
    queues: Vec<String>,

    /// What to log: DEBUG, INFO, WARNING, ERROR, CRITICAL or FATAL, in any case
    #[arg(
        short,
        long,
        env = "CELERY_WORKER_LOGLEVEL",
        hide_env_values = true,
        default_value = "WARNING",
        value_name = "LEVEL"
    )]
    loglevel: Level,

    /// Log to this file, which may be rotated, instead of stderr
    #[arg(
        short = 'f',
        long,
        env = "CELERY_WORKER_LOGFILE",
        hide_env_values = true,
        value_name = "PATH"
    )]
    logfile: Option<String>,

    /// Messages that main holds for each child process, running or waiting; 4 by default
    #[arg(
        long,
        env = "CELERY_WORKER_PREFETCH_MULTIPLIER",
        hide_env_values = true,
        default_value_t = 0,
        hide_default_value = true,
        value_name = "N"
    )]
    prefetch_multiplier: u16,

    /// How tasks run: in child processes
    #[arg(short = 'P', long, env = "CELERY_WORKER_POOL", hide_env_values = true, default_value = "prefork",
          value_parser = PossibleValuesParser::new(["prefork"]), value_name = "POOL")]
    pool: String,

    #[command(flatten)]
    monitoring: monitoring::Options,

    #[command(flatten)]
    life: Life,

    /// Serve the demonstration tasks as well: demo.add, demo.mul, demo.echo, demo.sleep, demo.noop, demo.fail, demo.retry, demo.crash
    #[arg(long)]
    demo: bool,
}

/// How tasks and the worker live and end.
#[derive(Debug, clap::Args)]
struct Life {
    /// Seconds after which the child of a task is killed, where message and task say nothing
    #[arg(
        long,
        env = "CELERY_WORKER_TIME_LIMIT",
        hide_env_values = true,
        value_name = "SECONDS"
    )]
    time_limit: Option<f64>,

    /// Seconds after which a task is told to end, where message and task say nothing
    #[arg(
        long,
        env = "CELERY_WORKER_SOFT_TIME_LIMIT",
        hide_env_values = true,
        value_name = "SECONDS"
    )]
    soft_time_limit: Option<f64>,

    /// Replace a child after so many tasks
    #[arg(
        long,
        env = "CELERY_WORKER_MAX_TASKS_PER_CHILD",
        hide_env_values = true,
        value_name = "N"
    )]
    max_tasks_per_child: Option<u32>,

    /// Replace a child that uses more KiB of memory, once its task has ended
    #[arg(
        long,
        env = "CELERY_WORKER_MAX_MEMORY_PER_CHILD",
        hide_env_values = true,
        value_name = "KIB"
    )]
    max_memory_per_child: Option<u64>,

    #[command(flatten)]
    own: Own,

    /// Keep revoked ids in this file
    #[arg(
        short = 'S',
        long,
        env = "CELERY_WORKER_STATEDB",
        hide_env_values = true,
        value_name = "PATH"
    )]
    statedb: Option<String>,

    /// Go on in the background, without a terminal
    #[arg(short = 'D', long)]
    detach: bool,

    /// Become this user, by name or number
    #[arg(
        long,
        env = "CELERY_WORKER_UID",
        hide_env_values = true,
        value_name = "USER"
    )]
    uid: Option<String>,

    /// Become this group, by name or number
    #[arg(
        long,
        env = "CELERY_WORKER_GID",
        hide_env_values = true,
        value_name = "GROUP"
    )]
    gid: Option<String>,

    /// Permissions that new files do not get; octal with a leading 0
    #[arg(
        long,
        env = "CELERY_WORKER_UMASK",
        hide_env_values = true,
        value_name = "MASK"
    )]
    umask: Option<Umask>,

    /// Write the process id to this file, and run only once on it
    #[arg(
        long,
        env = "CELERY_WORKER_PIDFILE",
        hide_env_values = true,
        value_name = "PATH"
    )]
    pidfile: Option<String>,
}

impl Life {
    fn daemon(&self) -> Daemon {
        Daemon {
            detach: self.detach,
            uid: self.uid.clone(),
            gid: self.gid.clone(),
            umask: self.umask,
        }
    }

    fn settings(&self, node: &str) -> Result<LifeSettings, String> {
        let limit = |seconds: Option<f64>| {
            let limit = seconds.and_then(span::seconds);
            limit.filter(|limit| !limit.is_zero())
        };
        Ok(LifeSettings {
            limits: Limits {
                soft: limit(self.soft_time_limit),
                hard: limit(self.time_limit),
            },
            max_memory_per_child: self
                .max_memory_per_child
                .map(|kib| kib.saturating_mul(1024)),
            state_db: node_name::state_file(self.statedb.as_deref(), node)?,
            ..environment::revokes()
        })
    }
}

const EXAMPLES: &str = "\
Examples:
  Serve the demonstration tasks, send results to who asked, show what happens:
    celeriac worker --demo --result-backend rpc:// --loglevel info

  Four children for two queues of another broker:
    celeriac -b amqp://user:secret@broker/shop worker -c 4 -Q mail,thumbnails

  Two nodes on one machine, each with a log of its own:
    celeriac worker -n mail@%h -f /var/log/%n.log";

/// Runs the worker until it is told to stop.
pub(super) fn run(arguments: Arguments, mut setting: Setting<'_>) -> ExitCode {
    if arguments.demo {
        setting.app = demo::register(setting.app);
    }
    if setting.app.registry().names().next().is_none() {
        return setting.usage_error(
            "There are no tasks to serve: give --demo, or register tasks on celeriac::app::App.",
        );
    }
    match serve(&arguments, setting) {
        Ok(code) => code,
        Err(reason) => {
            eprintln!("Error: {reason}");
            ExitCode::from(FAILURE)
        }
    }
}

/// Makes the zygote, then everything that a child must not inherit.
fn serve(arguments: &Arguments, setting: Setting<'_>) -> Result<ExitCode, String> {
    let settings = settings(arguments, &setting)?;
    let log = LogFile {
        pattern: arguments.logfile.clone(),
        node: settings.node_name.clone(),
        format: match arguments.life.own.log_format {
            LogFormat::Text => Format::Celery,
            LogFormat::Json => Format::Json,
        },
    };
    let (level, colour) = (arguments.loglevel, setting.colour());
    let log_settings = log.settings(level, colour, 0)?;
    let greeting = (!setting.global.quiet).then(|| greeting(&settings, &setting.app, level));

    super::daemon::leave_terminal(&arguments.life.daemon())?;
    let pidfile = match pidfile::of(arguments.life.pidfile.as_deref(), &settings.node_name)? {
        Ok(pidfile) => pidfile,
        Err(code) => return Ok(code),
    };
    super::daemon::give_up_rights(&arguments.life.daemon())?;
    let metadata = setting.app.registry().metadata();
    let runner = Runner::new(setting.app.into_registry(), move |name: ChildName| {
        // Without its log a child still works, and what it has to say reaches main.
        let started = log
            .settings(level, colour, name.number)
            .and_then(|settings| {
                log::start_in_child(&settings, &name.to_string()).map_err(|error| error.to_string())
            });
        if let Err(reason) = started {
            eprintln!("{name}: no log: {reason}");
        }
    });
    let zygote =
        native::start(runner).map_err(|error| format!("cannot start a zygote: {error}"))?;
    log::start(&log_settings, MAIN_PROCESS).map_err(|error| cannot_log(&log_settings, &error))?;
    if let Some(greeting) = greeting {
        print!("{greeting}");
        let _ = std::io::stdout().flush(); // a closed terminal is no reason not to work
    }
    let left = worker::run(settings, metadata, zygote).map_err(|error| error.to_string())?;
    drop(pidfile);
    Ok(super::leave(left, setting.program))
}

/// What the worker is told: options, environment and app together.
fn settings(arguments: &Arguments, setting: &Setting<'_>) -> Result<Settings, String> {
    let host = process::host_name();
    let node_name = match &arguments.hostname {
        Some(text) => node_name::expand(text, &host).map_err(|error| error.to_string())?,
        None => node_name::default(&host),
    };
    let (read, write) = environment::read_and_write(&setting.broker(), &environment::variable);
    let urls = |text: &str| BrokerUrl::parse_list(text).map_err(|error| format!("broker: {error}"));
    let results = match setting.result_backend().as_deref() {
        None | Some(RPC) => ResultBackend::Rpc,
        Some(DISABLED) => ResultBackend::Disabled,
        Some(_) => {
            return Err(format!(
                "result backend: only {RPC} and {DISABLED} are served yet"
            ));
        }
    };
    let (read_urls, write_urls) = (urls(&read)?, urls(&write)?);
    let backend = match results {
        ResultBackend::Rpc => RPC,
        ResultBackend::Disabled | ResultBackend::App => DISABLED,
    };
    let conf = monitoring::conf(read_urls.first(), backend);
    let monitoring = arguments
        .monitoring
        .settings(setting.app.name(), "amqp", backend, &conf);
    let channels = setting.channels();
    if let Some(reason) = channels.contradiction() {
        return Err(reason.to_owned());
    }
    let monitoring = Monitoring {
        channels,
        ..monitoring
    };
    let mut settings = Settings {
        read_urls,
        write_urls,
        results,
        concurrency: match &arguments.autoscale {
            Some(Range(_, min)) => *min,
            None => arguments.concurrency.0,
        },
        autoscale: arguments
            .autoscale
            .as_ref()
            .map(|Range(max, min)| Autoscale::new(*max, *min, environment::keepalive())),
        pool_restarts: arguments.pool_restarts,
        prefetch_multiplier: match arguments.prefetch_multiplier {
            0 => PREFETCH_MULTIPLIER,
            given => given.into(),
        },
        max_tasks_per_child: arguments.life.max_tasks_per_child.and_then(NonZeroU32::new),
        queues: arguments.queues.iter().map(Queue::named).collect(),
        declared: vec![],
        eta_task_limit: None,
        start_method: StartMethod::Fork,
        accept: Accept::default(),
        host: None,
        listeners: BTreeSet::new(),
        life: arguments.life.settings(&node_name)?,
        node_name,
        monitoring,
        commands: setting.app.commands().to_vec(),
        clerk_commands: BTreeSet::new(),
        remap_sigterm: environment::variable("REMAP_SIGTERM").as_deref() == Some("SIGQUIT"),
        broker: BrokerSettings::default(),
    };
    arguments.life.own.apply(&mut settings);
    Ok(settings)
}

/// The banner, with the list of tasks for those who want to know what happens.
fn greeting(settings: &Settings, app: &App, level: Level) -> String {
    let queues: Vec<&str> = settings
        .queues
        .iter()
        .map(|queue| queue.name.as_str())
        .collect();
    let broker = settings.read_urls.first();
    let banner = Banner {
        node: &settings.node_name,
        version: VERSION,
        platform: &platform(),
        time: &log::now().strftime("%Y-%m-%d %H:%M:%S").to_string(),
        app: &app_name(app),
        transport: &broker.map(ToString::to_string).unwrap_or_default(),
        results: match settings.results {
            ResultBackend::Rpc => RPC,
            ResultBackend::Disabled | ResultBackend::App => DISABLED,
        },
        concurrency: settings.concurrency,
        queues: &queues,
        task_events: settings.monitoring.task_events,
    };
    let tasks: Vec<&str> = app.registry().names().collect();
    banner::render(&banner, (level <= Level::Info).then_some(&tasks))
}

/// The app as the banner shows it: its name, and an address that differs from one process to the next.
fn app_name(app: &App) -> String {
    format!("{}:{:#x}", app.name(), std::ptr::from_ref(app).addr())
}

/// The system as the banner shows it: `Linux-6.18.44-x86_64`.
fn platform() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("Linux-{}-{}", release.trim(), std::env::consts::ARCH)
}
