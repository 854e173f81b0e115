//! The native core of Forebay: bytes and numbers in, values out. No clock, no I/O, no panic.
//!
//! The modules stand in the order in which an event passes them. Each uses only those above it.

/// Ids and keys, which depend on nothing else.
pub mod ids;
/// The panics that a test can ask for.
#[cfg(feature = "panic-for-tests")]
pub mod panic_for_tests;

/// From the bytes of a body to JSON values.
pub mod json;

/// From JSON values to events that passed every rule, or the reason why one is refused.
pub mod event;

/// From events to the rows of a flush, in the binary form that `PostgreSQL` reads.
pub mod rows;

/// The same as the Python module `service._native`.
#[cfg(feature = "python")]
mod python;
