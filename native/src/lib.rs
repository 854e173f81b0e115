//! The native core of Forebay. It has no clock, does no I/O, and never panics.
//!
//! The modules are in the order in which an event passes them. Each module uses only modules above
//! it.

/// Ids and ledger keys.
pub mod ids;
/// Panics that a test can cause.
#[cfg(feature = "panic-for-tests")]
pub mod panic_for_tests;

/// Scans the bytes of a body for JSON values.
pub mod json;

/// Makes events from JSON values, and checks them.
pub mod event;

/// Makes the rows of a flush from events, in the binary format of `PostgreSQL`.
pub mod rows;

/// The Python module `service._native`.
#[cfg(feature = "python")]
mod python;
