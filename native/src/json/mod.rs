//! The JSON of a body: the kind of each value and its position. No value is copied.

/// Strings: unescaped, quoted, shortened for a message.
pub mod text;

/// A value of the body: its kind and its position.
pub mod value;

/// Why a body is not JSON, and which JSON cannot be stored.
pub mod error;

/// Strings, numbers and words.
pub mod token;

/// The hash of a value, the same for each way to write it.
pub mod digest;

/// Objects and arrays.
pub mod scanner;
