//! What an owner can have a connection do: frames are appended to the output, nothing waits.

use std::time::Instant;

use super::channels::Phase;
use super::error::CommandError;
use super::event::{CloseReason, DeliveryTag};
use super::{Connection, State};
use crate::amqp::frame;
use crate::amqp::method::{
    Method, MethodId, basic, channel, confirm, connection, exchange, queue, tx,
};
use crate::amqp::props::Properties;
use crate::amqp::wire::ShortStr;

impl Connection {
    /// Opens the lowest free channel. It can be used at once: what is sent before
    /// [`ChannelOpen`](super::Event::ChannelOpen) waits in line behind the opening.
    ///
    /// # Errors
    /// When the connection is not open or all channels are in use.
    pub fn open_channel(&mut self) -> Result<u16, CommandError> {
        self.check_open()?;
        let number = self.core.channels.open(self.core.tune.channel_max)?;
        self.core.send(number, channel::Open {});
        Ok(number)
    }

    /// Closes a channel. Once channel.close-ok comes as a [`Reply`](super::Event::Reply) its number
    /// is free; until then what the server sends on it is ignored. Its delivery tags are dead now.
    ///
    /// # Errors
    /// When the connection or the channel is not open.
    pub fn close_channel(&mut self, number: u16) -> Result<(), CommandError> {
        self.check_open()?;
        let channel = self.core.channels.usable(number)?;
        channel.free();
        channel.phase = Phase::Closing;
        self.core.send(number, channel::Close::default());
        Ok(())
    }

    /// Sends a method that has no content. A synchronous one is answered by a
    /// [`Reply`](super::Event::Reply); the answers of a channel come in the order of its calls, except
    /// that consume-ok may come later. With `nowait` there is no answer.
    ///
    /// basic.get is answered by [`GetOk`](super::Event::GetOk) or
    /// [`GetEmpty`](super::Event::GetEmpty). update-secret belongs on channel zero.
    ///
    /// # Errors
    /// When the connection or the channel is not open, the method is not one that a client calls, or
    /// it cannot be encoded within one frame.
    pub fn call<'m>(
        &mut self,
        number: u16,
        method: impl Into<Method<'m>>,
    ) -> Result<(), CommandError> {
        let method = method.into();
        self.check_open()?;
        let Some(answer) = answer_to(&method) else {
            return Err(CommandError::NotCallable(method.id()));
        };
        let core = &mut self.core;
        let frame_max = core.tune.frame_max;
        if let Method::ConnectionUpdateSecret(_) = method {
            frame::put_method(core.out.writer(), 0, &method, frame_max)?;
            core.secrets_pending += 1;
            return Ok(());
        }
        let channel = core.channels.usable(number)?;
        frame::put_method(core.out.writer(), number, &method, frame_max)?;
        if let Answer::Comes(answer) = answer {
            channel.replies.push_back(answer);
        }
        if let Method::ConfirmSelect(_) = method {
            channel.next_publish.get_or_insert(1);
        }
        Ok(())
    }

    /// Publishes a message. Returns its number if confirms were asked for on this channel
    /// (confirm.select): [`Confirm`](super::Event::Confirm) names it again.
    ///
    /// # Errors
    /// When the connection or the channel is not open, a name or property is longer than 255 octets,
    /// or the properties do not fit in one frame, which no protocol can split.
    pub fn publish<'m>(
        &mut self,
        number: u16,
        exchange: impl Into<ShortStr<'m>>,
        routing_key: impl Into<ShortStr<'m>>,
        mandatory: bool,
        properties: &Properties<'_>,
        body: &[u8],
    ) -> Result<Option<u64>, CommandError> {
        self.check_open()?;
        let core = &mut self.core;
        let channel = core.channels.usable(number)?;
        let publish = basic::Publish {
            exchange: exchange.into(),
            routing_key: routing_key.into(),
            mandatory,
            immediate: false,
        };
        let (out, frame_max) = (core.out.writer(), core.tune.frame_max);
        frame::put_message(out, number, &publish.into(), properties, body, frame_max)?;
        let confirmed_as = channel.next_publish;
        channel.next_publish = confirmed_as.map(|number| number + 1);
        Ok(confirmed_as)
    }

    /// Acknowledges a message, or all of its channel up to it. False, and nothing sent, when the tag
    /// is of an earlier connection or an earlier life of the channel: the broker has taken the message
    /// back.
    pub fn ack(&mut self, tag: DeliveryTag, multiple: bool) -> bool {
        self.settle_delivery(
            tag,
            basic::Ack {
                delivery_tag: tag.number,
                multiple,
            },
        )
    }

    /// Refuses a message: back to its queue, or away to its dead letter exchange. False as in
    /// [`ack`](Self::ack).
    pub fn reject(&mut self, tag: DeliveryTag, requeue: bool) -> bool {
        self.settle_delivery(
            tag,
            basic::Reject {
                delivery_tag: tag.number,
                requeue,
            },
        )
    }

    /// Refuses a message, or all of its channel up to it; RabbitMQ's extension of
    /// [`reject`](Self::reject). False as in [`ack`](Self::ack).
    pub fn nack(&mut self, tag: DeliveryTag, multiple: bool, requeue: bool) -> bool {
        self.settle_delivery(
            tag,
            basic::Nack {
                delivery_tag: tag.number,
                multiple,
                requeue,
            },
        )
    }

    /// Ends the connection in order; Celery's code is 0, the specification's 200. A text of more than 255
    /// octets is cut. What follows is
    /// [`Closed`](super::Event::Closed), after [`Options::handshake_timeout`] at the latest.
    ///
    /// [`Options::handshake_timeout`]: super::Options::handshake_timeout
    pub fn close<'m>(&mut self, code: u16, text: impl Into<ShortStr<'m>>, now: Instant) {
        match self.core.state {
            State::Starting | State::Authenticating => self.core.end(CloseReason::Requested),
            State::Opening | State::Open => {
                let reply_text = text.into().cut();
                let close = connection::Close {
                    reply_code: code,
                    reply_text,
                    ..Default::default()
                };
                self.core.send(0, close);
                self.core.state = State::Closing;
                self.core.deadline = Some(now + self.core.options.handshake_timeout);
            }
            State::Closing | State::Closed => {}
        }
    }

    fn settle_delivery<'m>(&mut self, tag: DeliveryTag, method: impl Into<Method<'m>>) -> bool {
        let core = &mut self.core;
        let alive = core.state == State::Open
            && core.epoch == tag.epoch
            && core.channels.is_alive(tag.channel, tag.incarnation);
        if alive {
            core.send(tag.channel, method);
        }
        alive
    }

    fn check_open(&self) -> Result<(), CommandError> {
        if self.core.state == State::Open {
            Ok(())
        } else {
            Err(CommandError::NotOpen)
        }
    }
}

