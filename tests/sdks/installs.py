"""Installs the clients with their own package managers, and says how their drivers are started."""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import ROOT
from tests.sdks.clients import SdkClient, Toolchain

FOLDER: Final = Path(__file__).parent
# On machines that must have Node or Chromium, a client that cannot be run is a failure, not a skip.
REQUIRED: Final = {
    Toolchain.NODE: "TESTS_REQUIRE_NODE",
    Toolchain.BROWSER: "TESTS_REQUIRE_CHROMIUM",
}
_REQUIREMENTS: Final = {
    Toolchain.PYTHON: ROOT / "requirements/sdks.txt",
    Toolchain.PYTHON_OLD: ROOT / "requirements/sdks-old.txt",
}
_NPM: Final = ("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts")
_MAVEN: Final = ("mvn", "--batch-mode", "--quiet", "compile", "dependency:copy-dependencies")
_CHROMIUM: Final = ("chromium", "chromium-browser", "google-chrome")
_INSTALL_TIMEOUT_S: Final = 240
_REASON_CHARACTERS: Final = 300


def command(sdk: SdkClient) -> tuple[list[str], Path]:
    """Return the command that starts the driver of *sdk*, and its working folder."""
    match sdk.toolchain:
        case Toolchain.PYTHON | Toolchain.PYTHON_OLD:
            return [str(_environment(sdk.toolchain) / "bin/python"), "send.py"], FOLDER / "python"
        case Toolchain.NODE:
            return ["node", "send.mjs"], FOLDER / "node"
        case Toolchain.BROWSER:
            return ["node", "drive.mjs", chromium() or ""], FOLDER / "browser"
        case Toolchain.GO:
            return [str(_go_folder(sdk) / "bin/send")], _go_folder(sdk)
        case Toolchain.JAVA:
            path = os.pathsep.join(("target/classes", "target/dependency/*"))
            return ["java", "-cp", path, "Send"], _java_folder(sdk)


def require(sdk: SdkClient) -> None:
    """Skip the test, or fail it on a machine that must have the toolchain, if *sdk* cannot run."""
    reason = missing(sdk)
    if reason is None:
        return
    if REQUIRED.get(sdk.toolchain, "") in os.environ:
        pytest.fail(reason)
    pytest.skip(f"not run: {reason}")


@functools.cache
def missing(sdk: SdkClient) -> str | None:
    """Install the client if it is not there yet; return the reason of a failure."""
    for program in _programs(sdk.toolchain):
        if shutil.which(program) is None:
            return f"{sdk.name} needs {program}, which is not on this machine"
    if sdk.toolchain is Toolchain.BROWSER and chromium() is None:
        return f"{sdk.name} needs Chromium, which is not on this machine"
    with _alone(sdk.toolchain):
        return _install(sdk)


@contextlib.contextmanager
def _alone(toolchain: Toolchain) -> Iterator[None]:
    """Let one test process install at a time."""
    with (ROOT / ".venv" / f"sdks-{toolchain}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(sdk: SdkClient) -> str | None:
    match sdk.toolchain:
        case Toolchain.PYTHON | Toolchain.PYTHON_OLD:
            return _install_python(sdk.toolchain)
        case Toolchain.NODE | Toolchain.BROWSER:
            return _install_npm(FOLDER / sdk.toolchain.value)
        case Toolchain.GO:
            return _run(["go", "build", "-o", "bin/send", "."], _go_folder(sdk))
        case Toolchain.JAVA:
            return _install_maven(_java_folder(sdk))


@functools.cache
def chromium() -> str | None:
    """Return the path of Chromium."""
    return next((path for name in _CHROMIUM if (path := shutil.which(name))), None)


def _programs(toolchain: Toolchain) -> tuple[str, ...]:
    return {
        Toolchain.PYTHON: (),
        Toolchain.PYTHON_OLD: (),
        Toolchain.NODE: ("node", "npm"),
        Toolchain.BROWSER: ("node", "npm"),
        Toolchain.GO: ("go",),
        Toolchain.JAVA: ("java", "mvn"),
    }[toolchain]


def _environment(toolchain: Toolchain) -> Path:
    return ROOT / ".venv" / ("sdks" if toolchain is Toolchain.PYTHON else "sdks-old")


def _go_folder(sdk: SdkClient) -> Path:
    return FOLDER / "go" / ("segment" if sdk.driver.startswith("segment") else "rudder")


def _java_folder(sdk: SdkClient) -> Path:
    return FOLDER / "java" / ("segment" if sdk.driver.startswith("segment") else "rudder")


def _install_python(toolchain: Toolchain) -> str | None:
    """Create an environment of its own: the packages of two clients exclude each other."""
    requirements, environment = _REQUIREMENTS[toolchain], _environment(toolchain)
    installed = environment / ".installed"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if installed.exists() and installed.read_text() == wanted:
        return None
    uv = Path(sys.executable).parent / "uv"
    python = environment / "bin/python"
    sync = ("pip", "sync", "--quiet", "--require-hashes", "--python", str(python))
    reason = _run([sys.executable, "-m", "venv", "--clear", str(environment)], ROOT) or _run(
        [str(uv), *sync, str(requirements)], ROOT
    )
    if reason is None:
        installed.write_text(wanted)
    return reason


def _install_npm(folder: Path) -> str | None:
    if _installed_npm(folder) == _wanted_npm(folder):
        return None
    reason = _run([*_NPM, "--silent"], folder)
    if reason is None and _installed_npm(folder) != _wanted_npm(folder):
        return f"npm did not install what {folder.name}/package.json names"
    return reason


def _wanted_npm(folder: Path) -> dict[str, str]:
    dependencies: dict[str, str] = json.loads((folder / "package.json").read_bytes())[
        "dependencies"
    ]
    return dependencies


def _installed_npm(folder: Path) -> dict[str, str]:
    """Return the installed versions of the wanted packages, from the list that npm writes last."""
    listed = folder / "node_modules/.package-lock.json"
    if not listed.exists():
        return {}
    packages = json.loads(listed.read_bytes())["packages"]
    installed = {
        path.removeprefix("node_modules/"): its["version"] for path, its in packages.items()
    }
    return {name: installed[name] for name in _wanted_npm(folder) if name in installed}


def _install_maven(folder: Path) -> str | None:
    built = folder / "target/.built"
    sources = [folder / "pom.xml", *folder.rglob("*.java")]
    if built.exists() and built.stat().st_mtime > max(path.stat().st_mtime for path in sources):
        return None
    reason = _run(list(_MAVEN), folder)
    if reason is None:
        built.touch()
    return reason


def _run(arguments: list[str], folder: Path) -> str | None:
    """Run a program; return the reason if it fails."""
    try:
        done = subprocess.run(
            arguments,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_INSTALL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{arguments[0]} did not end within {_INSTALL_TIMEOUT_S} s"
    if done.returncode == 0:
        return None
    said = (done.stderr or done.stdout).decode(errors="replace").strip()
    without_addresses = re.sub(r"https?://\S+", "<address>", said)
    return f"{Path(arguments[0]).name} failed: {without_addresses[:_REASON_CHARACTERS]}"
