//! Where celeriac does on purpose otherwise than Celery 5.7.0, and why.
//!
//! What is not listed here and differs is a defect. "Celery" is its worker with the `prefork` pool.
//!
//! # Messages
//!
//! | Celery | celeriac | why |
//! |---|---|---|
//! | a message without `id`, with a task name or an id that is no text, with a `timelimit` that is no pair of numbers, or whose body is not three elements, ends the worker; the broker delivers it again, and the next worker ends too | rejected without requeue, with an ERROR line that names what is wrong | one message must not stop a service |
//! | an id that is a number or null is run | rejected | no client could ever ask for its result |
//! | positional arguments that are no list, or keyword arguments that are no object, are found out in the child, where the message is acknowledged and nobody told | rejected by main | a dead-letter exchange keeps it |
//! | NaN, infinities and lone surrogates in JSON are read | a native task fails with a message that names the token | Rust's numbers and text cannot hold them; no other value is ever put in their place |
//! | a protocol 1 message without `id` is run, under the id None | rejected | as above |
//! | protocol 1's `utc: false` makes its times local | all naive times are UTC | publishers of this century write UTC |
//! | a retry shows the arguments anew | keeps the publisher's text | a publisher that hides secrets from logs hid them for the retry too |
//! | callbacks, chains and chords of any task | after a native task single signatures go on: callbacks, the next step of a chain, errbacks (called with the task's id). Groups and chords are named in a WARNING and not published | a chord needs a result backend that counts, which `rpc://` is not |
//! | a signature without a queue goes to `task_default_queue`, or where `task_routes` say | from a native task it goes where that task came from | a Rust program has no such settings |
//! | compressed bodies, pickle, YAML, msgpack | a Python app's children read what the app accepts; a native task reads plain JSON, and fails with a message that names anything else | |
//!
//! # Results
//!
//! | Celery | celeriac | why |
//! |---|---|---|
//! | without a result backend, results are thrown away | a Rust program's results go to `rpc://`; `--result-backend disabled://` throws them away | a first run should show its result; a call without `reply_to` costs nothing either way |
//! | results are published without confirms | with confirms; a late acknowledgement follows the confirm | a result that the broker did not take is sent again |
//! | a retry that cannot be routed vanishes | it is published as mandatory; the original is rejected and the log names the queue | nothing is lost without a word |
//!
//! # Processes
//!
//! | Celery | celeriac | why |
//! |---|---|---|
//! | children inherit what main had open, and main's signal dispositions | a child has its two pipes and the standard three, an empty signal mask, a session of its own | a grandchild cannot hold a connection or another child's pipe open |
//! | a dead child is noticed, and replaced, within about five seconds | at once | main is told by the kernel, and need not wait for the pipe to end |
//! | main forks | the zygote forks | forking costs the same however large main is, and a child inherits no secret |
//! | children ignore SIGPIPE, and so does what they execute | so do native children, as any Rust program; what they execute gets the default back | a task that writes to a closed pipe fails with an error, and a program it runs ends as it would in a shell |
//! | children connect to the broker to send results | main sends them | one connection for each worker, not for each child; a failover list serves results too |
//!
//! # Python apps
//!
//! | Celery | celeriac | why |
//! |---|---|---|
//! | main imports the app and runs its hooks | a zygote imports it, a clerk runs the hooks of main, children run tasks | main is not Python, and no hook can stop it |
//! | user bootsteps, `Request` and `Strategy` classes, autoscaler and consumer classes are run | they are not; one WARNING at start names them, and so does `celeriac -A proj check` | they are parts of a program that this is not |
//! | `multiprocessing` hooks and `os.register_at_fork` see main fork | they see the zygote fork once for each child: before, after in the zygote, after in the child | the process in between runs no Python hooks |
//! | `sys.exit` in a task: before 5.7 the message is delivered again and again | the task has failed with `WorkerLostError`, in any version | |
//! | a body that cannot be decoded is dropped in main | by the child, with the same line in the log | main does not decode what it need not |
//! | a child that recycles exits with status 155 | with 0, told to by main | |
//! | receivers of `task_received`, `task_rejected` and `heartbeat_sent` hold the worker up | they are called by the clerk, one after the other; of what waits beyond 4 MiB the newest is dropped, and a WARNING says how many | main does not wait for an app's code |
//! | the result of a task whose child is gone is stored by main, or lost with it | by the clerk; a second clerk is told when the first dies over it, and while more than a thousand wait no task is begun | results are not dropped |
//! | a receiver that hangs stops the worker | after 30 s (`--hook-timeout`) the clerk is killed; a result is told to the next one once more, anything else is given up, and the log says so | |
//! | `--pool-start-method spawn`: the app is pickled and sent to the new interpreter | the new interpreter imports it, by the same `-A`; the clerk is such an interpreter, too, in which `celeryd_init` and `worker_init` were not sent | it is what the rest of the worker has imported |
//! | main logs through the app's `logging` | main's own lines have the format, the date, the level and the file of the root logger's first handler; what other handlers or a formatter's code would add is the children's and the clerk's | main is not Python |
//! | `task_failure` of a task that is rejected for good is sent in main (5.7) | in the child | it has the task at hand |
//! | a task that raises `KeyboardInterrupt` is lost with that word | with `exitcode 130` | the process has ended like that |
//! | a revoked id is REVOKED in the backend at once, before 5.7 whatever its state | as 5.7, in any version: only while nobody has begun it | |
//! | a signal handler for `worker_shutting_down` runs before the shutdown begins | while it is under way | |
//!
//! # Limits, death, revocation
//!
//! | Celery | celeriac | why |
//! |---|---|---|
//! | a task with `acks_late` and `reject_on_worker_lost` that kills its child is handed back for ever | the third time it is rejected, its result is FAILURE (`--max-worker-lost`, 0: for ever) | one poisoned task must not cost every child |
//! | with `acks_late` a task is rejected or cancelled, and delivered again, while its child may still run | what becomes of a task that is ended is decided when its child is gone; if it has answered by then, the answer counts | no task runs twice at the same time |
//! | a hard time limit is reported twice, and blocks main for 0.1 s | once; the child and all it has started get TERM, and 0.3 s later KILL | |
//! | the soft limit may hit the code around a task, or the loop that waits for the next one, which ends the child | it is raised in the body of the task and nowhere else | |
//! | a soft limit is a signal | a native task looks at its own clock: `Context::soft_limit_exceeded`, `check_soft_limit` | nothing can be raised in Rust, and nothing can hit the wrong task |
//! | a soft limit that is not below the hard one is set up | it is not: it would never be reached | |
//! | the command `time_limit` has no effect until the consumer restarts | it holds for tasks that come in from then on | |
//! | a revoked task that waits is discarded when its turn comes | at once: acknowledged, REVOKED | its caller need not wait for hours |
//! | `terminate` signals the process that had the task, whatever it runs by then | the task, or nothing | |
//! | an expired task that waits is discarded when its turn comes | while it waits for a child: at the moment it expires | |
//! | an expired id is revoked from then on | it is not | a retry uses the same id |
//! | revoked stamps are kept for ever | as many as revoked ids; the oldest go | |
//! | `--statedb` is a shelve, written at a clean exit | a text file that is appended to at once and survives a kill, with revoked stamps as well; a Python app's shelve is taken over once and put aside, a Rust program refuses one with a word | |
//! | a new rate limit drops the tasks that wait for the old one | they keep their places | |
//! | `--max-memory-per-child` looks at the largest size a child ever had, after each task | at what it uses, every second; the successor comes up while the last task runs; a limit below what children begin with counts from there on, and `--max-memory-kill` ends a child in the middle of its task | what was given back is no reason to go, and no child is replaced for ever |
//! | children that were made together reach `--max-tasks-per-child` together | of a number of ten or more up to a tenth is taken off, for each child another part, and one goes at a time | there is no gap in what the worker can do |
//! | a child that has not come up after 4 s (`worker_proc_alive_timeout`) is killed | after 60 s, unless the app says otherwise; it writes its stack first, and after five in a row the log says that the pool is degraded | an app that is slow to start is no faster the next time |
//! | `-O fair` gives a child one job, and waits for its answer before it gives another | a child whose last job took less than 5 ms has up to four more in its pipe; they are taken back once another child is idle or its current job turns out to be longer | a child that waits for main to wake up, and then wakes up itself, does nothing meanwhile: half the rate of short tasks |
//! | an early acknowledged task whose child dies before it began is lost in silence | FAILURE, with a text that says so | |
//! | what is expired or cannot be decoded is acknowledged | the same; with `--dead-letter expired,undecodable` it is rejected, and what main cannot check itself is acknowledged early once its child has read it | a dead-letter exchange keeps it |
//! | a task that is not registered is rejected and has failed | the same; with `--hand-back SECONDS` it goes back to its queue after that time and nobody is told, with `--discard` it is forgotten | while a new program is rolled out, workers of the old one lose nothing |
//!
//! # Connection
//!
//! | Celery | celeriac | why |
//! |---|---|---|
//! | a virtual host that does not exist is tried again without a pause | at the start it ends the worker, as wrong credentials do; later it is tried with pauses | a typing mistake must be seen, and not load the broker |
//! | one connection consumes, another sends events, a pool of them publishes | one consumes, one publishes, both with heartbeats | a broker that stops reading publications does not stop acknowledgements |
//! | after a loss the pauses are 2, 4, 6 .. 32 s | at once, then about two tries a second for a minute, then Celery's pauses; the line in the log says what is waited | a task that is published after a restart of the broker starts within two seconds |
//! | after a loss the same URL is tried first | the next one | the lost node may be dead without having said so |
//! | `TCP_USER_TIMEOUT` is 1 s | 60 s | a stall of a second is no reason to start over |
//! | consumers are named `None1`, `None2` | `1`, `2` | |
//! | an acknowledgement is one frame for one message | a run of them is one frame with `multiple`, and what follows another within three milliseconds is gathered that long, or up to a quarter of the window | the broker is what limits a busy worker |
//! | `basic.qos` for the channel | for the consumer as long as there is one queue; for the channel with the second, and once the window changes | it comes to the same, and spares RabbitMQ a question to a process of its own for each delivery |
//! | a channel that the broker closes ends the worker, unless `broker_channel_error_retry` is set | it is opened again after a second, or after 15 s where somebody has to change something first (403, 405); the log names the tasks concerned. Only a mailbox that belongs to another worker of the same name ends a worker that starts | a queue deleted by hand, or an acknowledgement that took half an hour, is no reason to end |
//! | a queue or an exchange that is there with other arguments ends the worker | the queue is consumed as it is, with an ERROR line, and declared again once it is gone; one that `add_consumer` adds is given up | one queue must not keep the worker from the others |
//! | a task that was running, or had just ended, when the connection was lost runs again when its message comes again | it is known by its queue, id, name and number of tries, and answered as it was; Celery's `worker_deduplicate_successful_tasks` is not looked at; `--on-redelivery run` has it run again | no task runs twice at the same time, and none twice for a lost acknowledgement |
//! | a message that waits in the worker longer than the broker's `consumer_timeout` closes the channel | it is handed back after four fifths of that time (`--consumer-timeout`, 1800 s; or the queue's `x-consumer-timeout`), unless a child has it; the start warns of late tasks that may run longer | |
//! | a subscription that the broker has lost is never noticed | after a minute without a message the worker asks for the length of its queues, and subscribes again where messages do not come (`--ask-after-silence`); the same patience has an answer that does not come | "connected, and not consuming" |
//! | the worker waits for a broker for ever | the same; `--exit-on-broker-loss SECONDS` ends it | supervisors restart elsewhere |
//! | with a limit for each consumer (quorum queues, RabbitMQ 4) a changed window and held ETA tasks have no effect | consumers are replaced by fresh ones | a worker full of ETA tasks still takes others |
//! | `broker_failover_strategy`: `round-robin`, `shuffle`, or a function | `round-robin`, `shuffle`, or `priority` (`--failover`), which goes back to the first after a loss; a function counts as `round-robin`, and the start says so | |
//! | a consumer that the broker cancels restarts the connection | its queue is declared and consumed again | |
//!
//! # Shutdown
//!
//! | Celery | celeriac | why |
//! |---|---|---|
//! | a signal is acted on at the next wake-up, up to seconds later | at once | |
//! | messages in hand are left to the broker, which finds them when the connection ends | handed back one by one, right after the consumers are cancelled | another worker has them while the last tasks here still run |
//! | a soft shutdown waits its whole time, with main standing still; `worker_enable_soft_shutdown_on_idle` has it wait for nothing | it goes on as a warm one and ends with the last task; the setting is not looked at, since nothing is held that could be lost | |
//! | a warm shutdown lasts as long as its tasks | the same; with `--grace SECONDS` (or `CELERIAC_GRACE`) it is a cold one after that time, and the worker is gone two seconds later whoever does not answer | who stops workers kills those that stay |
//! | nothing is said while a shutdown waits | every ten seconds a line names the tasks it waits for | |
//! | HUP executes the interpreter anew with whatever lies at `sys.argv` | the program and the directory of the first start; without `--detach`, which has happened | |
//! | a warm shutdown visits busy children in turn, half a second each | ends when the last task has | |
//!
//! # Remote control and events
//!
//! | Celery | celeriac | why |
//! |---|---|---|
//! | `disable_events` on a worker with `-E` answers "already disabled", and events go on | they stop | |
//! | `pool_shrink` by too many ends every idle child and then fails, which may leave none | nothing is ended, the answer is the same | a pool without children takes tasks and runs none |
//! | an election ends workers | it is decided once every node that is there has stood, or after five seconds | |
//! | a request whose matcher is unknown, or that is no mapping, closes and opens the mailbox | it is logged and ignored | the next request must not be lost |
//! | a queue that cannot be had (`add_consumer`) costs the connection, again and again | one closed channel; the queue is given up with an ERROR line | |
//! | mingle waits a second at each start | nobody waits; at most 64 KiB of revoked ids travel, of more than 16 nodes only 16 answer a greeting, and each answers 16 in ten seconds | the start of many workers costs no more than their number |
//! | a command finds a worker deaf once it shuts down | it answers until its connection is closed | |
//! | after a restart the logical clock begins anew, unless `--statedb` keeps it | at the microseconds of the wall clock | monitors take a clock that was set back for the past |
//! | replies have the headers `ticket` and `clock` | the same; and `nodes`, how many there are, to who asks by a header of that name | `celeriac inspect` ends when all have answered, instead of a second later |
//! | a task that waits for its time and is revoked is `scheduled` until then | it goes at once | |
//! | commands of the app's own run in main | in the clerk, with a `state` whose `app`, `consumer`, `hostname` and `tset` answer. The consumer knows main's `stats`, queues, prefetch count, active and reserved requests as of the moment the command came; what is to change (`add_task_queue`, `cancel_task_queue`, `qos`, `pool.grow`, `reset_connection`) changes when it has ended | main has no Python |
//! | `pool_restart` with `reload` reloads modules in main | the app is imported anew by another zygote, whose children take over; should that fail, those there are stay | |
//! | the autoscaler takes min above max as it comes | there are never more children than max | |
//! | `status --json` prints the count of nodes under the JSON | JSON alone | |
//! | a heartbeat every two seconds, whoever listens | the same; when the broker gives them back because no queue takes them, neither a monitor's nor another worker's gossip, at last only one in five, until a monitor says that it begins (all of Celery's do) or one is taken; with `-E` always | events are for those who listen |
//! | up to 24 events of tasks travel together | up to 200, gathered for up to 10 ms after the last have left | receivers read lists of any length |
//! | `stats` tells the size of the pool at the start as `max-concurrency` | its size now | |
//! | `active` and its like show the arguments of any task | of a message of more than 64 KiB the publisher's text of them | main keeps no large bodies |
