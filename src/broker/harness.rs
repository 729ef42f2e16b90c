//! A broker on a thread of its own, for tests of clients.
//!
//! ```
//! use celeriac::broker::Settings;
//! use celeriac::broker::harness::TestBroker;
//!
//! let broker = TestBroker::start(Settings::default())?;
//! println!("{}", broker.url());
//! assert_eq!(broker.with(|broker, _| broker.connections()), 0);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! A test that turns a Hub itself needs none of this: [`Broker::listen`] on port 0 does.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::thread::JoinHandle;

use super::{Broker, Settings};
use crate::hub::{Hub, Waker};

type Job = Box<dyn FnOnce(&mut Broker, &mut Hub<Broker>) + Send>;

/// A broker on a thread of its own. It stops when this is dropped, without a word to its clients.
#[derive(Debug)]
pub struct TestBroker {
    address: SocketAddr,
    jobs: mpsc::Sender<Job>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl TestBroker {
    /// Starts a broker on a free port of the loopback interface.
    ///
    /// # Errors
    /// When the process may not open another descriptor or start another thread.
    pub fn start(settings: Settings) -> io::Result<Self> {
        Self::start_at(settings, (Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Starts a broker at an address: the one that another had before, to play a restart.
    ///
    /// # Errors
    /// As [`start`](Self::start), and when the address is in use.
    pub fn start_at(settings: Settings, address: SocketAddr) -> io::Result<Self> {
        let (jobs, incoming) = mpsc::channel::<Job>();
        let (started, result) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("broker".into())
            .spawn(move || run(settings, address, incoming, &started))?;
        match result.recv() {
            Ok(Ok((address, waker))) => Ok(Self {
                address,
                jobs,
                waker,
                thread: Some(thread),
            }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::other("the broker's thread has panicked")),
        }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A URL for clients, with the user `guest`.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@{}//", self.address)
    }

    /// Does something with the broker, between two turns of its Hub, and waits for the result.
    ///
    /// # Panics
    /// When the broker has panicked.
    pub fn with<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Broker, &mut Hub<Broker>) -> T + Send + 'static,
    ) -> T {
        let (sender, receiver) = mpsc::channel();
        let job: Job = Box::new(move |broker, hub| {
            // The test may have stopped waiting; that is its affair.
            let _ = sender.send(f(broker, hub));
        });
        self.jobs.send(job).expect("the broker's thread is alive");
        self.waker.wake().expect("the broker's Hub is alive");
        receiver.recv().expect("the broker's thread is alive")
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        let stop: Job = Box::new(|broker, hub| {
            broker.close(hub);
            hub.stop();
        });
        // Where this fails, the thread has ended already.
        let _ = self.jobs.send(stop);
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Started = io::Result<(SocketAddr, Waker)>;

fn run(
    settings: Settings,
    address: SocketAddr,
    incoming: mpsc::Receiver<Job>,
    started: &mpsc::Sender<Started>,
) {
    let mut broker = Broker::new(settings);
    let set_up = |broker: &mut Broker| {
        let mut hub = Hub::new()?;
        let address = broker.listen(&mut hub, address)?;
        let (_, waker) = hub.waker(move |broker: &mut Broker, hub| {
            while let Ok(job) = incoming.try_recv() {
                job(broker, hub);
            }
        })?;
        Ok((hub, address, waker))
    };
    match set_up(&mut broker) {
        Ok((mut hub, address, waker)) => {
            // A test that does not wait for it has ended.
            let _ = started.send(Ok((address, waker)));
            if let Err(error) = hub.run(&mut broker) {
                log::error!("the broker's Hub has failed: {error}");
            }
        }
        Err(error) => drop(started.send(Err(error))),
    }
}
