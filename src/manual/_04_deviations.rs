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
//! # Connection
//!
//! | Celery | celeriac | why |
//! |---|---|---|
//! | a virtual host that does not exist is tried again without a pause | with the pauses of any other failure | a typing mistake must not load the broker |
//! | results are published without confirms | with confirms | a result that the broker did not take is sent again |
//!
//! # Shutdown
//!
//! | Celery | celeriac | why |
//! |---|---|---|
//! | a signal is acted on at the next wake-up, up to seconds later | at once | |
//! | a warm shutdown visits busy children in turn, half a second each | ends when the last task has | |
