//! The native core of Forebay: bytes and numbers in, values out. No clock, no I/O, no panic.
//!
//! Read in this order: `envelope` walks the body, `event` gathers one event's members, `rules`
//! decides whether it is taken; `rows` makes what is stored of a payload, with `content`, the one
//! canonical form of an event, and `row`, its form in the database; `plan` puts payloads together.
//! `digest` is the hash of a document, made by `json` as it reads the document.

pub mod base36;
pub mod content;
pub mod digest;
pub mod envelope;
pub mod event;
pub mod fault;
pub mod field;
pub mod hash;
pub mod ids;
pub mod json;
pub mod plan;
#[cfg(feature = "panic-for-tests")]
pub mod planted;
pub mod row;
pub mod rows;
pub mod rules;
pub mod text;
pub mod time;
pub mod token;
pub mod value;
pub mod violation;

#[cfg(feature = "python")]
mod python;
