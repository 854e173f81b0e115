"""Random valid events as senders may write them, in every spelling; only times may be invalid."""

import json
import random
from typing import Any, Final

from service.model import EVENT_TYPES
from tests.reference import DOCUMENTS, IDS, SPELLINGS, TIMES, Member, Spelled

_TEXTS: Final = (
    *("a", "b", "user-1", "Größe", "/", '"', "\\", "\\u0041", "a\nb\t", " "),
    *("\x01\x1f", "\x7f\x85", "\u2028", "😀é", "\ud7ff\ue000\uffff", "𐀀\U0010ffff", "x" * 300),
)
_EVENT_IDS: Final = (*"abc", " ", "é" * 100, "😀", '"\\/', "00000000000a1")
_NUMBERS: Final = (
    *("0", "-0", "1", "-1E+2", "1.50e3", "0.0e-0", "1e308", "-2.5e-308"),
    *("12345678901234567890123", "0.1000000000000000055511151231257827"),
)
_DATES: Final = ("2026-02-28", "2026-03-01", "20260301", "2026-3-01", "2026-2-28")
_CLOCKS: Final = (
    "00",
    "01:30",
    "0459",
    "07:00:00",
    "080001.5",
    "11:59:59,999999999",
    "10:00:00.25",
)
_OFFSETS: Final = ("", "Z", "+05:30", "-0030", "+01:00:00", "-12")
_BAD_TIMES: Final = (
    *("soon", "1969-12-31", "2026-02-30", "2027-01-01", "9999-12-31T23:59:59-01:00", "2026-03-01T"),
    *(
        "1970-01-01",
        "9999-12-31T23:59:59.999999Z",
    ),  # valid after a correction by the time of sending
)
_TIME_NUMBERS: Final = (
    *("1772366400", "1772280000", "1772366399.999", "1772280000.1234567"),
    *("1772366400000", "1772280000123", "1772366399999.5", "1000000000", "9999999999999"),
)
_BAD_TIME_NUMBERS: Final = ("0", "-0", "7", "17723664000", "-1772366400", "1.7723664e9")
_SPACES: Final = ("", "", " ", "\n\t", "\r ")
_UNKNOWN: Final = ("plan", "userid", "Type", "é", "", "a.b", "messageID", "library")
_NEEDED: Final = {
    "track": ("event",),
    "identify": ("user_id",),
    "group": ("group_id",),
    "alias": ("previous_id", "user_id"),
}
_OPTIONAL: Final = (
    *(*IDS, "event", "name", "category", *DOCUMENTS),
    *TIMES,
    "writeKey",
)


