"""
Settings: their sources, and the messages about invalid values.

If these tests fail: the service starts with wrong settings, or its message does not name the
invalid one.
"""

import os
import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Meta

from service import config
from service.config import Config, ConfigError
from service.setting_values import allowed

ROOT = Path(__file__).parents[2]
FIELDS = msgspec.structs.fields(Config)


def variable(field: str) -> str:
    return f"FOREBAY_{field.upper()}"


def another(value: Any) -> Any:
    """Return an allowed value that is not the default."""
    if isinstance(value, bool):
        return not value
    others = {"auto": "json", "info": "debug", "1.0": "2.0", "": "1.0", "*": "https://a.example"}
    if isinstance(value, str) and "/" in value:
        return "192.0.2.0/24"
    return others.get(value, "other") if isinstance(value, str) else value / 2


def as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if value == int(value or 0) else str(value)


def test_without_variables_the_defaults_apply() -> None:
    assert Config() == config.load({})


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_setting_is_read_from_its_variable(field: msgspec.structs.FieldInfo) -> None:
    value = "https://a.example" if field.name == "public_url" else another(field.default)
    text = value if isinstance(value, str) else as_text(value)

    loaded = config.load({variable(field.name): text})

    assert loaded == msgspec.structs.replace(Config(), **{field.name: value})


def odd_values(field: msgspec.structs.FieldInfo) -> list[str]:
    """Invalid values for settings of this kind."""
    kind = field.type.__origin__
    meta = next(part for part in field.type.__metadata__ if isinstance(part, Meta))
    if kind in {int, float}:
        low = meta.ge if meta.ge is not None else meta.gt or 0
        odd = ["", "ten", "10s", "10 000", "1_000", "1e3", "0x10", "nan", "inf", "-inf", "true"]
        odd += ["--1", "9" * 30, "9" * 5_000, str(low - 1), "\u0661\u0662", "1\n2"]
        return [*odd, "80.5" if kind is int else "1.2.3", str((meta.le or 0) + 1)]
    if kind is bool:
        return ["", "yes", "on", "2", "perhaps", "truefalse"]
    if typing.get_origin(kind) is typing.Literal:
        return ["", "loud", "info,debug", "json console"]
    if field.name == "public_url":
        odd = ["events.example.com", "ftp://a", "https://", "https://a?b", "https://user@a"]
        return [*odd, "HTTPS://a", "https://a/b//c", "https://ä", "https://a:x", "https://a b"]
    if "host" in field.name:
        return ["", " ", "two words", "a\tb"]
    return ["v1", "1.0;2.0", "one, two", "HTTPS://A.EXAMPLE", "https://a.example/path"]


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_a_wrong_value_is_one_sentence_that_names_variable_value_and_limit(
    field: msgspec.structs.FieldInfo,
) -> None:
    meta = next(part for part in field.type.__metadata__ if isinstance(part, Meta))

    for value in odd_values(field):
        with pytest.raises(ConfigError) as caught:
            config.load({variable(field.name): value})

        message = str(caught.value)
        assert message.startswith(f"{variable(field.name)}={value[:40]!r}"[:-1])
        assert message.endswith(allowed(field.type.__origin__, meta)), value
        assert message.isprintable()
        assert 300 > len(message)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_bounds_are_allowed_and_white_space_around_a_value_is_not_part_of_it(
    field: msgspec.structs.FieldInfo,
) -> None:
    meta = next(part for part in field.type.__metadata__ if isinstance(part, Meta))
    value = as_text(field.default) if not isinstance(field.default, str) else field.default
    good = [f" {value}\t", *(str(bound) for bound in (meta.ge, meta.le) if bound is not None)]

    for text in good:
        config.load({variable(field.name): text})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("log_level", "INFO", "info"),
        ("log_format", "Json", "json"),
        ("request_log", "FALSE", False),
        ("request_log", "1", True),
        ("host", "[::]", "[::]"),
        ("cors_origins", "https://a.example, http://localhost:3000,null", None),
        ("schema_versions_supported", "1.0,2.0.1", None),
        ("public_url", "https://events.example.com/", None),
        ("public_url", "http://[::1]:8000/a/b_c", None),
        ("drain_timeout_s", "0.5", 0.5),
    ],
)
def test_unambiguous_spellings_of_a_value_are_accepted(
    name: str, value: str, expected: object
) -> None:
    loaded = getattr(config.load({variable(name): value}), name)

    assert (value if expected is None else expected) == loaded


KUBERNETES = {
    "FOREBAY_PORT": "tcp://10.0.0.1:8000",
    "FOREBAY_SERVICE_HOST": "10.0.0.1",
    "FOREBAY_SERVICE_PORT": "8000",
    "FOREBAY_SERVICE_PORT_HTTP": "8000",
    "FOREBAY_PORT_8000_TCP": "tcp://10.0.0.1:8000",
    "FOREBAY_PORT_8000_TCP_PROTO": "tcp",
    "FOREBAY_PORT_8000_TCP_PORT": "8000",
    "FOREBAY_PORT_8000_TCP_ADDR": "10.0.0.1",
    "FOREBAY_METRICS_PORT": "tcp://[fd00::1]:9100",
    "FOREBAY_METRICS_SERVICE_HOST": "fd00::1",
    "FOREBAY_METRICS_SERVICE_PORT_PROM": "9100",
}


