//! What the Hub costs on top of the poller beneath it, and what another loop costs.
//!
//! `cargo bench --bench hub`
//!
//! One operation is a byte on its way: written to a pipe, reported by the kernel, handed to a
//! handler that reads it. Most of it is the kernel's part, the same for all.
#![allow(clippy::disallowed_methods)]

use std::io::{self, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use calloop::generic::Generic;
use calloop::timer::{TimeoutAction, Timer};
use calloop::{EventLoop, PostAction};
use celeriac::hub::{Hub, Interest, Mode, Next};
use celeriac::sys::fd::set_nonblocking;
use celeriac_bench::{Contender, compare};
use mio::unix::SourceFd;
use mio::{Events, Poll, Token};

const HOUR: Duration = Duration::from_secs(3600);

fn main() -> io::Result<()> {
    let [bare, with] = [one_event(false)?, one_event(true)?].map(|times| times[1] / times[0]);
    println!("\nDrain mode / bare mio: {bare:.3} without, {with:.3} with a timer (the bar is 1.1)");
    Ok(())
}

/// The two ends of a pipe, and how many bytes came through.
struct Line {
    reader: Rc<PipeReader>,
    writer: PipeWriter,
    seen: u64,
}

impl Line {
    fn new() -> io::Result<Self> {
        let (reader, writer) = pipe()?;
        set_nonblocking(&reader, true)?;
        Ok(Self {
            reader: Rc::new(reader),
            writer,
            seen: 0,
        })
    }

    fn send(&mut self) {
        self.writer.write_all(&[1]).unwrap();
    }

    /// What the handler does. It asked for more than there was and got less: the pipe is empty.
    fn receive(&mut self) {
        self.seen += (&*self.reader).read(&mut [0; 16]).unwrap() as u64;
    }
}

/// As small as it gets, and as a worker has it: with a deadline (here an hour ahead) that bounds
/// each wait and is compared with the clock after it.
fn one_event(with_deadline: bool) -> io::Result<Vec<f64>> {
    let mut for_mio = Line::new()?;
    let mut mio = Mio::new(&for_mio, with_deadline)?;
    let (mut drain, mut for_drain) = hub(Mode::Drain, with_deadline)?;
    let (mut level, mut for_level) = hub(Mode::Level, with_deadline)?;
    let (mut calloop, mut for_calloop) = calloop(with_deadline)?;
    let deadline = if with_deadline {
        "a timer stands"
    } else {
        "no timer"
    };
    Ok(compare(
        &format!("a byte through a pipe: write, poll, handler, read; {deadline}"),
        vec![
            Contender::new("bare mio", || {
                for_mio.send();
                mio.turn(&mut for_mio)
            }),
            Contender::new("celeriac Hub, Mode::Drain", || {
                for_drain.send();
                drain.tick(&mut for_drain, None).unwrap()
            }),
            Contender::new("celeriac Hub, Mode::Level", || {
                for_level.send();
                level.tick(&mut for_level, None).unwrap()
            }),
            Contender::new("calloop, edge-triggered", || {
                for_calloop.send();
                calloop.dispatch(None, &mut for_calloop).unwrap()
            }),
        ],
    ))
}

/// The least a program does with mio itself.
struct Mio {
    poll: Poll,
    events: Events,
    deadline: Option<Instant>,
}

impl Mio {
    fn new(line: &Line, with_deadline: bool) -> io::Result<Self> {
        let poll = Poll::new()?;
        let fd = line.reader.as_raw_fd();
        poll.registry()
            .register(&mut SourceFd(&fd), Token(0), mio::Interest::READABLE)?;
        let deadline = with_deadline.then(|| Instant::now() + HOUR);
        Ok(Self {
            poll,
            events: Events::with_capacity(1024),
            deadline,
        })
    }

    fn turn(&mut self, line: &mut Line) {
        let timeout = self.deadline.map(|deadline| deadline - Instant::now());
        self.poll.poll(&mut self.events, timeout).unwrap();
        for event in &self.events {
            if event.token() == Token(0) {
                line.receive();
            }
        }
        assert!(
            self.deadline
                .is_none_or(|deadline| Instant::now() < deadline)
        );
    }
}

/// With a deadline it also has a hook: nothing is left out.
fn hub(mode: Mode, with_deadline: bool) -> io::Result<(Hub<Line>, Line)> {
    let line = Line::new()?;
    let mut hub = Hub::new()?;
    hub.add(
        line.reader.clone(),
        Interest::READ,
        mode,
        |line: &mut Line, _, _| {
            line.receive();
            Next::Wait
        },
    )?;
    if with_deadline {
        hub.call_after(HOUR, |_, _| {});
        hub.before_poll(|_, _| {});
    }
    Ok((hub, line))
}

fn calloop(with_deadline: bool) -> io::Result<(EventLoop<'static, Line>, Line)> {
    let line = Line::new()?;
    let calloop = EventLoop::try_new().unwrap();
    let source = Generic::new(
        line.reader.clone(),
        calloop::Interest::READ,
        calloop::Mode::Edge,
    );
    let receive = |_, _: &mut _, line: &mut Line| {
        line.receive();
        Ok(PostAction::Continue)
    };
    calloop.handle().insert_source(source, receive).unwrap();
    if with_deadline {
        let timer = Timer::from_duration(HOUR);
        calloop
            .handle()
            .insert_source(timer, |_, _, _| TimeoutAction::Drop)
            .unwrap();
    }
    Ok((calloop, line))
}
