//! The methods of an open channel, one function each.

use std::time::Instant;

use super::{Confirms, Phase, Session};
use crate::amqp::ShortStr;
use crate::amqp::frame::put_raw_message;
use crate::amqp::method::{Method, basic, channel, confirm, exchange, queue};
use crate::amqp::reply::ReplyCode;
use crate::amqp::table::Table;
use crate::broker::keys::{ChannelKey, SessionKey};
use crate::broker::refusal::Refusal;
use crate::broker::vhost::{Consume, DeclareExchange, DeclareQueue, QueueState, Target, Vhost};

/// Everything that a method of one channel works on.
#[derive(Debug)]
pub(in crate::broker) struct Call<'a> {
    pub(in crate::broker) session: &'a mut Session,
    pub(in crate::broker) session_key: SessionKey,
    pub(in crate::broker) vhost: &'a mut Vhost,
    pub(in crate::broker) channel: ChannelKey,
    /// Of the channel in the session.
    pub(in crate::broker) number: u16,
    pub(in crate::broker) now: Instant,
}

impl Call<'_> {
    /// Does what a method says.
    pub(in crate::broker) fn handle(&mut self, method: &Method<'_>) -> Result<(), Refusal> {
        match method {
            Method::BasicAck(ack) => self.vhost.ack(self.channel, ack.delivery_tag, ack.multiple),
            Method::BasicCancel(cancel) => self.cancel(*cancel),
            Method::BasicConsume(consume) => self.consume(consume),
            Method::BasicGet(get) => self.fetch(*get),
            Method::BasicNack(nack) => {
                let (tag, multiple, requeue) = (nack.delivery_tag, nack.multiple, nack.requeue);
                self.vhost.reject(self.channel, tag, multiple, requeue)
            }
            Method::BasicPublish(publish) => self.publish(publish),
            Method::BasicQos(qos) => self.qos(*qos),
            Method::BasicRecover(recover) => {
                self.recover(recover.requeue)?;
                self.reply(basic::RecoverOk {});
                Ok(())
            }
            Method::BasicRecoverAsync(recover) => self.recover(recover.requeue),
            Method::BasicReject(reject) => {
                let (tag, requeue) = (reject.delivery_tag, reject.requeue);
                self.vhost.reject(self.channel, tag, false, requeue)
            }
            Method::ChannelFlow(flow) => self.flow(*flow),
            Method::ChannelFlowOk(_) => Ok(()),
            Method::ChannelClose(_) => {
                self.close();
                Ok(())
            }
            Method::ConfirmSelect(select) => {
                self.select_confirms(*select);
                Ok(())
            }
            Method::ExchangeDeclare(declare) => self.declare_exchange(declare),
            Method::ExchangeDelete(delete) => {
                let name = delete.exchange.as_bytes();
                self.vhost.delete_exchange(name, delete.if_unused)?;
                self.answer(delete.nowait, exchange::DeleteOk {})
            }
            Method::ExchangeBind(bind) => {
                check(bind.arguments)?;
                let target = Target::Exchange(bind.destination.as_bytes());
                let (source, key) = (bind.source.as_bytes(), bind.routing_key.as_bytes());
                self.vhost.bind(target, source, key, bind.arguments)?;
                self.answer(bind.nowait, exchange::BindOk {})
            }
            Method::ExchangeUnbind(unbind) => self.unbind_exchange(unbind),
            Method::QueueBind(bind) => self.bind_queue(bind),
            Method::QueueDeclare(declare) => self.declare_queue(declare),
            Method::QueueDelete(delete) => self.delete_queue(delete),
            Method::QueuePurge(purge) => {
                let name = self.queue_name(purge.queue)?;
                let message_count = self.vhost.purge_queue(&name, self.session_key)?;
                self.answer(purge.nowait, queue::PurgeOk { message_count })
            }
            Method::QueueUnbind(unbind) => self.unbind_queue(unbind),
            Method::ChannelOpen(_) => Err(Refusal::new(
                ReplyCode::ChannelError,
                "second 'channel.open' seen",
            )),
            other => {
                let why = format_args!("{} is not implemented", other.id());
                Err(Refusal::not_implemented(why))
            }
        }
    }

    fn reply<'m>(&mut self, method: impl Into<Method<'m>>) {
        self.session.send(self.number, method);
    }

    fn answer<'m>(&mut self, nowait: bool, method: impl Into<Method<'m>>) -> Result<(), Refusal> {
        if !nowait {
            self.reply(method);
        }
        Ok(())
    }

    /// The queue that a name means: the empty name is the queue that was declared last.
    fn queue_name(&self, name: ShortStr<'_>) -> Result<Box<[u8]>, Refusal> {
        if !name.is_empty() {
            return Ok(name.as_bytes().into());
        }
        match self.vhost.last_queue(self.channel) {
            Some(name) => Ok(name.into()),
            None => Err(Refusal::new(
                ReplyCode::NotFound,
                "no previously declared queue",
            )),
        }
    }

    fn declare_exchange(&mut self, declare: &exchange::Declare<'_>) -> Result<(), Refusal> {
        check(declare.arguments)?;
        let name = declare.exchange.as_bytes();
        if declare.passive {
            self.vhost.check_exchange(name)?;
        } else {
            self.vhost.declare_exchange(&DeclareExchange {
                name,
                kind: declare.kind.as_bytes(),
                durable: declare.durable,
                auto_delete: declare.auto_delete,
                internal: declare.internal,
                arguments: declare.arguments,
            })?;
        }
        self.answer(declare.nowait, exchange::DeclareOk {})
    }

    fn unbind_exchange(&mut self, unbind: &exchange::Unbind<'_>) -> Result<(), Refusal> {
        check(unbind.arguments)?;
        let target = Target::Exchange(unbind.destination.as_bytes());
        let (source, key) = (unbind.source.as_bytes(), unbind.routing_key.as_bytes());
        self.vhost.unbind(target, source, key, unbind.arguments)?;
        self.answer(unbind.nowait, exchange::UnbindOk {})
    }

    fn declare_queue(&mut self, declare: &queue::Declare<'_>) -> Result<(), Refusal> {
        check(declare.arguments)?;
        let state = if declare.passive {
            let name = self.queue_name(declare.queue)?;
            self.vhost.check_queue(&name, self.session_key, self.now)?
        } else {
            let declare = DeclareQueue {
                name: declare.queue.as_bytes(),
                durable: declare.durable,
                exclusive: declare.exclusive,
                auto_delete: declare.auto_delete,
                arguments: declare.arguments,
            };
            self.vhost
                .declare_queue(&declare, self.session_key, self.now)?
        };
        self.vhost.set_last_queue(self.channel, &state.name);
        let QueueState {
            name,
            messages,
            consumers,
        } = state;
        let ok = queue::DeclareOk {
            queue: ShortStr::from(&*name),
            message_count: messages,
            consumer_count: consumers,
        };
        self.answer(declare.nowait, ok)
    }

    fn bind_queue(&mut self, bind: &queue::Bind<'_>) -> Result<(), Refusal> {
        check(bind.arguments)?;
        let name = self.queue_name(bind.queue)?;
        let target = Target::Queue(&name, self.session_key);
        let key = match bind.routing_key.as_bytes() {
            b"" if bind.queue.is_empty() => &name,
            key => key,
        };
        let source = bind.exchange.as_bytes();
        self.vhost.bind(target, source, key, bind.arguments)?;
        self.answer(bind.nowait, queue::BindOk {})
    }

    fn unbind_queue(&mut self, unbind: &queue::Unbind<'_>) -> Result<(), Refusal> {
        check(unbind.arguments)?;
        let name = self.queue_name(unbind.queue)?;
        let target = Target::Queue(&name, self.session_key);
        let (source, key) = (unbind.exchange.as_bytes(), unbind.routing_key.as_bytes());
        self.vhost.unbind(target, source, key, unbind.arguments)?;
        self.answer(false, queue::UnbindOk {})
    }

    fn delete_queue(&mut self, delete: &queue::Delete<'_>) -> Result<(), Refusal> {
        let name = self.queue_name(delete.queue)?;
        let (if_unused, if_empty) = (delete.if_unused, delete.if_empty);
        let message_count =
            self.vhost
                .delete_queue(&name, self.session_key, if_unused, if_empty)?;
        self.answer(delete.nowait, queue::DeleteOk { message_count })
    }

    fn qos(&mut self, qos: basic::Qos) -> Result<(), Refusal> {
        if qos.prefetch_size != 0 {
            let why = format_args!("prefetch_size!=0 ({})", qos.prefetch_size);
            return Err(Refusal::not_implemented(why));
        }
        self.vhost.qos(self.channel, qos.prefetch_count, qos.global);
        self.reply(basic::QosOk {});
        Ok(())
    }

    fn consume(&mut self, consume: &basic::Consume<'_>) -> Result<(), Refusal> {
        check(consume.arguments)?;
        let queue = self.queue_name(consume.queue)?;
        let call = Consume {
            queue: &queue,
            tag: consume.consumer_tag.as_bytes(),
            no_ack: consume.no_ack,
            exclusive: consume.exclusive,
            arguments: consume.arguments,
        };
        let tag = self.vhost.consume(self.channel, &call)?;
        let consumer_tag = ShortStr::from(&*tag);
        self.answer(consume.nowait, basic::ConsumeOk { consumer_tag })
    }

    fn cancel(&mut self, cancel: basic::Cancel<'_>) -> Result<(), Refusal> {
        let consumer_tag = cancel.consumer_tag;
        self.vhost
            .cancel(self.channel, consumer_tag.as_bytes(), self.now);
        self.answer(cancel.nowait, basic::CancelOk { consumer_tag })
    }

    fn fetch(&mut self, get: basic::Get<'_>) -> Result<(), Refusal> {
        let name = self.queue_name(get.queue)?;
        let (number, frame_max) = (self.number, self.session.frame_max);
        let output = self.session.output.writer();
        let found = self
            .vhost
            .fetch(self.channel, &name, get.no_ack, self.now, |fetched| {
                let parts = fetched.message;
                let ok = basic::GetOk {
                    delivery_tag: fetched.delivery_tag,
                    redelivered: fetched.redelivered,
                    exchange: parts.exchange.into(),
                    routing_key: parts.routing_key.into(),
                    message_count: fetched.remaining,
                };
                // Cannot fail: what came in fits, and a header that has grown is sent as it is.
                let _ = put_raw_message(
                    output,
                    number,
                    &ok.into(),
                    parts.property_list,
                    parts.body,
                    frame_max,
                );
            })?;
        if !found {
            self.reply(basic::GetEmpty {});
        }
        Ok(())
    }

    fn publish(&mut self, publish: &basic::Publish<'_>) -> Result<(), Refusal> {
        if publish.immediate {
            return Err(Refusal::not_implemented("immediate=true"));
        }
        if let Some(channel) = self.session.channels.get_mut(&self.number) {
            channel.content.start(publish);
        }
        Ok(())
    }

    fn recover(&mut self, requeue: bool) -> Result<(), Refusal> {
        if !requeue {
            return Err(Refusal::not_implemented("requeue=false"));
        }
        self.vhost.requeue_all(self.channel);
        Ok(())
    }

    fn flow(&mut self, flow: channel::Flow) -> Result<(), Refusal> {
        if !flow.active {
            return Err(Refusal::not_implemented("active=false"));
        }
        self.reply(channel::FlowOk { active: true });
        Ok(())
    }

    fn close(&mut self) {
        self.session.tell_confirms(self.number);
        self.vhost.close_channel(self.channel, self.now);
        self.session.channels.remove(&self.number);
        self.reply(channel::CloseOk {});
    }

    fn select_confirms(&mut self, select: confirm::Select) {
        if let Some(channel) = self.session.channels.get_mut(&self.number) {
            channel.confirms.get_or_insert_with(Confirms::default);
        }
        if !select.nowait {
            self.reply(confirm::SelectOk {});
        }
    }
}

impl Session {
    /// Whether methods of channels may come.
    pub(in crate::broker) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }
}

/// Checks a table before anything is done with it.
fn check(table: Table<'_>) -> Result<(), Refusal> {
    table
        .check()
        .map_err(|error| Refusal::new(ReplyCode::SyntaxError, format_args!("arguments: {error}")))
}
