//! A clerk's laws, with a test in the place of the process: it takes the ends of the pipes as a zygote does.

#![allow(clippy::disallowed_methods)]

use std::io::Write as _;
use std::os::fd::OwnedFd;

use super::*;
use crate::message::record::Verdict;

const SECOND: Duration = Duration::from_secs(1);

/// A zygote's end, and the clerk that it would have made.
struct Fake {
    zygote: Zygote,
    theirs: OwnedFd,
    now: Instant,
}

/// The other ends of a clerk's pipes.
struct Peer {
    notes: SharedFd,
    replies: std::fs::File,
    decoder: Decoder,
}

impl Fake {
    fn new() -> Self {
        let (ours, theirs) = pipe::socket_pair().unwrap();
        let pid = crate::sys::process::current();
        Self {
            zygote: Zygote::new(ours, pid),
            theirs,
            now: Instant::now(),
        }
    }

    fn start(&mut self, clerk: &mut Clerk) -> Peer {
        assert!(clerk.is_wanted(self.now));
        clerk.start(&self.zygote, self.now).unwrap();
        let mut packet = [0; 64];
        let (length, ends) = pipe::receive_with_fds(&self.theirs, &mut packet).unwrap();
        assert_eq!(&packet[..length], b"clerk 0");
        let [notes, replies] = <[OwnedFd; 2]>::try_from(ends).unwrap();
        fd::set_nonblocking(&notes, true).unwrap();
        Peer {
            notes: SharedFd::new(notes),
            replies: replies.into(),
            decoder: Decoder::new(),
        }
    }
}

impl Peer {
    fn say(&mut self, kind: Kind, head: &str) {
        let mut record = b"CL".to_vec();
        record.extend([kind as u8, 0]);
        record.extend((head.len() as u32).to_be_bytes());
        record.extend(0_u32.to_be_bytes());
        record.extend(head.as_bytes());
        self.replies.write_all(&record).unwrap();
    }

    /// Says that it is up, as a process that does not exist.
    fn up(&mut self) {
        self.say(Kind::Up, &format!("{{\"pid\":{}}}", i32::MAX));
    }

    fn answer(&mut self, note: u64) {
        self.say(
            Kind::Reply,
            &format!("{{\"note\":{note},\"verdict\":\"ack\"}}"),
        );
    }

    /// How many notes have come.
    fn heard(&mut self) -> usize {
        let mut count = 0;
        while let Ok(read) = self.notes.read(self.decoder.space(READ_SIZE)) {
            assert_ne!(read, 0, "the other end is closed");
            self.decoder.filled(read);
            while self.decoder.next_record().unwrap().is_some() {
                count += 1;
            }
        }
        count
    }
}

/// What has become of notes: `(number, whether it was answered)`.
fn ends(clerk: &mut Clerk) -> Vec<(u64, bool)> {
    std::iter::from_fn(|| clerk.poll_event())
        .filter_map(|event| match event {
            ClerkEvent::Answered(reply) => {
                assert_eq!(reply.verdict, Some(Verdict::Ack));
                Some((reply.note, true))
            }
            ClerkEvent::Failed { note, .. } => Some((note, false)),
            ClerkEvent::Started(..)
            | ClerkEvent::Gone
            | ClerkEvent::Again { .. }
            | ClerkEvent::Dropped(_) => None,
        })
        .collect()
}

fn tell(clerk: &mut Clerk, now: Instant) -> u64 {
    clerk
        .tell(About::Unregistered, Weight::Result, b"job", now)
        .unwrap()
}

#[test]
fn notes_are_answered_in_order() {
    let (mut fake, mut clerk) = (Fake::new(), Clerk::default());
    assert!(
        !clerk.is_wanted(fake.now) && clerk.is_idle(),
        "there is nothing to tell"
    );
    let (first, second) = (tell(&mut clerk, fake.now), tell(&mut clerk, fake.now));
    let mut peer = fake.start(&mut clerk);
    assert_eq!(peer.heard(), 2);
    peer.up();
    peer.answer(first);
    clerk.handle_ready(fake.now);
    assert_eq!(ends(&mut clerk), [(first, true)]);
    assert!(!clerk.is_idle());
    peer.answer(second);
    clerk.handle_ready(fake.now);
    assert_eq!(ends(&mut clerk), [(second, true)]);
    assert!(clerk.is_idle() && clerk.deadline(true).is_none());
    assert!(!clerk.is_wanted(fake.now), "it is still there");
}

#[test]
fn nothing_spins_while_there_is_no_zygote() {
    let (fake, mut clerk) = (Fake::new(), Clerk::default());
    tell(&mut clerk, fake.now);
    assert_eq!(
        clerk.deadline(false),
        None,
        "the next zygote is what wakes us"
    );
    assert!(clerk.is_wanted(fake.now));
    clerk.abandon("there is none");
    assert_eq!(ends(&mut clerk), [(0, false)]);
    assert!(clerk.is_idle());
}