class Pen(random.Random):
    """Writes random events; the same seed writes the same events."""

    def body(self) -> tuple[list[list[Member]], dict[str, str], bytes]:
        """Return the events of a batch, the other members of the envelope, and the body."""
        events = [self.event() for _ in range(self.randint(1, 12))]
        if self.random() < 0.3:
            events.append(self.rewritten_event(self.choice(events)))
        envelope: dict[str, str] = {}
        if self.random() < 0.6:
            envelope["context"] = self.object() if self.random() < 0.9 else self.no_object()
        if self.random() < 0.5:
            text = self.good_time_value()
            envelope[self.choice(["sent_at", "sentAt"])] = self.choice([text, text, "null", '""'])
        texts = [
            self.joined("{}", [f"{name}:{value}" for name, value in event]) for event in events
        ]
        batch = self.joined("[]", texts)
        members = [f"{json.dumps(name)}:{value}" for name, value in envelope.items()]
        members.insert(self.randint(0, len(members)), f'"batch":{batch}')
        return events, envelope, self.joined("{}", members).encode()

    def event(self) -> list[Member]:
        """Return the members of an event."""
        event_type = self.choice(EVENT_TYPES)
        needed = _NEEDED.get(event_type, ())
        members = [Member(self.text("type"), self.text(event_type))]
        for name in needed:
            members += self.spelled(name, self.text(self.choice(_TEXTS)))
        for name in _OPTIONAL:
            if name not in needed and self.random() < 0.5:
                members += self.spelled(name, self.field(name))
        for name in self.sample(_UNKNOWN, self.choice([0, 0, 1, 3])):
            members.append(Member(self.text(name), self.value()))
        self.shuffle(members)
        return members

    def rewritten_event(self, event: list[Member]) -> list[Member]:
        """Return the same event in another JSON form, with its members in another order."""
        members = [Member(self.rewritten(name), self.rewritten(value)) for name, value in event]
        return self.sample(members, len(members))

    def rewritten(self, text: str) -> str:
        """Return the same value in another JSON form."""
        return self._written(json.loads(text, parse_int=Spelled, parse_float=Spelled))

    def _written(self, value: Any) -> str:
        match value:
            case Spelled():
                return str(value)
            case str():
                return self.text(value)
            case list():
                return self.joined("[]", [self._written(each) for each in value])
            case dict():
                members = [
                    f"{self.text(name)}{self.choice(_SPACES)}:{self._written(each)}"
                    for name, each in value.items()
                ]
                return self.joined("{}", self.sample(members, len(members)))
        return json.dumps(value)

    def field(self, name: str) -> str:
        """Return a valid value of the field."""
        if self.random() < 0.1:
            return "null"
        if name == "writeKey":
            return self.value()
        if name in DOCUMENTS:
            return self.object() if self.random() < 0.9 else self.no_object()
        if name in IDS and self.random() < 0.3:
            return self.number()
        if name in TIMES and self.random() < 0.2:
            return self.time_number()
        return self.text(self.choice([self.field_text(name)] * 5 + [""]))

    def field_text(self, name: str) -> str:
        """Return a valid text of the field."""
        if name == "event_id":
            texts: list[str] = [*_EVENT_IDS, str(self.random())]
        elif name in TIMES:
            texts = [*_BAD_TIMES] if self.random() < 0.05 else [self.good_time()]
        else:
            texts = [*_TEXTS]
        return self.choice(texts)

    def good_time(self) -> str:
        """Return a time near the arrival of a test's events."""
        clock = self.choice(_CLOCKS) + self.choice(_OFFSETS)
        return self.choice(_DATES) + self.choice(["", self.choice("Tt ") + clock])

    def time_number(self) -> str:
        return self.choice(_BAD_TIME_NUMBERS if self.random() < 0.05 else _TIME_NUMBERS)

    def good_time_value(self) -> str:
        """Return the JSON of a time near the arrival of a test's events."""
        if self.random() < 0.2:
            return self.choice(_TIME_NUMBERS)
        return self.text(self.good_time())

    def no_object(self) -> str:
        """Return what senders write instead of an empty object."""
        return self.choice(["null", "[]", "[ \n]"])

    def spelled(self, name: str, value: str) -> list[Member]:
        """Return a value under one of the field's names, or under two of them."""
        names = [name, *SPELLINGS.get(name, ())]
        if name not in SPELLINGS or self.random() < 0.6:
            return [Member(self.text(self.choice(names)), value)]
        others = [value, "null", *(['""'] if name in IDS else [])]
        if value.startswith('"'):
            others.append(self.text(json.loads(value)))
        elif name in IDS and value != "null":
            others.append(json.dumps(value))
        pair = [value, self.choice(others)]
        self.shuffle(pair)
        names = self.sample(names, 2)
        return [Member(self.text(each), own) for each, own in zip(names, pair, strict=True)]

    def value(self, depth: int = 0) -> str:
        """Return any JSON."""
        kind = self.randint(0, 3 if depth > 3 else 5)
        if kind == 0:
            return self.choice(["null", "true", "false"])
        if kind == 1:
            return self.number()
        if kind <= 3:
            return self.text(self.choice(_TEXTS))
        if kind == 4:
            return self.object(depth)
        return self.joined("[]", [self.value(depth + 1) for _ in range(self.randint(0, 3))])

    def object(self, depth: int = 0) -> str:
        """Return an object; some names occur twice."""
        names = [
            self.text(self.choice(["a", "b", "ip", "traits", *_TEXTS]))
            for _ in range(self.randint(0, 4))
        ]
        return self.joined("{}", [f"{name}:{self.value(depth + 1)}" for name in names])

    def number(self) -> str:
        return self.choice([self.choice(_NUMBERS), str(self.getrandbits(90)), repr(self.gauss())])

    def text(self, text: str) -> str:
        """Return *text* as JSON: as UTF-8, in ASCII, or with only escapes."""
        units = text.encode("utf-16-be")
        escapes = (f"\\u{units[at] << 8 | units[at + 1]:04X}" for at in range(0, len(units), 2))
        bare = json.dumps(text, ensure_ascii=False)
        slashed = bare.replace("/", "\\/")
        return self.choice([bare, bare, json.dumps(text), slashed, f'"{"".join(escapes)}"'])

    def joined(self, brackets: str, parts: list[str]) -> str:
        """Return *parts* in brackets, with random white space."""
        space = self.choice(_SPACES)
        return f"{brackets[0]}{space}{f'{space},'.join(parts)}{space}{brackets[1]}"
