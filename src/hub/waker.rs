//! The way into a Hub from another thread.

use std::io::{self, ErrorKind, PipeWriter, Write};

use super::{Hub, Interest, Key, Mode, Next};
use crate::sys::fd::{SharedFd, set_nonblocking};

/// Wakes a Hub from another thread. The answer itself travels by other means, a channel for example.
///
/// It is the sending end of a pipe: dropping it ends the registration it belongs to, so a thread
/// that died keeps no Hub waiting.
#[derive(Debug)]
pub struct Waker {
    sender: PipeWriter,
}

impl Waker {
    /// Has the Hub call this waker's function, soon. Several wakes before that are one call.
    ///
    /// # Errors
    /// `BrokenPipe` if the Hub is gone or has removed the registration.
    pub fn wake(&self) -> io::Result<()> {
        match (&self.sender).write(&[1]) {
            // A full pipe: it has been woken many times and has not looked yet.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            other => other.map(drop),
        }
    }
}

impl<C> Hub<C> {
    /// Calls `f` whenever the returned [`Waker`] says so, from whichever thread. This is how the rare
    /// thing that the kernel offers only blocking (name resolution) reports back to the loop.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use celeriac::hub::Hub;
    ///
    /// let mut hub = Hub::<Option<u32>>::new()?;
    /// let (sender, receiver) = mpsc::channel();
    /// let (_, waker) = hub.waker(move |answer, _| *answer = receiver.try_recv().ok())?;
    /// let thread = std::thread::spawn(move || {
    ///     sender.send(42).expect("the Hub is there");
    ///     waker.wake().expect("the Hub is there");
    /// });
    /// let mut answer = None;
    /// hub.run(&mut answer)?; // ends when the thread has dropped its waker
    /// assert_eq!(answer, Some(42));
    /// # thread.join().unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the process may not open a pipe.
    pub fn waker(
        &mut self,
        mut f: impl FnMut(&mut C, &mut Self) + 'static,
    ) -> io::Result<(Key, Waker)> {
        let (receiver, sender) = io::pipe()?;
        set_nonblocking(&receiver, true)?;
        set_nonblocking(&sender, true)?;
        let receiver = SharedFd::new(receiver);
        let source = receiver.clone();
        let key = self.add(source, Interest::READ, Mode::Drain, move |cx, hub, _| {
            let mut woken = false;
            let next = loop {
                match receiver.read(&mut [0; 64]) {
                    Ok(0) => break Next::Remove,
                    Ok(_) => woken = true,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => break Next::Wait,
                }
            };
            if woken {
                f(cx, hub);
            }
            next
        })?;
        Ok((key, Waker { sender }))
    }
}
