//! JSON: finds the kind and the position of each value in a body, without copying values.

/// Functions for strings: decode, encode, shorten for messages.
pub mod text;

/// The kind and the position of a value in the body.
pub mod value;

/// Errors in JSON, and JSON that cannot be stored.
pub mod error;

/// Scanning of strings, numbers, `true`, `false` and `null`.
pub mod token;

/// The digest of a value, which does not depend on how it is written.
pub mod digest;

/// Scanning of whole values, including objects and arrays.
pub mod scanner;

/// Finding of a member of an object.
pub mod member;
