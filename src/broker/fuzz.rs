//! The body of the fuzz target `broker`.

/// Placeholder.
pub fn fuzz_broker(_data: &[u8]) {}
