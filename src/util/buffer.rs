//! Byte buffers between a file and a codec: linear, growing with the data, and small again after it.
//!
//! Both keep their bytes in one piece, so that a decoder can borrow whole frames and one `write`
//! can send everything. Moving bytes to the front is paid for by the bytes consumed before them,
//! so each byte is moved a bounded number of times.

use std::fmt;
use std::mem;

/// A buffer larger than this is given back as soon as its bytes no longer need it. Large enough
/// that the largest usual AMQP frame (128 KiB) never makes one come and go.
const KEPT: usize = 256 * 1024;

/// The least that an empty buffer allocates when it is first used.
const FIRST: usize = 4 * 1024;

/// Bytes that were received and wait to be understood.
///
/// ```text
/// bytes:  [ consumed | data()  | space() ]
///         0          start     end       bytes.len()
/// ```
///
/// ```
/// use celeriac::util::buffer::InBuf;
///
/// let mut buffer = InBuf::new();
/// buffer.space(5)[..5].copy_from_slice(b"hello"); // usually a read from a file
/// buffer.filled(5);
/// assert_eq!(buffer.data(), b"hello");
/// buffer.consume(4);
/// assert_eq!(buffer.data(), b"o");
/// ```
#[derive(Clone, Default)]
pub struct InBuf {
    /// Allocated and initialised memory; its length is the capacity.
    bytes: Vec<u8>,
    /// `start <= end <= bytes.len()`
    start: usize,
    end: usize,
}

impl InBuf {
    /// An empty buffer, without memory until it is used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Room for at least `at_least` more bytes, usually more. Say with [`filled`](Self::filled) how
    /// many were put there.
    pub fn space(&mut self, at_least: usize) -> &mut [u8] {
        if self.bytes.len() - self.end < at_least {
            self.make_room(at_least);
        }
        &mut self.bytes[self.end..]
    }

    /// The first `count` bytes of the last [`space`](Self::space) now hold data.
    ///
    /// # Panics
    /// When there was not that much room.
    pub fn filled(&mut self, count: usize) {
        assert!(
            count <= self.bytes.len() - self.end,
            "filled more than there was room for"
        );
        self.end += count;
    }

    /// Forgets the first `count` bytes of [`data`](Self::data).
    ///
    /// # Panics
    /// When there are not that many.
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.len(), "consumed more than there was");
        self.start += count;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.bytes.len() > KEPT {
                self.bytes = Vec::new();
            }
        }
    }

    /// Everything received and not consumed, in one piece.
    pub fn data(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether none wait.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// How many bytes of memory this buffer holds.
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Moves the data to the front of this memory, or of more (or less) when that fits better.
    fn make_room(&mut self, at_least: usize) {
        let (length, needed) = (self.len(), self.len() + at_least);
        let fits = needed <= self.bytes.len();
        let too_large = self.bytes.len() > KEPT && needed <= KEPT;
        // Moving in place costs `length` and was paid for by `start` consumed bytes.
        if fits && !too_large && length <= self.start {
            self.bytes.copy_within(self.start..self.end, 0);
        } else {
            let grown = if too_large {
                KEPT
            } else {
                self.bytes.len().saturating_mul(2)
            };
            let mut bytes = vec![0; needed.max(grown).max(FIRST)];
            bytes[..length].copy_from_slice(self.data());
            self.bytes = bytes;
        }
        (self.start, self.end) = (0, length);
    }
}

/// Bytes that are to be sent.
///
/// ```
/// use celeriac::util::buffer::OutBuf;
///
/// let mut buffer = OutBuf::new();
/// buffer.push(b"hello");
/// buffer.writer().extend(b" world"); // encoders append to a Vec
/// assert_eq!(buffer.data(), b"hello world");
/// buffer.sent(6); // what one write took
/// assert_eq!(buffer.data(), b"world");
/// ```
#[derive(Clone, Default)]
pub struct OutBuf {
    bytes: Vec<u8>,
    /// How many of `bytes` have been sent.
    start: usize,
}

