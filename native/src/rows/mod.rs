//! The rows that store events.

/// The canonical content of an event, and its hash.
pub mod content;

/// The columns of an event, in the binary format of COPY.
pub mod row;

/// The rows of one request.
pub mod payload;

/// The rows of one flush: sorted, with one row for each key.
pub mod plan;
