//! The scanner's stack: which containers are open, at one bit a level.

/// A container that can be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    Array,
    Object,
}

impl Container {
    /// The octet that closes it.
    pub(super) fn close(self) -> u8 {
        match self {
            Self::Array => b']',
            Self::Object => b'}',
        }
    }
}

/// The open containers, outermost first. The innermost 64 live in `word` (newest in the lowest
/// bit, 1 = object), the rest in `full`; an ordinary body never touches the heap.
#[derive(Debug, Default)]
pub(super) struct Nesting {
    word: u64,
    full: Vec<u64>,
    depth: usize,
}

impl Nesting {
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    pub(super) fn push(&mut self, container: Container) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.full.push(self.word);
        }
        self.word = self.word << 1 | u64::from(container == Container::Object);
        self.depth += 1;
    }

    pub(super) fn innermost(&self) -> Option<Container> {
        let object = self.word & 1 == 1;
        (self.depth > 0).then_some(if object {
            Container::Object
        } else {
            Container::Array
        })
    }

    pub(super) fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.word >>= 1;
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.word = self.full.pop().unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The bit stack and a plain stack never disagree, across the word boundary as well.
        #[test]
        fn behaves_like_a_stack(steps in proptest::collection::vec(0..5u8, 0..700)) {
            let mut nesting = Nesting::default();
            let mut model = Vec::new();
            for step in steps {
                match step {
                    0 => {
                        nesting.pop();
                        model.pop();
                    }
                    n => {
                        let container = if n % 2 == 0 { Container::Object } else { Container::Array };
                        nesting.push(container);
                        model.push(container);
                    }
                }
                prop_assert_eq!(nesting.innermost(), model.last().copied());
                prop_assert_eq!(nesting.depth(), model.len());
            }
        }
    }
}
