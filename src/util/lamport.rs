//! Lamport's logical clock: it only goes forward, past everything it hears of.

/// A counter that orders what several processes say: every event of ours and every one we hear of moves it.
///
/// ```
/// use celeriac::util::lamport::Lamport;
/// let mut clock = Lamport::new(10);
/// assert_eq!(clock.forward(), 11);
/// assert_eq!(clock.adjust(40), 41, "past what was heard");
/// assert_eq!(clock.adjust(3), 42, "never back");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lamport(u64);

impl Lamport {
    /// The largest value: what a double, and so JavaScript's JSON, still holds exactly.
    pub const MAX: u64 = (1 << 53) - 1;

    /// A clock that stands at `start`.
    pub fn new(start: u64) -> Self {
        Self(start.min(Self::MAX))
    }

    /// Where it stands.
    pub fn value(self) -> u64 {
        self.0
    }

    /// One step on.
    pub fn forward(&mut self) -> u64 {
        self.adjust(0)
    }

    /// One step past `heard`, or past its own value if that is larger.
    pub fn adjust(&mut self, heard: u64) -> u64 {
        self.0 = self.0.max(heard).saturating_add(1).min(Self::MAX);
        self.0
    }
}
