//! The broker without its sockets: sessions on one side, virtual hosts on the other, and the rules of
//! the protocol between them. Pure, like all below it.

mod closing;
mod frames;
mod operator;
mod upkeep;

use std::time::{Duration, Instant, SystemTime};

use self::frames::{decode_refusal, frame_refusal};
use super::faults::Faults;
use super::keys::{SessionKey, TypedSlots};
use super::overview::OVERVIEW_QUEUE;
use super::refusal::Refusal;
use super::session::{Call, Content, Outputs, Phase, Session, SessionChannel};
use super::settings::Settings;
use super::vhost::Vhost;
use crate::amqp::ShortStr;
use crate::amqp::frame::{Frame, FrameKind, OVERHEAD, decode};
use crate::amqp::method::{Method, MethodId, basic, channel, connection};
use crate::amqp::reply::ReplyCode;
use crate::hub::Timer;
use crate::util::random::Random;

/// How long a client may take to log in, or to answer a close.
const PATIENCE: Duration = Duration::from_secs(10);

/// RabbitMQ takes frames that are larger than agreed by their own envelope.
const TOLERANCE: u32 = OVERHEAD as u32;

/// What a timer of a session is about.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// Time to say something, or to give up on a client that does not.
    Heartbeat(SessionKey),
    /// The handshake should be over, or the close answered.
    Patience(SessionKey),
    /// A stall on purpose is over.
    Stalled(SessionKey),
}

/// The broker's state.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) settings: Settings,
    pub(super) vhosts: Vec<Vhost>,
    pub(super) sessions: TypedSlots<SessionKey, Session>,
    /// Sessions that have output, or are to be closed.
    pub(super) to_flush: Vec<SessionKey>,
    pub(super) faults: Faults,
    timers: Timer<Due>,
    /// There is no memory for more messages.
    alarm: bool,
}

impl Engine {
    /// A broker without clients. `seed` makes the names it invents.
    pub(super) fn new(settings: Settings, seed: u64, now: Instant, wall: SystemTime) -> Self {
        let mut random = Random::new(seed);
        let vhosts = settings
            .virtual_hosts
            .iter()
            .map(|name| Vhost::new(name, settings.rules, random.next_u64(), now, wall))
            .collect();
        Self {
            settings,
            vhosts,
            sessions: TypedSlots::new(),
            to_flush: Vec::new(),
            faults: Faults::default(),
            timers: Timer::new(now),
            alarm: false,
        }
    }

    /// A client has connected.
    pub(super) fn start_session(&mut self, local: bool, now: Instant) -> SessionKey {
        let session = Session::new(local, self.settings.frame_max, now);
        let key = self.sessions.insert(session);
        self.timers.insert(now + PATIENCE, 0, Due::Patience(key));
        key
    }

    /// A client has gone, or is to be forgotten.
    pub(super) fn end_session(&mut self, key: SessionKey, now: Instant) {
        self.release(key, now);
        self.sessions.remove(key);
    }

