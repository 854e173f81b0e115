"""
The tables of the documentation, compared with the code.

If these tests fail: an operator looks up a setting, a metric or an error code that does not exist.
"""

import re
from pathlib import Path
from typing import Final

import msgspec
import prometheus_client
import pytest
from msgspec import Meta

from service import config
from service.config import Config
from service.obs import metrics
from service.reasons import CONFLICT_MESSAGES, ERROR_RESPONSES, Reason
from tests.docs.conftest import DOCS, ROOT
from tests.docs.tables import Rows, tables

ERRORS: Final = tables(DOCS / "api/ingestion.md")
REQUEST: Final = "The whole request"
EVENT: Final = "One event"
CONFLICT: Final = "One event that is not the first with its id"
# Two sections are called "One event": the first one has the paths.
PATHS: Final = 6
MEASURES: Final = (prometheus_client.Counter, prometheus_client.Gauge, prometheus_client.Histogram)
LINK: Final = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")
ANCHOR: Final = re.compile(r"\]\(([^)#\s:]*)#([^)]+)\)")
PAGES: Final = [*sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("*.md"))]
HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)


def test_every_reason_of_a_request_is_listed_with_its_status_and_its_retry_after() -> None:
    listed = {row[0]: row[1] for row in ERRORS[REQUEST]}
    expected = {
        reason.value: f"{fault.status}, `Retry-After: {fault.retry_after_s}`"
        if fault.retry_after_s is not None
        else str(fault.status)
        for reason, fault in ERROR_RESPONSES.items()
    }

    assert expected == listed


def test_every_reason_of_an_event_is_listed() -> None:
    rows = ERRORS[EVENT][PATHS:]
    expected = [reason for reason in Reason if reason not in {*ERROR_RESPONSES, *CONFLICT_MESSAGES}]

    assert expected == [row[0] for row in rows]
    assert list(CONFLICT_MESSAGES) == [row[0] for row in ERRORS[CONFLICT]]


def test_every_reason_says_when_it_happens_and_what_to_do() -> None:
    for row in ERRORS[REQUEST] + ERRORS[EVENT][PATHS:] + ERRORS[CONFLICT]:
        *_, when, cure = row
        assert when, row
        assert cure, row


def test_every_setting_is_listed_with_its_default_and_bounds() -> None:
    listed = tables(DOCS / "reference/settings.md")["Every setting"]

    assert setting_rows() == listed, "\n" + as_markdown(setting_rows())


def test_every_metric_is_listed_with_its_type_and_labels() -> None:
    listed = tables(DOCS / "reference/metrics.md")["Every metric"]

    assert sorted(metric_rows()) == sorted(listed), "\n" + as_markdown(metric_rows())


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if "decisions" not in page.parts],
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_the_target_of_every_link_exists(page: Path) -> None:
    for target, _ in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" not in target:
            there = (page.parent / target).resolve()
            assert there.exists(), f"{target} in {page.name}"
            assert there.is_relative_to(ROOT), f"{target} in {page.name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_heading_of_every_link_exists(page: Path) -> None:
    for target, anchor in ANCHOR.findall(page.read_text(encoding="utf-8")):
        linked = (page.parent / target).resolve() if target else page

        assert anchor in anchors(linked), f"{target}#{anchor} in {page.name}"


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub makes them."""
    headings = HEADING.findall(page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def setting_rows() -> Rows:
    """Return the rows of the page of settings, from the code."""
    url = [
        config.DATABASE_URL,
        "none",
        "a URL",
        "PostgreSQL to write to; `forebay serve` needs it.",
    ]
    rows = [url]
    for field in msgspec.structs.fields(Config):
        annotation = field.type
        meta = next(part for part in annotation.__metadata__ if isinstance(part, Meta))
        default = str(field.default)
        rows.append(
            [
                config.PREFIX + field.name.upper(),
                (default.lower() if isinstance(field.default, bool) else default) or "empty",
                range_of(annotation.__origin__, meta),
                str(meta.description),
            ]
        )
    return rows


def range_of(kind: object, meta: Meta) -> str:
    """Describe the allowed values."""
    choices = getattr(kind, "__args__", ())
    if choices:
        return ", ".join(choices)
    if kind is bool:
        return "true, false"
    if kind is str:
        return str((meta.extra or {}).get("form", "text"))
    low = f"from {meta.ge:,}" if meta.ge is not None else f"above {meta.gt:,} and up"
    return low if meta.le is None else f"{low} to {meta.le:,}"


def metric_rows() -> Rows:
    """Return the rows of the page of metrics, from the code."""
    rows = []
    for measure in vars(metrics).values():
        if isinstance(measure, MEASURES):
            (family, *_) = measure.collect()
            suffix = "_total" if family.type == "counter" else ""
            labels = ", ".join(measure._labelnames) or "none"
            rows.append([family.name + suffix, family.type, labels, family.documentation])
    return rows


def as_markdown(rows: Rows) -> str:
    """Return rows in Markdown, to be copied into the page."""
    lines = []
    for name, *cells in rows:
        lines.append(" | ".join([f"| `{name}`", *cells]) + " |")
    return "\n".join(lines)
