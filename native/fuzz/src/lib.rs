//! Fuzz targets of the native core. Each target compares the core with a slow second implementation
//! that uses `serde_json`, and panics where they differ.
//!
//! The differences that are intended are in `json.rs`.
#![forbid(unsafe_code)]

/// JSON as `serde_json` reads it, and what Forebay accepts beyond that or refuses of it.
pub mod json;

/// Request bodies made from any bytes.
pub mod draft;

/// The model of an event and of an envelope: which of them are refused, and why.
pub mod model;

/// Target: the JSON scanner.
pub mod scanner;

/// Target: the rules for bodies and events.
pub mod rules;

/// Target: the rows of events, and the plan of a flush.
pub mod rows;