    /// Handles what has come from a client, as far as it is complete and may be handled.
    pub(super) fn handle_input(&mut self, key: SessionKey, now: Instant) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let mut input = std::mem::take(&mut session.input);
        session.received_at = now;
        let mut used = 0;
        while let Some(rest) = input.data().get(used..)
            && let Some(count) = self.handle_next(key, rest, now)
        {
            used += count;
        }
        input.consume(used);
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        session.input = input;
        session.tell_all_confirms();
        if session.cut {
            session.cut_output();
        }
        self.flush_later(key);
    }

    /// Handles what comes next, and says how many octets that was; nothing when it must wait.
    fn handle_next(&mut self, key: SessionKey, data: &[u8], now: Instant) -> Option<usize> {
        let session = self.sessions.get_mut(key)?;
        if data.is_empty() {
            return None;
        }
        if !session.is_readable() {
            session.held = true;
            return None;
        }
        if session.deaf {
            return Some(data.len());
        }
        if session.phase == Phase::Greeting {
            return self.greet(key, data);
        }
        match decode(data, session.frame_max.saturating_add(TOLERANCE)) {
            Ok(None) => None,
            Ok(Some((frame, size))) => {
                self.handle_frame(key, frame, now);
                Some(size)
            }
            Err(error) => {
                if session.phase != Phase::Closing {
                    let refusal = frame_refusal(error, data);
                    let cause = MethodId {
                        class: 0,
                        method: 0,
                    };
                    self.close_connection(key, &refusal, cause, now);
                }
                // Where the next frame begins is anybody's guess.
                Some(data.len())
            }
        }
    }

    fn handle_frame(&mut self, key: SessionKey, frame: Frame<'_>, now: Instant) {
        let Some(session) = self.sessions.get(key) else {
            return;
        };
        let phase = session.phase;
        let mut cause = MethodId {
            class: 0,
            method: 0,
        };
        let result = match frame.kind {
            FrameKind::Heartbeat => Ok(()),
            FrameKind::Method => {
                if let Some([c0, c1, m0, m1]) = frame.payload.first_chunk() {
                    cause = MethodId {
                        class: u16::from_be_bytes([*c0, *c1]),
                        method: u16::from_be_bytes([*m0, *m1]),
                    };
                }
                match Method::decode(frame.payload) {
                    Ok(method) => self.handle_method(key, frame.channel, &method, now),
                    Err(_) if phase == Phase::Closing => Ok(()),
                    Err(error) => Err(decode_refusal(error, frame.payload)),
                }
            }
            FrameKind::Header | FrameKind::Body if phase == Phase::Open => {
                self.handle_content(key, frame, &mut cause, now)
            }
            FrameKind::Header | FrameKind::Body => Ok(()),
        };
        match result {
            Ok(()) => {}
            Err(refusal) if refusal.code == ReplyCode::UnexpectedFrame && cause.class != 0 => {
                // It was the content that was expected.
                self.close_connection(key, &refusal, basic::Publish::ID, now);
            }
            Err(refusal) if refusal.closes_connection() || frame.channel == 0 => {
                self.close_connection(key, &refusal, cause, now);
            }
            Err(refusal) => self.close_channel(key, frame.channel, &refusal, cause, now),
        }
    }

    fn handle_method(
        &mut self,
        key: SessionKey,
        number: u16,
        method: &Method<'_>,
        now: Instant,
    ) -> Result<(), Refusal> {
        if let Some(action) = self.faults.take(method)
            && !self.misbehave(key, number, &action, method, now)
        {
            return Ok(());
        }
        let Some(session) = self.sessions.get_mut(key) else {
            return Ok(());
        };
        match (session.phase, number) {
            (Phase::Closing, _) => {
                match method {
                    Method::ConnectionCloseOk(_) => session.phase = Phase::Closed,
                    Method::ConnectionClose(_) => {
                        session.send(0, connection::CloseOk {});
                        session.phase = Phase::Closed;
                    }
                    _ => {}
                }
                Ok(())
            }
            (Phase::Open, 0) => self.handle_connection_method(key, method, now),
            (Phase::Open, _) => self.handle_channel_method(key, number, method, now),
            (_, 0) => self.shake_hands(key, method, now),
            _ => Err(Refusal::new(
                ReplyCode::CommandInvalid,
                format_args!("{} before the connection is open", method.id()),
            )),
        }
    }

    fn handle_connection_method(
        &mut self,
        key: SessionKey,
        method: &Method<'_>,
        now: Instant,
    ) -> Result<(), Refusal> {
        match method {
            Method::ConnectionClose(_) => {
                self.release(key, now);
                if let Some(session) = self.sessions.get_mut(key) {
                    session.tell_all_confirms();
                    session.send(0, connection::CloseOk {});
                    session.phase = Phase::Closed;
                }
                Ok(())
            }
            _ => {
                let why = format_args!("{} does not belong on channel 0", method.id());
                Err(Refusal::new(ReplyCode::CommandInvalid, why))
            }
        }
    }

    fn handle_channel_method(
        &mut self,
        key: SessionKey,
        number: u16,
        method: &Method<'_>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let Some(session) = self.sessions.get_mut(key) else {
            return Ok(());
        };
        let Some(channel) = session.channels.get_mut(&number) else {
            return self.open_channel(key, number, method);
        };
        if channel.closing {
            match method {
                Method::ChannelClose(_) => session.send(number, channel::CloseOk {}),
                Method::ChannelCloseOk(_) => {}
                _ => return Ok(()),
            }
            session.channels.remove(&number);
            return Ok(());
        }
        channel.content.check_idle()?;
        let channel = channel.key;
        let settles = matches!(
            method,
            Method::BasicAck(_)
                | Method::BasicNack(_)
                | Method::BasicPublish(_)
                | Method::BasicReject(_)
        );
        if !settles {
            self.dispatch(now);
        }
        let Some(session) = self.sessions.get_mut(key) else {
            return Ok(());
        };
        let Some(vhost) = self.vhosts.get_mut(session.vhost) else {
            return Ok(());
        };
        if let Method::BasicGet(get) = method
            && get.queue == OVERVIEW_QUEUE
            && session.local
        {
            self.show_queues(key, number);
            return Ok(());
        }
        let mut call = Call {
            session,
            session_key: key,
            vhost,
            channel,
            number,
            now,
        };
        call.handle(method)?;
        if vhost.has_cancelled() {
            self.tell_cancelled();
        }
        Ok(())
    }

    fn open_channel(
        &mut self,
        key: SessionKey,
        number: u16,
        method: &Method<'_>,
    ) -> Result<(), Refusal> {
        let Some(session) = self.sessions.get_mut(key) else {
            return Ok(());
        };
        let Method::ChannelOpen(_) = method else {
            let why = "expected 'channel.open'";
            return Err(Refusal::new(ReplyCode::ChannelError, why));
        };
        if number > session.channel_max && session.channel_max != 0 {
            let max = session.channel_max;
            let why = format_args!("channel {number} is above the negotiated channel_max ({max})");
            return Err(Refusal::new(ReplyCode::NotAllowed, why));
        }
        if let Some(vhost) = self.vhosts.get_mut(session.vhost) {
            let channel = SessionChannel {
                key: vhost.open_channel(key, number),
                closing: false,
                confirms: None,
                content: Content::default(),
            };
            session.channels.insert(number, channel);
            session.send(number, channel::OpenOk {});
        }
        Ok(())
    }

    fn handle_content(
        &mut self,
        key: SessionKey,
        frame: Frame<'_>,
        cause: &mut MethodId,
        now: Instant,
    ) -> Result<(), Refusal> {
        let max_size = self.settings.rules.max_message_size();
        let channels = self
            .sessions
            .get_mut(key)
            .map(|session| &mut session.channels);
        let Some(channel) = channels.and_then(|channels| channels.get_mut(&frame.channel)) else {
            let why = "expected 'channel.open'";
            return Err(Refusal::new(ReplyCode::ChannelError, why));
        };
        if channel.closing {
            return Ok(());
        }
        if channel.content.check_idle().is_err() {
            *cause = basic::Publish::ID;
        }
        let message = match frame.kind {
            FrameKind::Header => channel.content.header(frame.payload, max_size)?,
            _ => channel.content.body(frame.payload)?,
        };
        match message {
            Some(message) => self.publish(key, frame.channel, message, now),
            None => Ok(()),
        }
    }

    /// Has a session written at the end of the turn.
    pub(super) fn flush_later(&mut self, key: SessionKey) {
        if let Some(session) = self.sessions.get_mut(key)
            && !session.flushing
        {
            session.flushing = true;
            self.to_flush.push(key);
        }
    }

    /// Gives out every message that somebody can take.
    pub(super) fn dispatch(&mut self, now: Instant) {
        for vhost in &mut self.vhosts {
            vhost.dispatch(
                now,
                &mut Outputs {
                    sessions: &mut self.sessions,
                    to_flush: &mut self.to_flush,
                },
            );
        }
        self.tell_cancelled();
        self.relieve();
    }

    /// A session's output has been written: perhaps it takes deliveries again.
    pub(super) fn resume(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if session.starved && session.is_drained() {
            session.starved = false;
            let channels: Vec<_> = session
                .channels
                .values()
                .map(|channel| channel.key)
                .collect();
            if let Some(vhost) = self.vhosts.get_mut(session.vhost) {
                vhost.resume(&channels);
            }
        }
    }

    /// Tells clients, if they understand, which of their consumers are none any more.
    fn tell_cancelled(&mut self) {
        for vhost in &mut self.vhosts {
            if !vhost.has_cancelled() {
                continue;
            }
            for cancelled in vhost.take_cancelled() {
                let Some(session) = self.sessions.get_mut(cancelled.session) else {
                    continue;
                };
                if session.capabilities.consumer_cancel_notify && session.is_open() {
                    let cancel = basic::Cancel {
                        consumer_tag: ShortStr::from(&*cancelled.consumer_tag),
                        nowait: true,
                    };
                    session.send(cancelled.channel, cancel);
                    if !session.flushing {
                        session.flushing = true;
                        self.to_flush.push(cancelled.session);
                    }
                }
            }
        }
    }
}
