"""
The container files, compared with their specification, with each other and with the code.

The tests read the files; no container engine builds them.

If these tests fail: `make up` or an image does not start, loses events at a stop, or is restarted
while its database is away.
"""

import json
import re
import subprocess
import sys
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from service.config import Config
from service.parent import KILL_GRACE_S
from service.store.connections import connections_per_worker
from tests.docs.conftest import ROOT

COMPOSE: Final = ROOT / "docker-compose.yml"
DOCKERFILE: Final = (ROOT / "Dockerfile").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """Return the services of the compose file, merged as YAML merges them."""
    return dict(YAML(typ="safe").load(COMPOSE)["services"])


def test_the_compose_file_is_one_by_the_specification() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "check_jsonschema"),
            *("--builtin-schema", "vendor.compose-spec", str(COMPOSE)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_service_starts_after_the_migrations_of_a_healthy_postgresql(
    services: dict[str, Any],
) -> None:
    migrate, forebay = services["migrate"], services["forebay"]

    assert migrate["command"] == ["provision", "migrate"]
    assert migrate["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert forebay["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_the_service_has_time_to_drain(services: dict[str, Any]) -> None:
    grace_s = int(services["forebay"]["stop_grace_period"].removesuffix("s"))

    assert grace_s > Config().drain_timeout_s + KILL_GRACE_S


def test_postgresql_has_room_for_the_workers_of_an_upgrade(services: dict[str, Any]) -> None:
    (setting,) = [part for part in services["postgres"]["command"] if "max_connections" in part]
    settings = Config()
    # The old and the new release side by side, and some for people.
    needed = 2 * settings.workers * connections_per_worker(settings) + 10

    assert int(setting.rpartition("=")[2]) >= needed


def test_no_setting_of_the_compose_file_may_lose_an_acknowledged_event(
    services: dict[str, Any],
) -> None:
    command = " ".join(services["postgres"]["command"])

    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        assert f"-c{setting}" not in command


def test_only_the_service_is_published_and_on_loopback(services: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}

    assert {"forebay"} == set(published)
    for port in published["forebay"]:
        assert port.startswith("${PUBLISH_ADDRESS:-127.0.0.1}:")


def test_every_setting_of_the_container_files_exists(services: dict[str, Any]) -> None:
    named = {name for service in services.values() for name in service.get("environment", {})}
    settings = {f"FOREBAY_{field.upper()}" for field in Config.__struct_fields__}

    assert {name for name in named if name.startswith("FOREBAY_")} <= settings
    assert set(re.findall(r"\b(FOREBAY_\w+)[:=]", DOCKERFILE)) <= settings


def test_the_image_is_pinned_runs_as_an_ordinary_user_and_stops_in_order() -> None:
    images = re.findall(r"^ARG \w+=(\S+)$", DOCKERFILE, re.MULTILINE)

    assert len(images) == 2
    assert all(re.search(r":\d+\.\d+\.\d+-slim-\w+$", image) for image in images), images
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert "\nSTOPSIGNAL SIGTERM\n" in DOCKERFILE
    assert json.loads(DOCKERFILE.rpartition("\nCMD ")[2]) == ["forebay", "serve"]


def test_packages_come_into_the_image_by_their_hashes_only() -> None:
    installs = re.findall(r"pip .*?install (.*?)(?:\n[A-Z#]|\n\n)", DOCKERFILE, re.DOTALL)

    assert len(installs) == 3
    assert all("--no-deps" in install for install in installs)
    assert all("--require-hashes" in text or "/wheels/*.whl" in text for text in installs)


def test_what_the_image_is_built_from_is_let_through_by_dockerignore() -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_through = {line[1:] for line in ignore if line.startswith("!")}
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    copied = {source.split("/")[0] for sources in copies for source in sources.split()}

    assert let_through == copied
    assert all((ROOT / source).exists() for source in copied)


def test_the_service_knows_its_database_and_nothing_but_the_password_is_secret(
    services: dict[str, Any],
) -> None:
    for name in ("migrate", "forebay"):
        environment = services[name]["environment"]
        assert environment["DATABASE_URL"] == "postgresql://forebay@postgres:5432/forebay"
        assert environment["PGPASSWORD"] == services["postgres"]["environment"]["POSTGRES_PASSWORD"]


def test_a_database_that_is_away_makes_no_container_of_the_image_unhealthy() -> None:
    """Orchestrators restart unhealthy containers."""
    (check,) = re.findall(r"^HEALTHCHECK .*?CMD (\[.*?\])$", DOCKERFILE, re.MULTILINE | re.DOTALL)
    program, option, code = json.loads(check)

    assert (program, option) == ("python", "-c")
    assert "'/health/live'" in code
    compile(code, "HEALTHCHECK", "exec")


def test_compose_waits_until_events_can_be_stored(services: dict[str, Any]) -> None:
    kind, program, option, code = services["forebay"]["healthcheck"]["test"]

    assert (kind, program, option) == ("CMD", "python", "-c")
    port = services["forebay"]["environment"]["FOREBAY_PORT"]
    assert f"'http://127.0.0.1:{port}/health/ready'" in code
    compile(code, "healthcheck", "exec")