def test_variables_that_kubernetes_sets_for_services_are_ignored() -> None:
    environment = KUBERNETES | {"FOREBAY_WORKERS": "3"}

    assert msgspec.structs.replace(Config(), workers=3) == config.load(environment)
    assert sorted(KUBERNETES) == config.ignored_variables(environment)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FOREBAY_PORT", "tcp:/10.0.0.1:8000"),
        ("FOREBAY_PORT", "http://10.0.0.1:8000"),
        ("FOREBAY_HOST", ""),
        ("FOREBAY_SERVICE_HOST", "example.com;"),
        ("FOREBAY_SERVICE_PORT", "http"),
        ("FOREBAY_PORT_8000_TCP", "8000"),
        ("FOREBAY_PORT_TCP", "tcp://10.0.0.1:8000"),
        ("FOREBAY_SERVICE", "forebay"),
    ],
)
def test_a_variable_that_only_resembles_one_of_kubernetes_stops_the_start(
    name: str, value: str
) -> None:
    with pytest.raises(ConfigError, match=name):
        config.load({name: value})


def test_connect_timeout_of_the_url_applies_unless_the_setting_is_set() -> None:
    url = {"DATABASE_URL": "postgresql://u:p@h/d?connect_timeout=7"}

    assert 7.0 == config.load(url).connect_timeout_s
    assert 2.0 == config.load(url | {"FOREBAY_CONNECT_TIMEOUT_S": "2"}).connect_timeout_s


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"FOREBAY_PORT=1\xff\n", "is not UTF-8: byte 14"),
        (b"FOREBAY_PORT=1\nDATABASE_URL='postgresql://u:canary\n", "line 2, is not NAME=value"),
        (b"FOREBAY_PORT=1\nthis is not an assignment\n", "line 2, is not NAME=value"),
    ],
)
def test_an_invalid_env_file_is_reported_in_one_sentence(
    content: bytes, words: str, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        config.read_environment(tmp_path / ".env")

    assert words in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_virtual_environment_named_dot_env_is_ignored(tmp_path: Path) -> None:
    assert dict(os.environ) == config.read_environment(tmp_path)


def test_an_unreadable_env_file_is_reported_in_one_sentence(tmp_path: Path) -> None:
    loop = tmp_path / ".env"
    loop.symlink_to(loop)

    with pytest.raises(ConfigError, match=r"\.env cannot be read \(Too many levels"):
        config.read_environment(loop)


def test_the_last_of_several_lines_for_a_setting_applies(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfFOREBAY_X=1\r\nFOREBAY_X=2\r\n")

    assert "2" == config.read_environment(tmp_path / ".env")["FOREBAY_X"]


@pytest.mark.parametrize("name", ["FOREBAY_PROT", "FOREBAY_", "FOREBAY_DATABASE_URL"])
def test_an_unknown_name_with_the_prefix_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{name} is not a setting of Forebay"):
        config.load({name: "1"})


def test_other_variables_are_ignored() -> None:
    assert Config() == config.load({"PORT": "1", "DATABASE_URL": "postgresql://", "PATH": "/"})


def test_the_environment_has_precedence_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("FOREBAY_PORT=1\nFOREBAY_WORKERS=3\nFOREBAY_BARE\n# a comment\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOREBAY_PORT", "2")

    loaded = config.load()

    assert (2, 3) == (loaded.port, loaded.workers)


def test_without_a_file_only_the_environment_is_read(tmp_path: Path) -> None:
    environment = config.read_environment(tmp_path / ".env")

    assert Config() == config.load(environment)


def test_the_database_is_read_from_the_file_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://somewhere/else\n")
    monkeypatch.chdir(tmp_path)

    assert config.database_url() == "postgresql://somewhere/else"


@pytest.mark.parametrize("environment", [{}, {"DATABASE_URL": ""}])
def test_without_database_url_the_setting_is_none(environment: dict[str, str]) -> None:
    assert config.database_url(environment) is None


def test_lists_are_split_at_commas() -> None:
    loaded = config.load(
        {"FOREBAY_SCHEMA_VERSIONS_SUPPORTED": "1.0, 2.0 ,,", "FOREBAY_CORS_ORIGINS": ""}
    )

    assert {"1.0", "2.0"} == loaded.schema_versions
    assert frozenset() == loaded.origins


def test_the_example_file_is_up_to_date() -> None:
    assert config.example() == (ROOT / ".env.example").read_text()


def test_the_example_holds_every_default_and_a_comment_for_each() -> None:
    lines = config.example().splitlines()
    settings = [line for line in lines if line.startswith("FOREBAY_")]

    loaded = config.load(dict(line.split("=", 1) for line in settings))

    assert Config() == loaded
    assert len(FIELDS) == len(settings)
    assert all(lines[lines.index(line) - 1].startswith("# ") for line in settings)
    assert "#DATABASE_URL=" in config.example()
