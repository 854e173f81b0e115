//! The members of an event that have a meaning, in both of their spellings.
#![forbid(unsafe_code)]

/// Every field has two spellings at most: ours, then that of Segment's SDKs.
pub const SPELLINGS: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    EventId,
    Type,
    Event,
    UserId,
    AnonymousId,
    GroupId,
    PreviousId,
    Name,
    Category,
    Timestamp,
    OriginalTimestamp,
    SentAt,
    Properties,
    Traits,
    Context,
    WriteKey,
}

/// What may stand in a field, besides null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Text or a number, which is taken as text; empty is absent.
    Id,
    /// Text; empty is absent.
    EventId,
    Text,
    Object,
    /// Anything: it is never kept.
    Secret,
}

impl Field {
    pub const COUNT: usize = 16;

    /// Every field, each at the place of its number.
    pub const ALL: [Self; Self::COUNT] = [
        Self::EventId,
        Self::Type,
        Self::Event,
        Self::UserId,
        Self::AnonymousId,
        Self::GroupId,
        Self::PreviousId,
        Self::Name,
        Self::Category,
        Self::Timestamp,
        Self::OriginalTimestamp,
        Self::SentAt,
        Self::Properties,
        Self::Traits,
        Self::Context,
        Self::WriteKey,
    ];

    /// The field with this name, and which of its spellings that is.
    #[must_use]
    pub fn find(name: &[u8]) -> Option<(Self, usize)> {
        Some(match name {
            b"event_id" => (Self::EventId, 0),
            b"messageId" => (Self::EventId, 1),
            b"type" => (Self::Type, 0),
            b"event" => (Self::Event, 0),
            b"user_id" => (Self::UserId, 0),
            b"userId" => (Self::UserId, 1),
            b"anonymous_id" => (Self::AnonymousId, 0),
            b"anonymousId" => (Self::AnonymousId, 1),
            b"group_id" => (Self::GroupId, 0),
            b"groupId" => (Self::GroupId, 1),
            b"previous_id" => (Self::PreviousId, 0),
            b"previousId" => (Self::PreviousId, 1),
            b"name" => (Self::Name, 0),
            b"category" => (Self::Category, 0),
            b"timestamp" => (Self::Timestamp, 0),
            b"original_timestamp" => (Self::OriginalTimestamp, 0),
            b"originalTimestamp" => (Self::OriginalTimestamp, 1),
            b"sent_at" => (Self::SentAt, 0),
            b"sentAt" => (Self::SentAt, 1),
            b"properties" => (Self::Properties, 0),
            b"traits" => (Self::Traits, 0),
            b"context" => (Self::Context, 0),
            b"writeKey" => (Self::WriteKey, 0),
            _ => return None,
        })
    }

    /// Its spellings, in the order of `find`; a field with only one has it twice.
    #[must_use]
    pub const fn names(self) -> [&'static str; SPELLINGS] {
        match self {
            Self::EventId => ["event_id", "messageId"],
            Self::Type => ["type", "type"],
            Self::Event => ["event", "event"],
            Self::UserId => ["user_id", "userId"],
            Self::AnonymousId => ["anonymous_id", "anonymousId"],
            Self::GroupId => ["group_id", "groupId"],
            Self::PreviousId => ["previous_id", "previousId"],
            Self::Name => ["name", "name"],
            Self::Category => ["category", "category"],
            Self::Timestamp => ["timestamp", "timestamp"],
            Self::OriginalTimestamp => ["original_timestamp", "originalTimestamp"],
            Self::SentAt => ["sent_at", "sentAt"],
            Self::Properties => ["properties", "properties"],
            Self::Traits => ["traits", "traits"],
            Self::Context => ["context", "context"],
            Self::WriteKey => ["writeKey", "writeKey"],
        }
    }

    #[must_use]
    pub const fn shape(self) -> Shape {
        match self {
            Self::EventId => Shape::EventId,
            Self::UserId | Self::AnonymousId | Self::GroupId | Self::PreviousId => Shape::Id,
            Self::Type
            | Self::Event
            | Self::Name
            | Self::Category
            | Self::Timestamp
            | Self::OriginalTimestamp
            | Self::SentAt => Shape::Text,
            Self::Properties | Self::Traits | Self::Context => Shape::Object,
            Self::WriteKey => Shape::Secret,
        }
    }
}

/// What an event may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    Track,
    Identify,
    Page,
    Screen,
    Group,
    Alias,
}

impl EventType {
    pub const ALL: [Self; 6] = [
        Self::Track,
        Self::Identify,
        Self::Page,
        Self::Screen,
        Self::Group,
        Self::Alias,
    ];

    /// All of them, as a message names them.
    pub const NAMES: &'static str = "track, identify, page, screen, group, alias";

    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Some(match name {
            "track" => Self::Track,
            "identify" => Self::Identify,
            "page" => Self::Page,
            "screen" => Self::Screen,
            "group" => Self::Group,
            "alias" => Self::Alias,
            _ => return None,
        })
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Track => "track",
            Self::Identify => "identify",
            Self::Page => "page",
            Self::Screen => "screen",
            Self::Group => "group",
            Self::Alias => "alias",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_each_of_its_names() {
        for name in [
            "event_id",
            "userId",
            "previousId",
            "sent_at",
            "context",
            "writeKey",
        ] {
            let (field, spelling) = Field::find(name.as_bytes()).unwrap();

            assert_eq!(name, field.names()[spelling]);
        }
        assert_eq!(None, Field::find(b"eventId"));
        assert_eq!(Field::COUNT, Field::WriteKey as usize + 1);
    }

    #[test]
    fn the_message_names_every_type() {
        for name in EventType::NAMES.split(", ") {
            assert_eq!(name, EventType::find(name).unwrap().name());
        }
    }
}
