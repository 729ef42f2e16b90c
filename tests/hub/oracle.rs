//! Level mode against a poller that is level-triggered by itself.

use std::io::Write;

use polling::{Event, Events, PollMode, Poller};
use proptest::prelude::*;

use super::*;

const LINES: usize = 4;

/// What happens to one of several pipes.
#[derive(Clone, Copy, Debug)]
enum Act {
    Write(usize, u8),
    Read(usize, u8),
    Close(usize),
    Nothing,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..LINES, 1..5_u8).prop_map(|(line, n)| Act::Write(line, n)),
        (0..LINES, 1..5_u8).prop_map(|(line, n)| Act::Read(line, n)),
        (0..LINES).prop_map(Act::Close),
        Just(Act::Nothing),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Handlers do nothing, the worst case; after every act both pollers report the same pipes.
    #[test]
    fn level_mode_reports_what_a_level_triggered_poller_reports(acts in prop::collection::vec(act(), 1..60)) {
        let mut lines: Vec<_> = (0..LINES).map(|_| line()).map(|(r, w)| (r, Some(w))).collect();
        let mut hub = Hub::<Vec<usize>>::new().unwrap();
        let poller = Poller::new().unwrap();
        for (number, (reader, _)) in lines.iter().enumerate() {
            hub.add_reader(reader.clone(), move |heard: &mut Vec<usize>, _, ready| {
                assert!(ready.readable);
                heard.push(number);
                Next::Wait
            })
            .unwrap();
            // SAFETY: `lines` outlives the poller's last wait.
            #[allow(unsafe_code)]
            unsafe { poller.add_with_mode(&**reader, Event::readable(number), PollMode::Level) }
                .unwrap();
        }
        for act in acts {
            match act {
                Act::Write(line, n) => {
                    if let Some(writer) = &mut lines[line].1 {
                        writer.write_all(&vec![0; n.into()]).unwrap();
                    }
                }
                Act::Read(line, n) => drop((&*lines[line].0).read(&mut vec![0; n.into()])),
                Act::Close(line) => lines[line].1 = None,
                Act::Nothing => {}
            }
            let mut heard = Vec::new();
            hub.tick(&mut heard, Some(Duration::ZERO)).unwrap();
            let mut events = Events::new();
            poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
            let mut expected: Vec<_> = events.iter().map(|event| event.key).collect();
            heard.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(heard, expected);
        }
    }
}
