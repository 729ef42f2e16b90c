//! What main wants to publish, until the broker has taken charge of it.
//!
//! Publications leave in order and are kept until the broker confirms them. When the connection is lost,
//! what was not confirmed goes out again on the next one. When the broker closes the *channel* because of a
//! publication, nothing says which one it was: from then on they leave one at a time, until the one that
//! closes the channel again is known and given up, so that one bad message cannot hold the others.
//!
//! Pure: it counts and remembers; the producer talks to the connection.

use std::collections::VecDeque;

/// How often a publication that the broker refuses (`basic.nack`) is tried.
const ATTEMPTS: u8 = 5;

/// What became of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The broker has taken charge of it.
    Confirmed,
    /// It was mandatory and no queue would have it.
    Unroutable,
    /// The broker refused it again and again, or closed the channel because of it.
    Refused,
}

/// A queue of publications of type `P`.
#[derive(Debug)]
pub struct Outbox<P> {
    waiting: VecDeque<Entry<P>>,
    /// Published and not confirmed, by rising number.
    unconfirmed: VecDeque<Sent<P>>,
    /// So many publications leave one at a time.
    careful: usize,
}

#[derive(Debug)]
struct Entry<P> {
    publication: P,
    attempts: u8,
    returned: bool,
}

#[derive(Debug)]
struct Sent<P> {
    number: u64,
    /// Empty once it is confirmed, or refused and tried again, out of order.
    entry: Option<Entry<P>>,
}

impl<P> Default for Outbox<P> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            unconfirmed: VecDeque::new(),
            careful: 0,
        }
    }
}

impl<P> Outbox<P> {
    /// An empty outbox.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a publication behind the others.
    pub fn push(&mut self, publication: P) {
        self.waiting.push_back(Entry {
            publication,
            attempts: 0,
            returned: false,
        });
    }

