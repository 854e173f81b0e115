//! The JSON of a body: where each value stands, and what it is. No value is copied.

/// Strings: unescaped, quoted, shortened for a message.
pub mod text;

/// A value of the body: its kind and its place.
pub mod value;

/// Why a body is not JSON, and what of JSON cannot be stored.
pub mod error;

/// Strings, numbers and words.
pub mod token;

/// The hash of a value, the same for each way to write it.
pub mod digest;

/// Objects and arrays, one after the other.
pub mod scanner;
