//! Events: their fields, and the rules that check them.

/// Reasons why an event or a body is refused.
pub mod violation;

/// The known members of an event.
pub mod field;

/// Values that have the form of an API key.
pub mod api_key;

/// Parsing of timestamps.
pub mod time;

/// The members of one event, and the type of an event that passed all rules.
pub mod members;

/// The rules for events.
pub mod rules;

/// Scanning of a whole body: one event, or a batch.
pub mod envelope;

/// The time of an event by the clock of the service.
pub mod correction;
