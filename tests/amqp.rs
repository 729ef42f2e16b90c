//! The AMQP codec and connection, from outside: captured bytes, laws over generated input, scripts in
//! virtual time, and another implementation's reading.

#[path = "amqp/channels.rs"]
mod channels;
#[path = "amqp/content.rs"]
mod content;
#[path = "amqp/golden.rs"]
mod golden;
#[path = "amqp/grammar.rs"]
mod grammar;
#[path = "amqp/handshake.rs"]
mod handshake;
#[path = "amqp/laws.rs"]
mod laws;
#[path = "amqp/oracle.rs"]
mod oracle;
#[path = "amqp/pair.rs"]
mod pair;
#[path = "amqp/timing.rs"]
mod timing;
