//! A small seeded generator of numbers, for jitter and for tests. Not for secrets.

/// Splitmix64: one addition and a scramble per number, the same sequence for the same seed.
///
/// ```
/// use celeriac::util::random::Random;
///
/// let (mut one, mut other) = (Random::new(7), Random::new(7));
/// assert_eq!(one.next_u64(), other.next_u64());
/// ```
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator that starts from `seed`; any value is a good one.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number, each of the 2⁶⁴ as likely as the other.
    pub fn next_u64(&mut self) -> u64 {
        // The constants are those of Steele, Lea and Flood, "Fast splittable pseudorandom number
        // generators" (2014), in Vigna's version.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..limit`; `0` when `limit` is `0`.
    pub fn below(&mut self, limit: u64) -> u64 {
        // The high half of the product: no division, and a bias below limit / 2⁶⁴.
        ((u128::from(self.next_u64()) * u128::from(limit)) >> 64) as u64
    }

    /// A number in `0.0..1.0`.
    pub fn fraction(&mut self) -> f64 {
        // 53 bits are what an f64 holds exactly.
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_that_of_the_published_generator() {
        let mut random = Random::new(1_234_567);
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973];
        assert_eq!([random.next_u64(), random.next_u64()], expected);
    }

    #[test]
    fn ranges_are_kept_and_filled() {
        let mut random = Random::new(0);
        let mut seen = [false; 6];
        for _ in 0..200 {
            seen[random.below(6) as usize] = true;
            assert!((0.0..1.0).contains(&random.fraction()));
        }
        assert_eq!(seen, [true; 6]);
        assert_eq!(random.below(0), 0);
    }
}
