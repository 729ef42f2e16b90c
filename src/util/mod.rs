//! Small helpers without I/O, clock or knowledge of anything else in the crate.

pub mod backoff;
pub mod buffer;
pub mod glob;
pub mod lamport;
pub mod limited_set;
pub mod random;
pub mod slots;
pub mod span;
pub mod token_bucket;
pub mod topological;
