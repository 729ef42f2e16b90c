//! What a command of remote control is.

use super::{Answer, Handler};
use crate::message::pidbox::{Arguments, Exception};

/// Whether a command asks or tells: the two sub-commands of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `inspect`
    Inspect,
    /// `control`
    Control,
}

/// What the command line makes of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A text.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `yes`, `no` and their like.
    Flag,
}

/// One command of remote control: a name, and the function that carries it out in the worker's main process.
///
/// A program adds its own with [`App::command`](crate::app::App::command). The function may read and change the
/// worker, and must not wait: while it runs nothing else does.
///
/// ```no_run
/// use celeriac::app::App;
/// use celeriac::hub::Hub;
/// use celeriac::message::pidbox::Arguments;
/// use celeriac::worker::Worker;
/// use celeriac::worker::control::{Answer, Argument, Command, Reply};
///
/// /// `celeriac inspect in_hand`: how many tasks this worker has in hand.
/// fn in_hand(worker: &mut Worker, _: &mut Hub<Worker>, _: &Arguments<'_>) -> Answer {
///     Ok(Reply::ok(&worker.tasks.requests().count().to_string()))
/// }
///
/// App::new("shop").command(Command::inspect("in_hand", in_hand).help("Count the tasks in hand.")).main();
/// ```
#[derive(Clone, Debug)]
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// A name of earlier days, which nodes still answer to.
    pub alias: Option<&'static str>,
    /// Whether it asks or tells.
    pub kind: Kind,
    /// Whether it is listed.
    pub visible: bool,
    /// What it does, in a line.
    pub help: &'static str,
    /// The arguments as help shows them.
    pub signature: Option<&'static str>,
    /// The words that the command line takes, in order: their names and types.
    pub words: &'static [(&'static str, Argument)],
    /// The name of the list that takes all further words.
    pub variadic: Option<&'static str>,
    /// The arguments without which a node does not carry it out.
    pub required: &'static [&'static str],
    /// The other arguments, where a node refuses any others.
    pub only: Option<&'static [&'static str]>,
    pub(super) handler: Handler,
}

impl Command {
    /// A command that asks: `celeriac inspect NAME`.
    pub const fn inspect(name: &'static str, handler: Handler) -> Self {
        Self::new(Kind::Inspect, name, handler)
    }

    /// A command that tells: `celeriac control NAME`.
    pub const fn control(name: &'static str, handler: Handler) -> Self {
        Self::new(Kind::Control, name, handler)
    }

    const fn new(kind: Kind, name: &'static str, handler: Handler) -> Self {
        Self {
            name,
            alias: None,
            kind,
            visible: true,
            help: "",
            signature: None,
            words: &[],
            variadic: None,
            required: &[],
            only: None,
            handler,
        }
    }

    /// See [`help`](Self#structfield.help).
    #[must_use]
    pub const fn help(mut self, help: &'static str) -> Self {
        self.help = help;
        self
    }

    /// See [`alias`](Self#structfield.alias).
    #[must_use]
    pub const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }

    /// It is not listed, and the command line does not know it.
    #[must_use]
    pub const fn hidden(mut self) -> Self {
        self.visible = false;
        self
    }

    /// See [`signature`](Self#structfield.signature).
    #[must_use]
    pub const fn signature(mut self, signature: &'static str) -> Self {
        self.signature = Some(signature);
        self
    }

    /// See [`words`](Self#structfield.words).
    #[must_use]
    pub const fn words(mut self, words: &'static [(&'static str, Argument)]) -> Self {
        self.words = words;
        self
    }

    /// See [`variadic`](Self#structfield.variadic).
    #[must_use]
    pub const fn variadic(mut self, name: &'static str) -> Self {
        self.variadic = Some(name);
        self
    }

    /// See [`required`](Self#structfield.required).
    #[must_use]
    pub const fn required(mut self, names: &'static [&'static str]) -> Self {
        self.required = names;
        self
    }

    /// See [`only`](Self#structfield.only).
    #[must_use]
    pub const fn only(mut self, names: &'static [&'static str]) -> Self {
        self.only = Some(names);
        self
    }

    /// Whether this is its name, or was.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.alias == Some(name)
    }

    /// Refuses arguments as the call of a Python function does.
    ///
    /// # Errors
    /// Python's `TypeError`.
    pub fn check(&self, arguments: &Arguments<'_>) -> Result<(), Exception> {
        let known = |name: &&str| {
            let allowed = self.only.is_none_or(|names| names.contains(name));
            allowed || self.required.contains(name)
        };
        let refused = |text| Err(Exception::new("TypeError", text));
        if let Some(unknown) = arguments.names().find(|name| !known(name)) {
            return refused(format!(
                "{}() got an unexpected keyword argument '{unknown}'",
                self.name
            ));
        }
        let missing = self
            .required
            .iter()
            .filter(|name| arguments.find(name).is_none());
        let missing: Vec<String> = missing.map(|name| format!("'{name}'")).collect();
        let listed = match missing.as_slice() {
            [] => return Ok(()),
            [one] => one.clone(),
            [one, two] => format!("{one} and {two}"),
            [first @ .., last] => format!("{}, and {last}", first.join(", ")),
        };
        let plural = if missing.len() == 1 { "" } else { "s" };
        refused(format!(
            "{}() missing {} required positional argument{plural}: {listed}",
            self.name,
            missing.len()
        ))
    }

    /// Carries it out, if the arguments are fit.
    pub(super) fn carry_out(
        &self,
        cx: &mut crate::worker::Worker,
        hub: &mut crate::hub::Hub<crate::worker::Worker>,
        arguments: &Arguments<'_>,
    ) -> Answer {
        self.check(arguments)?;
        (self.handler)(cx, hub, arguments)
    }
}
