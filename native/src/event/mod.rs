//! Events: their fields, and the rules that each must pass.

/// Why an event or a body is refused.
pub mod violation;

/// The members of an event that have a meaning.
pub mod field;

/// Values that have the form of an API key.
pub mod api_key;

/// Timestamps as senders write them.
pub mod time;

/// The members of one event, and the event that passed every rule.
pub mod members;

/// The rules.
pub mod rules;

/// The whole body: one event, or a batch.
pub mod envelope;
