//! The manual: prose about the design and the use of celeriac, kept beside the code and compiled with it.
//!
//! | chapter | for whom |
//! |---|---|
//! | [Architecture](_01_architecture) | who reads or changes the code |
//! | [Embedding](_02_embedding) | who writes tasks in Rust, or uses the event loop for something else |
//! | [Operating](_03_operating) | who runs the worker |
//! | [Deviations](_04_deviations) | who comes from Celery: what differs, and why |
//!
//! The README has the first steps and the *Source layout* chapter.

pub mod _01_architecture;
pub mod _02_embedding;
pub mod _03_operating;
pub mod _04_deviations;