    /// How many publications are held, those confirmed out of order included.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.unconfirmed.len()
    }

    /// Whether everything is settled.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.unconfirmed.is_empty()
    }

    /// How many wait to be published.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The publication that may leave now, if any.
    pub fn next(&self) -> Option<&P> {
        if self.careful > 0 && !self.unconfirmed.is_empty() {
            return None;
        }
        self.waiting.front().map(|entry| &entry.publication)
    }

    /// The [`next`](Self::next) one has left under `number`; numbers rise.
    pub fn sent(&mut self, number: u64) {
        if let Some(mut entry) = self.waiting.pop_front() {
            entry.attempts = entry.attempts.saturating_add(1);
            self.unconfirmed.push_back(Sent {
                number,
                entry: Some(entry),
            });
        }
    }

    /// The [`next`](Self::next) one cannot be put on the wire: gives it up.
    pub fn give_up(&mut self) -> Option<P> {
        self.careful = self.careful.saturating_sub(1);
        self.waiting.pop_front().map(|entry| entry.publication)
    }

    /// The broker returned the first unconfirmed publication that `is_it`; its confirm is still to come.
    pub fn returned(&mut self, is_it: impl Fn(&P) -> bool) {
        let entry = self
            .unconfirmed
            .iter_mut()
            .filter_map(|sent| sent.entry.as_mut())
            .find(|entry| !entry.returned && is_it(&entry.publication));
        if let Some(entry) = entry {
            entry.returned = true;
        }
    }

    /// The broker confirmed or refused `number`, with `multiple` all up to it; `settled` gets what is done with.
    pub fn confirmed(
        &mut self,
        number: u64,
        multiple: bool,
        acked: bool,
        mut settled: impl FnMut(P, Fate),
    ) {
        let end = self
            .unconfirmed
            .partition_point(|sent| sent.number <= number);
        let start = if multiple { 0 } else { end.saturating_sub(1) };
        for index in start..end {
            let Some(sent) = self.unconfirmed.get_mut(index) else {
                break;
            };
            if !multiple && sent.number != number {
                continue;
            }
            let Some(entry) = sent.entry.take() else {
                continue;
            };
            if !acked && entry.attempts < ATTEMPTS {
                self.waiting.push_back(entry);
                continue;
            }
            self.careful = self.careful.saturating_sub(1);
            let fate = match (acked, entry.returned) {
                (false, _) => Fate::Refused,
                (true, true) => Fate::Unroutable,
                (true, false) => Fate::Confirmed,
            };
            settled(entry.publication, fate);
        }
        while self
            .unconfirmed
            .pop_front_if(|sent| sent.entry.is_none())
            .is_some()
        {}
    }

    /// The connection is lost: what was not confirmed is to leave again, first.
    pub fn connection_lost(&mut self) {
        while let Some(sent) = self.unconfirmed.pop_back() {
            if let Some(mut entry) = sent.entry {
                entry.returned = false;
                self.waiting.push_front(entry);
            }
        }
    }

    /// The broker closed the channel because of a publication: gives up the culprit once it is known.
    pub fn channel_closed(&mut self) -> Option<P> {
        if self.unconfirmed.len() == 1 {
            self.careful = self.careful.saturating_sub(1);
            return self
                .unconfirmed
                .pop_front()?
                .entry
                .map(|entry| entry.publication);
        }
        self.careful = self.careful.max(self.unconfirmed.len());
        self.connection_lost();
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(publications: &[u32]) -> Outbox<u32> {
        let mut outbox = Outbox::new();
        publications
            .iter()
            .for_each(|publication| outbox.push(*publication));
        outbox
    }

    fn send_all(outbox: &mut Outbox<u32>, number: &mut u64) -> Vec<u32> {
        let mut sent = vec![];
        while let Some(publication) = outbox.next() {
            sent.push(*publication);
            *number += 1;
            outbox.sent(*number);
        }
        sent
    }

    fn settle(
        outbox: &mut Outbox<u32>,
        number: u64,
        multiple: bool,
        acked: bool,
    ) -> Vec<(u32, Fate)> {
        let mut settled = vec![];
        outbox.confirmed(number, multiple, acked, |publication, fate| {
            settled.push((publication, fate))
        });
        settled
    }

    #[test]
    fn confirms_settle_in_any_order_and_once() {
        let mut outbox = outbox(&[10, 20, 30, 40]);
        assert_eq!(send_all(&mut outbox, &mut 0), [10, 20, 30, 40]);
        assert_eq!(settle(&mut outbox, 3, false, true), [(30, Fate::Confirmed)]);
        assert_eq!(settle(&mut outbox, 3, false, true), []);
        assert_eq!(
            outbox.len(),
            4,
            "the place is kept until those before it are settled"
        );
        let both = [(10, Fate::Confirmed), (20, Fate::Confirmed)];
        assert_eq!(settle(&mut outbox, 3, true, true), both);
        assert_eq!(
            settle(&mut outbox, 9, false, true),
            [],
            "a number never given"
        );
        assert_eq!(settle(&mut outbox, 9, true, true), [(40, Fate::Confirmed)]);
        assert!(outbox.is_empty());
    }

    #[test]
    fn what_was_not_confirmed_leaves_again_in_order() {
        let mut outbox = outbox(&[1, 2, 3]);
        let mut number = 0;
        send_all(&mut outbox, &mut number);
        outbox.push(4);
        settle(&mut outbox, 2, false, true);
        outbox.connection_lost();
        assert_eq!(send_all(&mut outbox, &mut 0), [1, 3, 4]);
    }

    #[test]
    fn t10_4_a_returned_publication_is_unroutable() {
        let mut outbox = outbox(&[1, 2]);
        send_all(&mut outbox, &mut 0);
        outbox.returned(|publication| *publication == 2);
        let both = [(1, Fate::Confirmed), (2, Fate::Unroutable)];
        assert_eq!(settle(&mut outbox, 2, true, true), both);
    }

    #[test]
    fn a_refused_publication_is_tried_five_times() {
        let mut outbox = outbox(&[7]);
        let mut number = 0;
        for _ in 1..ATTEMPTS {
            send_all(&mut outbox, &mut number);
            assert_eq!(settle(&mut outbox, number, false, false), []);
        }
        send_all(&mut outbox, &mut number);
        assert_eq!(
            settle(&mut outbox, number, false, false),
            [(7, Fate::Refused)]
        );
        assert!(outbox.is_empty());
    }

    /// A broker that closes the channel at 13: everything else arrives, and 13 alone is given up.
    #[test]
    fn one_bad_publication_is_found_and_the_others_arrive() {
        let mut outbox = outbox(&[1, 13, 2, 3]);
        let (mut number, mut arrived, mut given_up) = (0, vec![], vec![]);
        for _ in 0..20 {
            let first = number + 1;
            let sent = send_all(&mut outbox, &mut number);
            match sent.iter().position(|publication| *publication == 13) {
                Some(_) => given_up.extend(outbox.channel_closed()),
                None => {
                    for confirmed in first..=number {
                        let settled = settle(&mut outbox, confirmed, false, true);
                        arrived.extend(settled.into_iter().map(|(publication, _)| publication));
                    }
                }
            }
        }
        assert_eq!((arrived, given_up), (vec![1, 2, 3], vec![13]));
        assert!(outbox.is_empty());
        outbox.push(5);
        outbox.push(6);
        assert_eq!(
            send_all(&mut outbox, &mut number),
            [5, 6],
            "careful no longer"
        );
    }
}
