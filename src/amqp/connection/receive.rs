//! What a connection does with the frames it receives.

use super::channels::Phase;
use super::content::{Ahead, Assembly, Origin, look_ahead, read_header};
use super::error::ConnectionError;
use super::event::{CloseReason, Event};
use super::{Core, State};
use crate::amqp::frame::{self, Frame, FrameKind};
use crate::amqp::method::{Method, MethodId, basic, channel, connection};
use crate::amqp::wire::DecodeError;

/// What came of looking at the next frame. `size` is how many octets are dealt with.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // it lives for one turn of the loop, on the stack
pub(super) enum Step<'d> {
    /// More octets are needed.
    Wait,
    /// There is nothing to tell.
    Quiet { size: usize },
    /// There is something to tell.
    Tell { size: usize, event: Event<'d> },
    /// The handshake is done.
    Opened { size: usize },
    /// A message that came in pieces is complete.
    Assembled {
        size: usize,
        origin: Origin,
        message: Box<Assembly>,
    },
}

impl Core {
    /// Looks at the frame at the start of `data`.
    #[inline]
    pub(super) fn step<'d>(&mut self, data: &'d [u8]) -> Result<Step<'d>, ConnectionError> {
        if self.state == State::Starting {
            self.check_version(data)?;
            if data.starts_with(b"A") {
                return Ok(Step::Wait);
            }
        }
        let Some((frame, size)) = frame::decode(data, self.tune.frame_max)? else {
            return Ok(Step::Wait);
        };
        if frame.kind == FrameKind::Heartbeat {
            return Ok(Step::Quiet { size });
        }
        if frame.channel == 0 {
            return self.on_connection_frame(&frame, size);
        }
        match self.state {
            State::Open => {}
            State::Closing => return Ok(Step::Quiet { size }),
            _ => return Err(unexpected(&frame)),
        }
        match self
            .channels
            .by_number(frame.channel)
            .map(|channel| channel.phase)
        {
            None | Some(Phase::Free) => Ok(Step::Quiet { size }),
            Some(Phase::Opening) => self.on_frame_while_opening(&frame, size),
            Some(Phase::Closing) => self.on_frame_while_closing(&frame, size),
            Some(Phase::Open) => match frame.kind {
                FrameKind::Method => {
                    let rest = data.get(size..).unwrap_or_default();
                    self.on_channel_method(&frame, size, rest)
                }
                _ => self.on_content(&frame, size),
            },
        }
    }

    fn on_connection_frame<'d>(
        &mut self,
        frame: &Frame<'d>,
        size: usize,
    ) -> Result<Step<'d>, ConnectionError> {
        if frame.kind != FrameKind::Method {
            return Err(unexpected(frame));
        }
        let method = decode(frame)?;
        let event = match (self.state, method) {
            (_, Method::ConnectionClose(close)) => {
                self.on_connection_close(&close);
                return Ok(Step::Quiet { size });
            }
            (State::Closing, Method::ConnectionCloseOk(_)) => {
                self.end(CloseReason::Requested);
                return Ok(Step::Quiet { size });
            }
            (State::Closing, _) => return Ok(Step::Quiet { size }),
            (State::Starting, Method::ConnectionStart(start)) => {
                self.on_start(&start)?;
                return Ok(Step::Quiet { size });
            }
            (State::Authenticating, Method::ConnectionTune(tune)) => {
                self.on_tune(&tune)?;
                return Ok(Step::Quiet { size });
            }
            (State::Opening, Method::ConnectionOpenOk(_)) => {
                self.on_open_ok();
                return Ok(Step::Opened { size });
            }
            (State::Open, Method::ConnectionBlocked(blocked)) => Event::Blocked {
                reason: blocked.reason,
            },
            (State::Open, Method::ConnectionUnblocked(_)) => Event::Unblocked,
            (State::Open, Method::ConnectionUpdateSecretOk(_)) if self.secrets_pending > 0 => {
                self.secrets_pending -= 1;
                Event::Reply { channel: 0, method }
            }
            _ => return Err(unexpected_method(0, method.id())),
        };
        Ok(Step::Tell { size, event })
    }

    fn on_connection_close(&mut self, close: &connection::Close<'_>) {
        self.send(0, connection::CloseOk {});
        self.end(CloseReason::Server {
            code: close.reply_code,
            text: close.reply_text.to_string_lossy().into_owned(),
            method: MethodId {
                class: close.class_id,
                method: close.method_id,
            },
        });
    }

    /// Everything before open-ok belongs to the channel that had the number before.
    fn on_frame_while_opening<'d>(
        &mut self,
        frame: &Frame<'d>,
        size: usize,
    ) -> Result<Step<'d>, ConnectionError> {
        if frame.kind != FrameKind::Method {
            return Ok(Step::Quiet { size });
        }
        let number = frame.channel;
        match decode(frame)? {
            Method::ChannelOpenOk(_) => {
                if let Some(channel) = self.channels.by_number(number) {
                    channel.phase = Phase::Open;
                }
                Ok(Step::Tell {
                    size,
                    event: Event::ChannelOpen { channel: number },
                })
            }
            Method::ChannelClose(close) => {
                let event = self.on_channel_close(number, &close);
                Ok(Step::Tell { size, event })
            }
            _ => Ok(Step::Quiet { size }),
        }
    }

    /// Both sides may close at the same time; each then answers the other.
    fn on_frame_while_closing<'d>(
        &mut self,
        frame: &Frame<'d>,
        size: usize,
    ) -> Result<Step<'d>, ConnectionError> {
        if frame.kind != FrameKind::Method {
            return Ok(Step::Quiet { size });
        }
        let method = decode(frame)?;
        match method {
            Method::ChannelClose(_) => self.send(frame.channel, channel::CloseOk {}),
            Method::ChannelCloseOk(_) => {
                if let Some(channel) = self.channels.by_number(frame.channel) {
                    channel.free();
                }
                let event = Event::Reply {
                    channel: frame.channel,
                    method,
                };
                return Ok(Step::Tell { size, event });
            }
            _ => {}
        }
        Ok(Step::Quiet { size })
    }

    #[inline]
    fn on_channel_method<'d>(
        &mut self,
        frame: &Frame<'d>,
        size: usize,
        rest: &'d [u8],
    ) -> Result<Step<'d>, ConnectionError> {
        let number = frame.channel;
        let method = decode(frame)?;
        let Some(channel) = self.channels.by_number(number) else {
            return Ok(Step::Quiet { size });
        };
        if channel.assembly.is_some() && !matches!(method, Method::ChannelClose(_)) {
            return Err(unexpected(frame));
        }
        let event = match method {
            Method::BasicDeliver(_) | Method::BasicReturn(_) => {
                return self.on_message(frame, method, size, rest);
            }
            Method::BasicGetOk(_) => {
                if channel.awaited(basic::GetOk::ID).is_none() {
                    return Err(unexpected_method(number, method.id()));
                }
                return self.on_message(frame, method, size, rest);
            }
            Method::BasicGetEmpty(_) if channel.take_reply(basic::GetOk::ID) => {
                Event::GetEmpty { channel: number }
            }
            Method::BasicAck(ack) => Event::Confirm {
                channel: number,
                number: ack.delivery_tag,
                multiple: ack.multiple,
                acked: true,
            },
            Method::BasicNack(nack) => Event::Confirm {
                channel: number,
                number: nack.delivery_tag,
                multiple: nack.multiple,
                acked: false,
            },
            Method::BasicCancel(cancel) => {
                let consumer_tag = cancel.consumer_tag;
                if !cancel.nowait {
                    self.send(number, basic::CancelOk { consumer_tag });
                }
                Event::ConsumerCancelled {
                    channel: number,
                    consumer_tag,
                }
            }
            Method::ChannelFlow(flow) => {
                self.send(
                    number,
                    channel::FlowOk {
                        active: flow.active,
                    },
                );
                Event::Flow {
                    channel: number,
                    active: flow.active,
                }
            }
            Method::ChannelClose(close) => self.on_channel_close(number, &close),
            answer if channel.take_reply(answer.id()) => Event::Reply {
                channel: number,
                method: answer,
            },
            other => return Err(unexpected_method(number, other.id())),
        };
        Ok(Step::Tell { size, event })
    }

    fn on_channel_close<'d>(&mut self, number: u16, close: &channel::Close<'d>) -> Event<'d> {
        self.send(number, channel::CloseOk {});
        if let Some(channel) = self.channels.by_number(number) {
            channel.free();
        }
        Event::ChannelClosed {
            channel: number,
            code: close.reply_code,
            text: close.reply_text,
            method: MethodId {
                class: close.class_id,
                method: close.method_id,
            },
        }
    }

    /// Borrows the message if all of it is there, and else begins to gather it.
    #[inline]
    fn on_message<'d>(
        &mut self,
        frame: &Frame<'d>,
        method: Method<'d>,
        size: usize,
        rest: &'d [u8],
    ) -> Result<Step<'d>, ConnectionError> {
        let limit = self.options.max_message_size;
        let ahead = look_ahead(rest, frame.channel, self.tune.frame_max, limit)?;
        if matches!(ahead, Ahead::Partial) {
            return Ok(Step::Wait);
        }
        let epoch = self.epoch;
        let Some(channel) = self.channels.by_number(frame.channel) else {
            return Ok(Step::Quiet { size });
        };
        if matches!(method, Method::BasicGetOk(_)) {
            channel.take_reply(basic::GetOk::ID);
        }
        let Ahead::Whole {
            property_list,
            body,
            size: content_size,
        } = ahead
        else {
            channel.assembly = Some(Box::new(Assembly::new(frame.payload)));
            return Ok(Step::Quiet { size });
        };
        let origin = Origin {
            channel: frame.channel,
            epoch,
            incarnation: channel.incarnation,
        };
        let event = origin
            .event(method, property_list, Ok(body))
            .ok_or_else(|| unexpected_method(frame.channel, method.id()))?;
        Ok(Step::Tell {
            size: size + content_size,
            event,
        })
    }

    /// A header or a piece of a body, for the message that is being gathered.
    fn on_content<'d>(
        &mut self,
        frame: &Frame<'d>,
        size: usize,
    ) -> Result<Step<'d>, ConnectionError> {
        let (epoch, limit) = (self.epoch, self.options.max_message_size);
        let channel = self.channels.by_number(frame.channel);
        let Some((channel, mut message)) =
            channel.and_then(|channel| channel.assembly.take().map(|message| (channel, message)))
        else {
            return Err(unexpected(frame));
        };
        let belongs = match frame.kind {
            FrameKind::Header => {
                message.add_header(&read_header(frame.channel, frame.payload)?, limit)
            }
            _ => message.add_body(frame.payload),
        };
        if !belongs {
            return Err(unexpected(frame));
        }
        if !message.is_complete() {
            channel.assembly = Some(message);
            return Ok(Step::Quiet { size });
        }
        let origin = Origin {
            channel: frame.channel,
            epoch,
            incarnation: channel.incarnation,
        };
        Ok(Step::Assembled {
            size,
            origin,
            message,
        })
    }
}

#[inline]
fn decode<'d>(frame: &Frame<'d>) -> Result<Method<'d>, ConnectionError> {
    Method::decode(frame.payload).map_err(|error| syntax(frame.channel, error))
}

#[cold]
fn syntax(channel: u16, error: DecodeError) -> ConnectionError {
    ConnectionError::Syntax { channel, error }
}

#[cold]
fn unexpected(frame: &Frame<'_>) -> ConnectionError {
    ConnectionError::UnexpectedFrame {
        channel: frame.channel,
        kind: frame.kind,
    }
}

#[cold]
fn unexpected_method(channel: u16, method: MethodId) -> ConnectionError {
    ConnectionError::UnexpectedMethod { channel, method }
}
