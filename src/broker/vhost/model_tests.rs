//! A queue beside the simplest model of one, through random stories.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::tests::World;

/// One step of a random story about one queue.
#[derive(Clone, Debug)]
enum Step {
    Publish,
    /// Which of the held messages, and whether all up to it.
    Ack(usize, bool),
    Requeue(usize, bool),
    Recover,
    Prefetch(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Publish),
        2 => (0..8_usize, any::<bool>()).prop_map(|(which, all)| Step::Ack(which, all)),
        2 => (0..8_usize, any::<bool>()).prop_map(|(which, all)| Step::Requeue(which, all)),
        1 => Just(Step::Recover),
        1 => (0..6_u16).prop_map(Step::Prefetch),
    ]
}

proptest! {
    /// A queue with one consumer is a sorted list: whatever is ready is given out in the order in
    /// which it was published, as far as the prefetch count allows, and nothing is lost or doubled.
    #[test]
    fn a_queue_is_a_sorted_list(steps in proptest::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        world.declare("q", &[]);
        let mut limit = 3;
        world.vhost.qos(world.channel, limit, false);
        world.consume("q", "c", false);
        let mut published = 0_u32;
        let mut ready: VecDeque<u32> = VecDeque::new();
        let mut seen: Vec<bool> = Vec::new();
        let mut held: Vec<(u64, u32)> = Vec::new();
        for step in steps {
            match step {
                Step::Publish => {
                    ready.push_back(published);
                    seen.push(false);
                    published += 1;
                    world.publish("q", &(published - 1).to_string());
                }
                Step::Ack(which, all) if which < held.len() => {
                    world.vhost.ack(world.channel, held[which].0, all).expect("a tag");
                    held.drain(if all { 0 } else { which }..=which);
                }
                Step::Requeue(which, all) if which < held.len() => {
                    world.vhost.reject(world.channel, held[which].0, all, true).expect("a tag");
                    let back = held.drain(if all { 0 } else { which }..=which);
                    ready.extend(back.map(|(_, number)| number));
                }
                Step::Recover => {
                    world.vhost.requeue_all(world.channel);
                    ready.extend(held.drain(..).map(|(_, number)| number));
                }
                Step::Prefetch(count) => {
                    limit = count;
                    world.vhost.qos(world.channel, count, false);
                }
                Step::Ack(..) | Step::Requeue(..) => {}
            }
            world.dispatch();
            ready.make_contiguous().sort_unstable();
            for taken in world.taken() {
                prop_assert!(limit == 0 || held.len() < usize::from(limit));
                let number = ready.pop_front().expect("something was ready");
                prop_assert_eq!(&taken.body, &number.to_string());
                prop_assert_eq!(taken.redelivered, seen[number as usize]);
                seen[number as usize] = true;
                held.push((taken.tag, number));
            }
            let full = limit != 0 && held.len() >= usize::from(limit);
            prop_assert!(ready.is_empty() || full, "nothing waits that could be given out");
            prop_assert_eq!(world.ready("q"), Some(ready.len() as u32));
        }
    }
}
