//! Whether anybody listens to heartbeats. Pure.
//!
//! A heartbeat is published as mandatory, and the broker gives back one that no queue takes: not a monitor's, and not
//! the gossip of any worker. While they come back, fewer are sent, at last one in five. One that does not come back, and
//! any request that monitors make when they begin (`heartbeat`, `enable_events`), has each sent again.

/// So many are left out at most between two.
const MOST: u32 = 4;

/// See the [module page](self).
#[derive(Debug, Default)]
pub(super) struct Audience {
    /// How many in a row have come back.
    unheard: u32,
    /// How many were left out since the last.
    left_out: u32,
    /// One is on its way, and has not come back.
    sent: bool,
}

impl Audience {
    /// A heartbeat is due: whether it is to be sent.
    pub(super) fn wants_one(&mut self) -> bool {
        if std::mem::take(&mut self.sent) {
            self.unheard = 0;
        }
        if self.left_out < self.unheard.min(MOST) {
            self.left_out += 1;
            return false;
        }
        (self.left_out, self.sent) = (0, true);
        true
    }

    /// The broker has given one back.
    pub(super) fn came_back(&mut self) {
        self.sent = false;
        self.unheard = self.unheard.saturating_add(1);
    }

    /// Somebody is there, or may be.
    pub(super) fn expect(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T16.3: who is not heard says less and less, and at once more when somebody comes.
    #[test]
    fn t16_3_fewer_heartbeats_while_nobody_listens() {
        let mut audience = Audience::default();
        let mut beats = |listened: bool, count: u32| -> String {
            let mut beat = |_| match audience.wants_one() {
                true if listened => '!',
                true => {
                    audience.came_back();
                    '?'
                }
                false => '.',
            };
            (0..count).map(&mut beat).collect()
        };
        assert_eq!(beats(true, 5), "!!!!!");
        assert_eq!(beats(false, 21), "?.?..?...?....?....?.");
        assert_eq!(beats(true, 6), "...!!!");
        assert_eq!(beats(false, 4), "?.?.");
        audience.expect();
        assert!(audience.wants_one());
    }
}
