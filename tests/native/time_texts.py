"""Texts for the parser of timestamps: forms of ISO 8601, numbers out of range, damaged texts."""

from typing import Final

from hypothesis import strategies as st

_YEARS: Final = st.sampled_from(["1970", "2024", "2026", "2026", "2000", "1969", "9999", "0001"])
_DATES: Final = st.one_of(
    st.builds("{}-{:02}-{:02}".format, _YEARS, st.integers(0, 13), st.integers(0, 32)),
    st.builds("{}-{}-{}".format, _YEARS, st.integers(0, 13), st.integers(0, 32)),
    st.builds("{}{:02}{:02}".format, _YEARS, st.integers(1, 12), st.integers(1, 31)),
    st.builds("{}-W{:02}-{}".format, _YEARS, st.integers(0, 54), st.integers(0, 8)),
    st.builds("{}W{:02}{}".format, _YEARS, st.integers(1, 53), st.integers(1, 7)),
    st.builds("{}-W{:02}".format, _YEARS, st.integers(1, 53)),
    st.builds("{}W{:02}".format, _YEARS, st.integers(1, 53)),
    st.sampled_from(["2026-03-01", "2026-02-28", "2024-02-29", "2026-060", "2026-03", "2026"]),
)
_FRACTIONS: Final = st.builds(
    "{}{}".format, st.sampled_from(".,"), st.text("0123456789", max_size=10)
)


def _clocks(hours: int) -> st.SearchStrategy[str]:
    two = st.builds("{:02}".format, st.integers(0, 60))
    hour = st.builds("{:02}".format, st.integers(0, hours))
    fraction = st.just("") | _FRACTIONS
    return st.one_of(
        hour,
        st.builds("{}:{}".format, hour, two),
        st.builds("{}{}".format, hour, two),
        st.builds("{}:{}:{}{}".format, hour, two, two, fraction),
        st.builds("{}{}{}{}".format, hour, two, two, fraction),
        st.builds("{}:{}{}{}".format, hour, two, two, fraction),
    )


_OFFSETS: Final = st.one_of(
    st.sampled_from(
        ["", "Z", "+00:00", "-00:00", "+05:30", "-0930", "+14", "z", " z", " +0100", " Z"]
    ),
    st.builds("{}{}".format, st.sampled_from("+-"), _clocks(24)),
)
_ISO: Final = _DATES | st.builds(
    "{}{}{}{}".format, _DATES, st.sampled_from("TTTTt _é😀0-W"), _clocks(24), _OFFSETS
)
_ALPHABET: Final = "0123456789012345678901234567890123456789:-+.,WTZz é٣"


@st.composite
def _damaged(draw: st.DrawFn) -> str:
    text = draw(_ISO)
    place = draw(st.integers(0, len(text)))
    taken = draw(st.integers(0, 2))
    return text[:place] + draw(st.text(_ALPHABET, max_size=2)) + text[place + taken :]


TIME_TEXTS: Final = _ISO | _damaged() | st.text(_ALPHABET, max_size=32)
