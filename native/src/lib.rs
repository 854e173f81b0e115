//! The native core of Forebay: bytes and numbers in, values out. No clock, no I/O, no panic.
//!
//! Read in this order: `envelope` walks the body, `event` gathers one event's members, `rules`
//! decides whether it is taken, `content` writes its one canonical form.

pub mod base36;
pub mod content;
pub mod envelope;
pub mod event;
pub mod fault;
pub mod field;
pub mod hash;
pub mod ids;
pub mod json;
#[cfg(feature = "panic-for-tests")]
pub mod planted;
pub mod rules;
pub mod text;
pub mod token;
pub mod value;
pub mod violation;

#[cfg(feature = "python")]
mod python;
