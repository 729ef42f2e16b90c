//! What is true of a virtual host at all times, for fuzzing and tests to look at.

use std::collections::HashMap;

use super::Vhost;
use crate::broker::arguments::Overflow;
use crate::broker::exchange::{Binding, Destination};
use crate::broker::keys::{ConsumerKey, QueueKey};

impl Vhost {
    /// # Panics
    /// When what is counted in two places differs.
    pub(in crate::broker) fn check_laws(&self) {
        let ready: usize = self.queues.iter().map(|(_, queue)| queue.memory()).sum();
        assert_eq!(ready, self.ready_memory, "memory of what is ready");
        self.check_unacknowledged();
        self.check_consumers();
        self.check_bindings();
        for (key, queue) in self.queues.iter() {
            queue.check_order();
            assert_eq!(
                self.queue_names.get(&queue.name),
                Some(&key),
                "its name is its"
            );
            let drops = queue.options.overflow == Overflow::DropHead;
            assert!(!drops || !queue.is_overflowing(), "more than its limit");
        }
        assert_eq!(
            self.queue_names.len(),
            self.queues.iter().count(),
            "names of queues"
        );
        assert_eq!(
            self.exchange_names.len(),
            self.exchanges.iter().count(),
            "of exchanges"
        );
    }

    fn check_unacknowledged(&self) {
        let mut memory = 0;
        let mut by_queue: HashMap<QueueKey, usize> = HashMap::new();
        let mut by_consumer: HashMap<ConsumerKey, u32> = HashMap::new();
        for (_, channel) in self.channels.iter() {
            let mut consumed = 0;
            for given in channel.given() {
                memory += given.entry.size();
                *by_queue.entry(given.queue).or_default() += 1;
                if let Some(consumer) = given.consumer {
                    consumed += 1;
                    *by_consumer.entry(consumer).or_default() += 1;
                }
            }
            assert_eq!(
                channel.given().count(),
                channel.unacknowledged(),
                "of a channel"
            );
            assert_eq!(consumed, channel.in_flight, "in flight on a channel");
        }
        assert_eq!(
            memory, self.given_memory,
            "memory of what is not acknowledged"
        );
        for (key, queue) in self.queues.iter() {
            let expected = by_queue.get(&key).copied().unwrap_or(0);
            assert_eq!(queue.unacknowledged, expected, "unacknowledged of a queue");
        }
        for (key, consumer) in self.consumers.iter() {
            let expected = by_consumer.get(&key).copied().unwrap_or(0);
            assert_eq!(consumer.in_flight, expected, "in flight to a consumer");
        }
    }

    fn check_consumers(&self) {
        let in_queues: usize = self
            .queues
            .iter()
            .map(|(_, queue)| queue.consumers.len())
            .sum();
        let in_channels: usize = self
            .channels
            .iter()
            .map(|(_, channel)| channel.consumers.len())
            .sum();
        let all = self.consumers.iter().count();
        assert_eq!((in_queues, in_channels), (all, all), "consumers");
        for (key, consumer) in self.consumers.iter() {
            let queue = self.queues.get(consumer.queue).expect("its queue is there");
            assert!(queue.consumers.iter().any(|turn| turn.consumer == key));
        }
    }

    /// Every binding is known at both ends.
    fn check_bindings(&self) {
        let mut bindings = 0;
        for (source, exchange) in self.exchanges.iter() {
            for binding in exchange.bindings() {
                bindings += 1;
                let Binding {
                    destination,
                    key,
                    arguments,
                } = binding;
                let bound = match destination {
                    Destination::Queue(key) => self.queues.get(key).map(|queue| &queue.bound),
                    Destination::Exchange(key) => self.exchanges.get(key).map(|other| &other.bound),
                };
                let known = bound
                    .expect("its destination is there")
                    .iter()
                    .any(|bound| {
                        bound.source == source && bound.key == key && bound.arguments == arguments
                    });
                assert!(known, "a binding that its destination does not know");
            }
        }
        let queues = self.queues.iter().map(|(_, queue)| queue.bound.len());
        let exchanges = self.exchanges.iter().map(|(_, other)| other.bound.len());
        assert_eq!(queues.chain(exchanges).sum::<usize>(), bindings, "bindings");
    }
}