impl OutBuf {
    /// An empty buffer, without memory until it is used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `bytes`.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Where an encoder appends. It may change what it appended itself (a length written last);
    /// what stood there before is not its to touch.
    pub fn writer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The first `count` bytes of [`data`](Self::data) are on their way.
    ///
    /// # Panics
    /// When there are not that many.
    pub fn sent(&mut self, count: usize) {
        assert!(count <= self.len(), "sent more than there was");
        self.start += count;
        if self.is_empty() {
            self.clear();
        } else if self.start > KEPT && self.start >= self.len() {
            self.bytes.drain(..mem::take(&mut self.start));
            self.bytes.shrink_to(KEPT);
        }
    }

    /// Forgets everything: its receiver is gone.
    pub fn clear(&mut self) {
        self.start = 0;
        self.bytes.clear();
        if self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
    }

    /// Everything that waits to be sent, in one piece.
    pub fn data(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Whether none wait.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes of memory this buffer holds.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

/// Shows the length alone: passwords and messages pass through.
impl fmt::Debug for InBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InBuf").field("len", &self.len()).finish()
    }
}

/// Shows the length alone: passwords and messages pass through.
impl fmt::Debug for OutBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutBuf").field("len", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Any mix of bytes in and bytes out, in any sizes, is a queue.
        #[test]
        fn both_are_queues(
            turns in proptest::collection::vec((0_usize..3 * FIRST, 0_usize..3 * FIRST), 0..50),
        ) {
            let (mut input, mut output) = (InBuf::new(), OutBuf::new());
            let mut model = VecDeque::new();
            let mut next = 0_u8;
            for (arriving, leaving) in turns {
                let bytes: Vec<u8> = (0..arriving).map(|i| next.wrapping_add(i as u8)).collect();
                next = next.wrapping_add(arriving as u8).wrapping_add(1);
                let space = input.space(arriving);
                prop_assert!(space.len() >= arriving);
                space[..arriving].copy_from_slice(&bytes);
                input.filled(arriving);
                output.push(&bytes);
                model.extend(bytes);

                let leaving = leaving.min(model.len());
                input.consume(leaving);
                output.sent(leaving);
                model.drain(..leaving);
                prop_assert_eq!(input.data(), model.make_contiguous());
                prop_assert_eq!(output.data(), model.make_contiguous());
                prop_assert_eq!((input.len(), output.len()), (model.len(), model.len()));
            }
        }
    }

    #[test]
    fn memory_is_given_back_once_a_burst_is_over() {
        let burst = vec![1; 10 * KEPT];
        let mut input = InBuf::new();
        input.space(burst.len())[..burst.len()].copy_from_slice(&burst);
        input.filled(burst.len());
        input.consume(burst.len());
        assert!(input.capacity() <= KEPT);

        let mut output = OutBuf::new();
        output.push(&burst);
        output.sent(burst.len());
        assert!(output.capacity() <= KEPT);
    }

    /// A busy stream rarely leaves a buffer empty: half a frame usually waits at its end.
    #[test]
    fn memory_is_given_back_even_if_the_buffer_never_runs_empty() {
        let burst = 10 * KEPT;
        let mut input = InBuf::new();
        input.space(burst);
        input.filled(burst);
        input.consume(burst - 1);
        while input.capacity() > KEPT {
            let room = input.space(FIRST).len();
            assert!(room <= 2 * burst, "it must not grow instead");
            input.filled(FIRST);
            input.consume(FIRST);
        }
        assert_eq!(input.len(), 1);

        let mut output = OutBuf::new();
        output.push(&vec![1; burst]);
        output.sent(burst - 1);
        assert!(output.capacity() <= KEPT);
        assert_eq!(output.len(), 1);
    }

    /// Small reads at the end of a large partial message must not copy the message each time.
    #[test]
    fn a_large_message_in_small_pieces_is_moved_a_few_times_only() {
        let mut input = InBuf::new();
        let (mut moves, mut before) = (0, input.bytes.as_ptr());
        for _ in 0..10_000 {
            input.space(100);
            input.filled(100);
            if input.bytes.as_ptr() != before {
                (moves, before) = (moves + 1, input.bytes.as_ptr());
            }
        }
        assert!(moves <= 12, "moved {moves} times");
    }

    #[test]
    fn what_passes_through_is_not_shown() {
        let (mut input, mut output) = (InBuf::new(), OutBuf::new());
        input.space(6)[..6].copy_from_slice(b"secret");
        input.filled(6);
        output.push(b"secret");
        assert_eq!(
            format!("{input:?} {output:?}"),
            "InBuf { len: 6 } OutBuf { len: 6 }"
        );
    }
}
