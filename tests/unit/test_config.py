"""Settings: where they come from, and what a wrong one says."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from service import config
from service.config import Config, ConfigError

ROOT = Path(__file__).parents[2]
FIELDS = msgspec.structs.fields(Config)


def variable(field: str) -> str:
    return f"FOREBAY_{field.upper()}"


def another(value: Any) -> Any:
    """Return an allowed value that is not the default."""
    if isinstance(value, bool):
        return not value
    others = {"auto": "json", "info": "debug", "1.0": "2.0"}
    return others.get(value, "other") if isinstance(value, str) else value / 2


def as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if value == int(value or 0) else str(value)


def test_without_an_environment_the_defaults_count() -> None:
    assert Config() == config.load({})


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_setting_is_read_from_its_variable(field: msgspec.structs.FieldInfo) -> None:
    value = another(field.default)
    text = value if isinstance(value, str) else as_text(value)

    loaded = config.load({variable(field.name): text})

    assert loaded == msgspec.structs.replace(Config(), **{field.name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FOREBAY_PORT", "0"),
        ("FOREBAY_PORT", "65536"),
        ("FOREBAY_PORT", "http"),
        ("FOREBAY_PORT", ""),
        ("FOREBAY_PORT", "80.5"),
        ("FOREBAY_WORKERS", "0"),
        ("FOREBAY_PAYLOAD_BYTES_MAX", "1023"),
        ("FOREBAY_BODY_TIMEOUT_S", "0"),
        ("FOREBAY_BODY_TIMEOUT_S", "nan"),
        ("FOREBAY_BODY_TIMEOUT_S", "inf"),
        ("FOREBAY_SCHEMA_VERSION_DEFAULT", "v1"),
        ("FOREBAY_LOG_LEVEL", "loud"),
        ("FOREBAY_REQUEST_LOG", "perhaps"),
    ],
)
def test_a_wrong_value_is_refused_by_the_variables_name(name: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load({"FOREBAY_HOST": "::1", name: value})

    assert str(caught.value).startswith(f"{name}={value!r}: ")


@pytest.mark.parametrize("name", ["FOREBAY_PROT", "FOREBAY_", "FOREBAY_DATABASE_URL"])
def test_a_name_that_is_none_of_ours_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{name} is not a setting of Forebay"):
        config.load({name: "1"})


def test_other_names_are_none_of_our_business() -> None:
    assert Config() == config.load({"PORT": "1", "DATABASE_URL": "postgresql://", "PATH": "/"})


def test_the_environment_comes_first_and_the_file_fills_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("FOREBAY_PORT=1\nFOREBAY_WORKERS=3\nFOREBAY_BARE\n# a comment\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOREBAY_PORT", "2")

    loaded = config.load()

    assert (2, 3) == (loaded.port, loaded.workers)


def test_without_a_file_there_is_only_the_environment(tmp_path: Path) -> None:
    environment = config.read_environment(tmp_path / ".env")

    assert Config() == config.load(environment)


def test_the_database_is_read_from_the_file_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://somewhere/else\n")
    monkeypatch.chdir(tmp_path)

    assert config.database_url() == "postgresql://somewhere/else"


@pytest.mark.parametrize("environment", [{}, {"DATABASE_URL": ""}])
def test_no_database_is_none(environment: dict[str, str]) -> None:
    assert config.database_url(environment) is None


def test_lists_are_split_at_commas() -> None:
    loaded = config.load(
        {"FOREBAY_SCHEMA_VERSIONS_SUPPORTED": "1.0, 2.0 ,,", "FOREBAY_CORS_ORIGINS": ""}
    )

    assert {"1.0", "2.0"} == loaded.schema_versions
    assert frozenset() == loaded.origins


def test_the_example_file_is_what_the_code_says() -> None:
    assert config.example() == (ROOT / ".env.example").read_text()


def test_the_example_holds_every_default_and_a_comment_for_each() -> None:
    lines = config.example().splitlines()
    settings = [line for line in lines if line.startswith("FOREBAY_")]

    loaded = config.load(dict(line.split("=", 1) for line in settings))

    assert Config() == loaded
    assert len(FIELDS) == len(settings)
    assert all(lines[lines.index(line) - 1].startswith("# ") for line in settings)
    assert "#DATABASE_URL=" in config.example()