/// How the server answers a method.
enum Answer {
    Comes(MethodId),
    None,
}

/// The answer to a method that a client may call; nothing for any other method.
fn answer_to(method: &Method<'_>) -> Option<Answer> {
    let unless = |nowait: bool, id: MethodId| {
        if nowait {
            Answer::None
        } else {
            Answer::Comes(id)
        }
    };
    Some(match method {
        Method::ConnectionUpdateSecret(_) => Answer::Comes(connection::UpdateSecretOk::ID),
        Method::ChannelFlow(_) => Answer::Comes(channel::FlowOk::ID),
        Method::ExchangeDeclare(m) => unless(m.nowait, exchange::DeclareOk::ID),
        Method::ExchangeDelete(m) => unless(m.nowait, exchange::DeleteOk::ID),
        Method::ExchangeBind(m) => unless(m.nowait, exchange::BindOk::ID),
        Method::ExchangeUnbind(m) => unless(m.nowait, exchange::UnbindOk::ID),
        Method::QueueDeclare(m) => unless(m.nowait, queue::DeclareOk::ID),
        Method::QueueBind(m) => unless(m.nowait, queue::BindOk::ID),
        Method::QueuePurge(m) => unless(m.nowait, queue::PurgeOk::ID),
        Method::QueueDelete(m) => unless(m.nowait, queue::DeleteOk::ID),
        Method::QueueUnbind(_) => Answer::Comes(queue::UnbindOk::ID),
        Method::BasicQos(_) => Answer::Comes(basic::QosOk::ID),
        Method::BasicConsume(m) => unless(m.nowait, basic::ConsumeOk::ID),
        Method::BasicCancel(m) => unless(m.nowait, basic::CancelOk::ID),
        Method::BasicGet(_) => Answer::Comes(basic::GetOk::ID),
        Method::BasicRecover(_) => Answer::Comes(basic::RecoverOk::ID),
        Method::BasicRecoverAsync(_) => Answer::None,
        Method::BasicAck(_) | Method::BasicReject(_) | Method::BasicNack(_) => Answer::None,
        Method::ConfirmSelect(m) => unless(m.nowait, confirm::SelectOk::ID),
        Method::TxSelect(_) => Answer::Comes(tx::SelectOk::ID),
        Method::TxCommit(_) => Answer::Comes(tx::CommitOk::ID),
        Method::TxRollback(_) => Answer::Comes(tx::RollbackOk::ID),
        _ => return None,
    })
}
