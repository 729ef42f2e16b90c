//! From a host name to addresses, without waiting for it.
//!
//! The system can only look a name up by blocking, so each lookup has a thread of its own, named
//! `resolver`, that ends with its answer. A slow name therefore delays nobody but the link that
//! asked, and of threads there are at most as many as a link has host names: a lookup that was
//! given up on is *joined* by the next one for the same host, not repeated. This matters where the
//! first name server is down: an answer may take longer than the connect timeout, and is there for
//! the second try.
//!
//! An address written in digits needs no thread. The thread says that it is done by closing its end
//! of a pipe, whatever made it end; so the other end's readiness is the whole wake-up, and it is
//! never read.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;

use crate::sys::fd::SharedFd;

/// What a lookup found: at least one address, in the order of the system's preference.
pub(super) type Answer = io::Result<Vec<SocketAddr>>;

/// The lookups of one link.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    /// Those whose answer was not taken yet, at most one for each host and port.
    pending: Vec<Lookup>,
}

#[derive(Debug)]
struct Lookup {
    host: String,
    port: u16,
    answer: Receiver<Answer>,
    done: SharedFd,
}

/// Where a lookup stands.
#[derive(Debug)]
pub(super) enum Progress {
    /// Ask again when this becomes readable or is hung up.
    Pending(SharedFd),
    /// The answer.
    Ready(Answer),
}

impl Resolver {
    /// Looks `host` up, or says how far an earlier call for it has come.
    pub(super) fn resolve(&mut self, host: &str, port: u16) -> Progress {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Progress::Ready(Ok(vec![SocketAddr::new(address, port)]));
        }
        let found = self
            .pending
            .iter()
            .position(|lookup| lookup.is_for(host, port));
        let index = match found {
            Some(index) => index,
            None => match Lookup::start(host, port) {
                Ok(lookup) => {
                    self.pending.push(lookup);
                    self.pending.len() - 1
                }
                Err(error) => return Progress::Ready(Err(error)),
            },
        };
        let lookup = &self.pending[index];
        let answer = match lookup.answer.try_recv() {
            Err(TryRecvError::Empty) => return Progress::Pending(lookup.done.clone()),
            Err(TryRecvError::Disconnected) => Err(io::Error::other("the resolver died")),
            Ok(answer) => answer,
        };
        self.pending.swap_remove(index);
        Progress::Ready(answer)
    }
}

impl Lookup {
    fn start(host: &str, port: u16) -> io::Result<Self> {
        let (done, not_done) = io::pipe()?;
        let (sender, answer) = channel();
        let name = host.to_owned();
        thread::Builder::new()
            .name("resolver".into())
            .spawn(move || {
                // Locals go in reverse order: the pipe closes last, also when the lookup panics.
                let _not_done = not_done;
                let sender = sender;
                // Nobody may be waiting any more; then the answer is for nobody.
                let _ = sender.send(look_up(&name, port));
            })?;
        let done = SharedFd::new(OwnedFd::from(done));
        Ok(Self {
            host: host.to_owned(),
            port,
            answer,
            done,
        })
    }

    fn is_for(&self, host: &str, port: u16) -> bool {
        self.host == host && self.port == port
    }
}

/// Blocks.
fn look_up(host: &str, port: u16) -> Answer {
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    match addresses.is_empty() {
        true => Err(io::Error::other("the name has no address")),
        false => Ok(addresses),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    /// Waits for the pipe as an owner's loop does.
    fn wait(resolver: &mut Resolver, host: &str) -> Answer {
        loop {
            match resolver.resolve(host, 5672) {
                Progress::Ready(answer) => return answer,
                Progress::Pending(fd) => {
                    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
                    let ready = poll(&mut fds, PollTimeout::from(30_000u16)).expect("poll");
                    assert_eq!(ready, 1, "an answer within 30 s");
                }
            }
        }
    }

    #[test]
    fn digits_need_no_thread() {
        let mut resolver = Resolver::default();
        for (host, address) in [("127.0.0.1", "127.0.0.1:7"), ("::1", "[::1]:7")] {
            match resolver.resolve(host, 7) {
                Progress::Ready(Ok(found)) => {
                    assert_eq!(found, [address.parse().expect("an address")]);
                }
                other => panic!("{host}: {other:?}"),
            }
        }
        assert!(resolver.pending.is_empty());
    }

    #[test]
    fn names_are_looked_up_in_the_background() {
        let mut resolver = Resolver::default();
        let found = wait(&mut resolver, "localhost").expect("localhost");
        assert!(
            found.iter().all(|address| address.ip().is_loopback()),
            "{found:?}"
        );
        assert!(resolver.pending.is_empty());
        wait(&mut resolver, "no-such-host.invalid").expect_err("no such name");
    }

    #[test]
    fn a_pending_lookup_is_joined() {
        let (sender, answer) = channel();
        let (done, _not_done) = io::pipe().expect("a pipe");
        let done = SharedFd::new(OwnedFd::from(done));
        let lookup = Lookup {
            host: "slow".into(),
            port: 1,
            answer,
            done,
        };
        let mut resolver = Resolver {
            pending: vec![lookup],
        };
        for _ in 0..3 {
            assert!(matches!(resolver.resolve("slow", 1), Progress::Pending(_)));
        }
        assert_eq!(resolver.pending.len(), 1);

        drop(sender);
        assert!(
            matches!(resolver.resolve("slow", 1), Progress::Ready(Err(_))),
            "a dead thread"
        );
        assert!(resolver.pending.is_empty());
    }
}
