//! How the parts fit, and the rules that keep them apart.
//!
//! # The processes
//!
//! ```text
//!                      broker
//!              consume ^    ^ publish (results, retries)
//!                      |    |
//!   signals ---> main process: one thread, one Hub
//!                |  ^           |                 ^
//!                |  | SIGCHLD   | jobs (pipe)     | answers (pipe)
//!     "fork one" |  |           v                 |
//!   zygote <-----+  +------- child  child  child  ...
//!      |                       ^
//!      +--- forks, lets go ----+
//! ```
//!
//! **Main** owns everything that has to be right: connections, deliveries, acknowledgements, timers, results. It runs no
//! task, decodes no more of a message than it must, never blocks, and never forks: the **zygote**, a fork of the program
//! from before it had a socket, a Hub or a secret, does that for it. Asked for a child it forks twice, so that the child
//! becomes an orphan, which main, a sub-reaper, adopts. A **child** runs one job at a time; it has two pipes for its whole
//! life, and dies with main. While its jobs are very short a few more lie in its pipe, where main can take them back. What
//! it shares with main is the program's text, and nothing else.
//!
//! # The floors
//!
//! Each module uses only those below it. `tests/layering.rs` holds the table by reading the source.
//!
//! | floor | modules | what they know |
//! |---|---|---|
//! | 0 | [`sys`](crate::sys), [`util`](crate::util) | the kernel; nothing at all |
//! | 1 | [`hub`](crate::hub) | descriptors and time, whosever they are |
//! | 1 | [`amqp`](crate::amqp), [`message`](crate::message) | bytes: no socket, no clock, no file |
//! | 2 | [`boot`](crate::boot) | steps that start and stop; not which |
//! | 2 | [`link`](crate::link), [`pool`](crate::pool) | one connection; one set of children |
//! | 3 | [`worker`](crate::worker) | what all of it is for |
//! | 3 | [`broker`](crate::broker) | the other end of a connection; no worker |
//! | 4 | [`client`](crate::client) | workers through their broker |
//! | 4 | [`app`](crate::app), [`cli`](crate::cli) | the public face |
//!
//! # Rules
//!
//! 1. **Bytes and `now` in, enums out.** The pure floors take what arrived and what time it is, and answer with values.
//!    So they are tested in virtual time, at every split of the input, and fuzzed.
//! 2. **One owner for each piece of state.** It is lent to handlers as `&mut`. There is no shared cell, no lock, no
//!    global; a handler is one line that names a method.
//! 3. **Nothing waits inside a handler.** What takes time is a state and an event. What the kernel only offers blocking,
//!    looking up a name, committing the state file and writing the log, runs on threads of its own.
//! 4. **Buffers are flushed once a turn.** Handlers append; before the Hub sleeps, every connection writes what has
//!    gathered, in one call.
//! 5. **Keys carry generations.** Nothing is found by a descriptor or a process number, which the kernel uses again: a
//!    key of something that is gone finds nothing. So does an acknowledgement for a connection that is gone.
//! 6. **A component owns its descriptors, timers and buffers, and can be dropped alone.** When the broker is lost, the
//!    consumer's parts restart; running tasks, their limits and their children do not notice.
//! 7. **Exactly one outcome for each job**, in whatever order answers, deaths and signals come.
//!
//! # The life of a task message
//!
//! 1. [`amqp::connection`](crate::amqp::connection) finds a delivery in its receive buffer and lends it out as an event.
//! 2. [`message::task`](crate::message::task) reads its headers in one pass: a task, or the reason why none can be made of
//!    it; then the message is acknowledged or rejected as Celery would, and a log line names what is wrong.
//! 3. The worker decides when: at once, or at its ETA, on the timer wheel; or never, when it has expired.
//! 4. The [`pool`](crate::pool) takes it as a job, and writes it to an idle child: a JSON head, and the message's body
//!    as it came. From then on it counts as begun, and the message is acknowledged (unless the task wants that late).
//!    Until then it goes when its channel goes: the broker delivers it again.
//! 5. The child binds the arguments, runs the function, and answers with what main is to store, ready to be sent.
//!    A child that dies instead is an answer too.
//! 6. Main publishes the result on its second connection, with a confirm, and frees the child before that arrives.
//!
//! # Starting and stopping
//!
//! The worker and its consumer are each a [`Blueprint`](crate::boot::Blueprint): a list of steps that name what they
//! require. The order follows from that and is the same on every run. Starting never blocks: a step answers that it is
//! not ready yet, and is asked again when something has happened. A step that fails takes down, in reverse, what had
//! started before it; stopping does the same in good order; losing the broker restarts the consumer's blueprint only.
