//! Running the worker: signals, exit codes, logs, the broker, and what to look at when something is wrong.
//!
//! # Starting
//!
//! ```sh
//! celeriac worker -b 'amqp://user:secret@one//;amqp://user:secret@two//' --result-backend rpc:// -c 8 -Q mail -l info
//! ```
//!
//! The broker's URL may also come from `CELERY_BROKER_URL`, the result backend's from `CELERY_RESULT_BACKEND`; the
//! command line wins. Several URLs, joined by `;`, are tried in turn. Passwords appear in no log line and no banner; on
//! the command line anybody on the machine can read them, so prefer the environment.
//!
//! Without `-l` the level is WARNING: a healthy worker then says nothing at all after its banner.
//!
//! # Python apps
//!
//! `celeriac -A proj worker` starts the app's interpreter, the zygote, which runs the app's own Celery up to the point
//! where its worker would begin; errors on the way (no such app, an exception in a module, a wrong option) are told in
//! Celery's words and end with its exit status. `ps` then shows, under main: the zygote; a child for each process of the
//! pool; and the clerk, once there was something for it to see to. The clerk does for main what only Python can: it
//! stores the result of a task whose child was lost, and calls the app's hooks and the receivers of the main process's
//! signals. A hook that hangs is cut off after 30 seconds, with a line in the log; main never waits for it.
//!
//! A zygote that is killed is replaced while running tasks go on; the app is imported once more for that. Main's own
//! lines have the form that the app gives to its log.
//!
//! # Remote control and events
//!
//! `celeriac status`, `inspect COMMAND` and `control COMMAND` talk to workers, Celery's or these, and Celery's own
//! commands, Flower and exporters talk to these workers; `--list` shows the commands, `--json` prints what programs
//! read. `inspect ping -d NODE` is a cheap probe: exit 0 when the node answers, 69 when it does not. Without `-d` a
//! command ends when all nodes have answered that the nodes know of through gossip.
//!
//! `-E`, or `control enable_events` later, has a worker send events of its tasks; `events --dump` prints them. Events and
//! replies may be lost: while the broker is away 4 MiB of them are kept, the newest.
//!
//! Two workers of one name cannot share a broker: the second ends with status 1 and names the mailbox that is taken. After
//! a machine has died that can be so until the broker notices the dead connection.
//!
//! The names and flags of the exchanges and queues of both are Celery's, or the app's: `control_exchange`,
//! `control_queue_*`, `event_exchange`, `event_queue_*` of a Python app, [`App::channels`](crate::app::App::channels) of a
//! Rust program. The bare command, which has no app, takes the names from `CELERIAC_CONTROL_EXCHANGE` and
//! `CELERIAC_EVENT_EXCHANGE`. Events and replies are JSON whatever `event_serializer` says: any receiver reads that.
//!
//! `--autoscale MAX,MIN` has as many children as there are tasks for; `control autoscale MAX MIN` changes the limits.
//! `control pool_restart` replaces every child once its task has ended, where that is allowed (`worker_pool_restarts`,
//! `--pool-restarts`). Rust programs add commands with [`App::command`](crate::app::App::command), and talk to workers
//! with [`client`](crate::client).
//!
//! # Health and metrics
//!
//! With `--http 127.0.0.1:9540` (or `CELERIAC_HTTP`) the main process serves, from its event loop:
//!
//! | path | 200 when | else 503 and why |
//! |---|---|---|
//! | `/livez` | the loop turns, and there is a child that could work or is about to be made | a restart would help |
//! | `/readyz` | also: the broker is there and answers, every queue is consumed, and the worker does not leave | it takes no tasks |
//! | `/metrics` | always: OpenMetrics of tasks by name and queue, of the pool, connections and memory; `celeriac_kept` is all that waits in main or is remembered there, each with a bound | |
//!
//! `celeriac health [--ready]` asks and exits with 0 or 1, in a few milliseconds, without a broker and without an app. A
//! broker that is away makes a worker not ready, but it lives: a restart would not bring the broker back. So give
//! Kubernetes `celeriac health` as its liveness probe and `celeriac health --ready` as its readiness probe.
//! `--heartbeat-file PATH` is touched every second while the worker lives, for probes that can look at files only.
//!
//! The endpoint is off by default and has no password: keep it on a loopback or a private address. At most 64
//! connections, 8 KiB a request and ten seconds each are what anybody can cost it. Of tasks the first 1000 names are told
//! apart, the others are `other`.
//!
//! # Signals and exit codes
//!
//! Send them to the main process only (systemd: `KillMode=mixed`): the zygote ignores them, but a child that runs a
//! task does not.
//!
//! | signal | what happens | exit code |
//! |---|---|---|
//! | TERM | warm: takes nothing new, hands what has not begun back to the broker, lets running tasks end, acknowledges them and delivers their results | 0 |
//! | INT, once | the same | 1 |
//! | INT, twice | cold, as QUIT | 0 |
//! | QUIT | cold: ends running tasks, after `--soft-shutdown-timeout` seconds if there are any; one more signal ends that wait, and one more main itself | 0 |
//! | HUP | warm, then the program is executed anew in the same process; at a terminal it ends the worker, as anywhere | |
//! | USR1 | says on stderr what every task and child is doing; Python's children add their stacks | |
//! | KILL | children die with the main process; the broker delivers again what was not acknowledged | |
//!
//! Those codes are Celery's, the odd ones too. Others: 73 when another worker has
//! the `--pidfile`; 1 when the broker refuses the password or the configuration makes
//! no sense; 2 when the command line does not; 69 when `call` cannot reach the broker.
//!
//! A warm shutdown waits for running tasks as long as they take. Give the supervisor a time-out that fits them, or the
//! worker one that fits the supervisor's: `--grace SECONDS` (`CELERIAC_GRACE`), two seconds less than that, after which it
//! is a cold one and in a hurry. Otherwise the end comes this long after the last task:
//!
//! | what | how long |
//! |---|---|
//! | nothing is left to do | at once |
//! | a child does not end, because it is stopped or its task does not heed TERM (QUIT) | 5 s, then it is killed |
//! | the broker is gone or silent, and results are not confirmed | 5 s, then they are given up |
//! | the hooks of a Python app take their time | 10 s |
//! | grace or the soft shutdown timeout is over | 2 s, whatever does not answer |
//!
//! # Logs
//!
//! One line an event, to standard error or to `-f`, in Celery's format and words, since people grep for them; or, for
//! machines, with `--log-format json` (or `CELERIAC_LOG_FORMAT`) as one JSON object a line:
//!
//! ```text
//! {"timestamp": "2026-11-26T12:00:00.001+00:00", "level": "INFO", "process": "ForkPoolWorker-1", "pid": 4711, "logger":
//!  "celeriac", "message": "Task demo.add[..] succeeded in 0.0001s: 5", "task_id": "..", "name": "demo.add", "root_id":
//!  "..", "retries": 0}
//! ```
//!
//! Whatever a task logs or a Python task prints has those last four, and so have main's lines about it; a traceback is a
//! field `traceback`, never more lines; what the program gives a line beside (`extra` in Python, key-values of the `log`
//! crate in Rust) is there by its name. A Python app that connects to `setup_logging` keeps its own log in its children.
//! What is no log stays as it is: what a native task prints, and the stacks that USR1 asks Python's children for.
//!
//! Nobody waits for who reads the log. Main hands lines to a thread; while that cannot write, up to 1 MiB waits and then
//! the newest are dropped, which `celeriac_log_lines_dropped_total` counts and a line says once somebody reads again.
//! Native children, and Python's with JSON, wait one second and then drop what there is no room for; in text the lines
//! of Python's children are Celery's, and wait.
//!
//! As text:
//!
//! ```text
//! [2026-11-26 12:00:00,000: INFO/MainProcess] Task demo.add[..] received
//! [2026-11-26 12:00:00,001: INFO/ForkPoolWorker-1] Task demo.add[..] succeeded in 0.0001s: 5
//! ```
//!
//! | line | what to do |
//! |---|---|
//! | `consumer: Cannot connect to ..: .. Trying again in 2.00 seconds... (1/100)` | the broker is not there, or not reachable; the worker goes on trying |
//! | `consumer: Connection to broker lost. Trying to re-establish the connection...` | nothing: running tasks go on, and the broker delivers again what had not begun |
//! | `Received unregistered task of type '..'` | a caller uses a name that this program does not have; the message was rejected, and the caller told |
//! | `Received invalid task message: ..` | a message that no task can be made of; it was rejected, so a dead-letter exchange keeps it |
//! | `Can't decode message body: ..` | a message that cannot be read at all; it was acknowledged, as Celery does, and is gone |
//! | `Received and deleted unknown message.  Wrong destination?!?` | something that is no task was sent to a task queue |
//! | `ForkPoolWorker-3 exceeds its memory limit (..)` | a child is replaced when its task has ended, or killed (`by far`, `--max-memory-kill`) |
//! | `a child begins with ..KiB, and its memory limit is ..KiB` | the limit is below what the app takes by itself: raise it |
//! | `Timed out waiting for UP message from ..` | a child does not come up; its stack is above the line that says it was killed |
//! | `pool: degraded: ..` | no child has come up, or lived to do any work, for a while; `inspect stats` says so too |
//! | `Process '..' pid:.. exited with 'signal 9 (SIGKILL)'` | a child was killed; by the kernel, as a rule, for want of memory. Its task failed with `WorkerLostError`, unless it asked to be handed back |
//!
//! # At the broker
//!
//! A worker of `N` children holds at most `4 N` messages (`--prefetch-multiplier`), and one more for each that waits for
//! its ETA. It keeps two connections: one consumes, one publishes, so that a broker that blocks publishers (memory or disk
//! alarm) does not stop acknowledgements.
//!
//! When the broker goes, tasks that run go on. Within a tenth of a second the worker asks the next broker of its list, or
//! the same, and then about twice a second for a minute. What the broker delivers again is known and not run twice, unless
//! another worker gets it. `inspect stats` counts what went wrong, under `connections`. A list is written
//! `amqp://a;amqp://b`; a heartbeat of its own, `amqp://a?heartbeat=10`.
//!
//! | option | what it is for |
//! |---|---|
//! | `--hook-timeout SECONDS` | how long a hook or a receiver that main has called for it in a Python app (`on_failure` after a time limit, `task_received`, a command of remote control) may take: 30. Then the process they run in is killed and replaced, and the log says what was given up |
//! | `--consumer-timeout SECONDS` | what the broker's `consumer_timeout` is, if not half an hour: messages that wait here are handed back before; 0 if it has none |
//! | `--long-tasks QUEUES` | queues whose tasks may run longer than that: they are consumed on a channel of their own, which may be closed without the messages of other queues coming again. They have one message for each child, the others what is left of `4 N`, but no less than `N` |
//! | `--ask-after-silence SECONDS` | how long nothing may come before the worker asks whether there is something; 60, and 0 for never |
//! | `--on-connection-loss cancel` | late tasks that run are taken from their children, since another worker will run them |
//! | `--on-redelivery run` | a message that is delivered again while its task runs here, or after it has ended here, runs again, as in Celery |
//! | `--exit-on-broker-loss SECONDS` | the worker ends with status 1 after so long without a broker |
//! | `--failover ORDER` | `round-robin`, `shuffle`, or `priority` |
//!
//! # What it costs
//!
//! An idle worker makes fewer than five wake-ups a second, and its main process stays under 15 MiB. `bench/README.md` has
//! the commands that show these and the other numbers.
//!
//! # Without RabbitMQ
//!
//! `celeriac broker` is a broker in memory, for development and tests ([`broker`](crate::broker)); `celeriac dev` is one
//! with a worker. They answer as RabbitMQ 3.10 does, to the words of an error, with these exceptions:
//!
//! | RabbitMQ | the embedded broker | why |
//! |---|---|---|
//! | keeps durable queues and persistent messages on disk | forgets everything when it stops | it is for development |
//! | a prefetch count without `global` is for consumers that come later | takes effect at once | kombu expects it of a server that is not called RabbitMQ, and Celery's ETA tasks need it |
//! | drops the socket at an unknown method or a malformed table | says why, 540 or 502 | a reason helps whoever writes a client |
//! | has transactions, direct reply-to, CC and BCC headers, policies, plugins | refuses or ignores them | Celery uses none of them |
//! | replicates quorum queues | accepts them, with their restrictions | applications declare them |
//!
//! `--rules rabbitmq-4.3` refuses what newer servers refuse. `celeriac broker queues` lists the queues of the broker that
//! is running on this machine.