#[test]
fn one_that_was_never_up_has_taken_no_note_along_and_is_replaced_ever_more_slowly() {
    let (mut fake, mut clerk) = (Fake::new(), Clerk::default());
    let note = tell(&mut clerk, fake.now);
    let mut pauses = Vec::new();
    for _ in 0..5 {
        drop(fake.start(&mut clerk)); // as when the zygote dies with the request in its socket
        clerk.handle_ready(fake.now);
        assert_eq!(ends(&mut clerk), []);
        assert!(!clerk.is_wanted(fake.now), "not at once");
        let next = clerk.deadline(true).unwrap();
        pauses.push(next.duration_since(fake.now));
        fake.now = next;
    }
    assert_eq!(pauses, [1, 2, 3, 4, 5].map(|count| count * SECOND));
    let mut peer = fake.start(&mut clerk);
    assert_eq!(peer.heard(), 1);
    peer.up();
    peer.answer(note);
    clerk.handle_ready(fake.now);
    assert_eq!(ends(&mut clerk), [(note, true)]);
    drop(peer);
    clerk.handle_ready(fake.now);
    tell(&mut clerk, fake.now);
    fake.now += 6 * SECOND;
    drop(fake.start(&mut clerk));
    clerk.handle_ready(fake.now);
    assert_eq!(
        clerk.deadline(true),
        Some(fake.now + SECOND),
        "from the first pause"
    );
}

#[test]
fn a_result_outlives_one_clerk_and_not_two() {
    let (mut fake, mut clerk) = (Fake::new(), Clerk::default());
    let (first, second) = (tell(&mut clerk, fake.now), tell(&mut clerk, fake.now));
    for expected in [&[][..], &[(first, false)]] {
        fake.now += 60 * SECOND;
        let mut peer = fake.start(&mut clerk);
        assert_eq!(peer.heard(), 2);
        peer.up();
        drop(peer);
        clerk.handle_ready(fake.now);
        assert_eq!(ends(&mut clerk), expected);
    }
    fake.now += 60 * SECOND;
    let mut peer = fake.start(&mut clerk);
    peer.up();
    peer.answer(second);
    clerk.handle_ready(fake.now);
    assert_eq!(ends(&mut clerk), [(second, true)]);
}

#[test]
fn one_that_takes_too_long_is_given_up() {
    let (mut fake, mut clerk) = (Fake::new(), Clerk::default());
    let note = clerk
        .tell(About::Received, Weight::Passing, b"job", fake.now)
        .unwrap();
    let mut peer = fake.start(&mut clerk);
    peer.up();
    clerk.handle_ready(fake.now);
    let deadline = clerk.deadline(true).unwrap();
    assert_eq!(deadline, fake.now + PATIENCE);
    clerk.handle_deadline(deadline - SECOND);
    assert_eq!(ends(&mut clerk), []);
    clerk.handle_deadline(deadline);
    assert_eq!(ends(&mut clerk), [(note, false)]);
    assert!(clerk.is_idle());
}

#[test]
fn an_answer_to_what_was_not_asked_ends_it() {
    for answered in [1, 7] {
        let (mut fake, mut clerk) = (Fake::new(), Clerk::default());
        tell(&mut clerk, fake.now);
        tell(&mut clerk, fake.now);
        let mut peer = fake.start(&mut clerk);
        peer.up();
        peer.answer(answered);
        clerk.handle_ready(fake.now);
        assert_eq!(ends(&mut clerk), []);
        fake.now += SECOND;
        assert!(clerk.is_wanted(fake.now));
    }
}

#[test]
fn a_slow_clerk_costs_signals_and_says_so() {
    let (mut fake, mut clerk) = (Fake::new(), Clerk::default());
    let job = vec![0; notes::PASSING_LIMIT / 8];
    let taken: Vec<u64> = (0..20)
        .filter_map(|_| clerk.tell(About::Received, Weight::Passing, &job, fake.now))
        .collect();
    assert_eq!(taken.len(), 7, "and their heads");
    let mut peer = fake.start(&mut clerk);
    peer.up();
    while peer.heard() == 0 {
        clerk.handle_ready(fake.now);
    }
    peer.answer(0);
    clerk.handle_ready(fake.now);
    let events: Vec<ClerkEvent> = std::iter::from_fn(|| clerk.poll_event()).collect();
    assert!(
        matches!(
            events[..],
            [.., ClerkEvent::Answered(_), ClerkEvent::Dropped(13)]
        ),
        "{events:?}"
    );
}
