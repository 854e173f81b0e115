//! Rows: what is stored of each event.

/// The canonical content of an event, and its hash.
pub mod content;

/// The columns of an event, in the binary form of COPY.
pub mod row;

/// The rows of one request.
pub mod payload;

/// The rows of one flush: sorted, and one for each key.
pub mod plan;
