"""
A stop or a missing resource during the start of the service.

If these tests fail: an operator cannot stop a service that is starting, or gets a traceback instead
of a sentence.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.conftest import MakeService
from tests.acceptance.running import HOST, ROOT, Service, until

START_S: Final = 30.0
# Of the resolver: a stop that waits for it fails the test.
LOOK_UP_S: Final = 120
# What the resolver does is not ours: it stands in for one that does not answer.
SLOW_RESOLVER: Final = f"""
import os, socket, time
def getaddrinfo(*_args, **_options):
    print("looks up", flush=True)
    time.sleep({LOOK_UP_S})
socket.getaddrinfo = getaddrinfo
"""
# Of a folder that another service has left: the start looks whether it is locked.
METRICS_LOCK: Final = "forebay-metrics-other/lock"
SAYS_WHAT_IT_OPENS: Final = """
import os, sys
def say(event, details):
    if event == "open" and str(details[0]).endswith((".env", "/lock")):
        os.write(1, b"opens " + b"/".join(os.fsencode(details[0]).split(b"/")[-2:]) + b"\\n")
sys.addaudithook(say)
"""
EXIT_S: Final = 25.0


@pytest.mark.parametrize(
    ("variable", "number"), [("DATABASE_URL", signal.SIGTERM), ("FOREBAY_HOST", signal.SIGINT)]
)
async def test_a_stop_does_not_wait_for_the_resolver(
    make_service: MakeService, variable: str, number: signal.Signals
) -> None:
    service = make_service()
    _customize(service, SLOW_RESOLVER)
    url = service._environment["DATABASE_URL"]
    given = {"DATABASE_URL": url.replace(HOST, "db.invalid"), "FOREBAY_HOST": "forebay.invalid"}
    service._environment[variable] = given[variable]
    service.spawn()
    await until(partial(_says, service, "looks up"), START_S, "it looks the name up")
    service.signal(number)
    assert await service.wait(EXIT_S) == 0
    assert service.complaints == ""


@pytest.mark.parametrize(
    ("place", "number"), [(".env", signal.SIGTERM), (METRICS_LOCK, signal.SIGINT)]
)
async def test_a_stop_works_before_and_after_the_wait_for_the_database(
    make_service: MakeService, place: str, number: signal.Signals
) -> None:
    """
    The kernel ignores signals without a handler for the first process of a container.

    The service stops in between: it opens a pipe without a writer.
    """
    service = make_service()
    _stand_still_at(service, service.folder / place)
    service.spawn()
    await until(partial(_says, service, f"opens {place}"), START_S, "it opens the pipe")
    service.signal(number)
    assert await service.wait(EXIT_S) == 0
    assert service.complaints == ""


async def test_a_metrics_port_taken_during_the_start_is_reported_in_one_sentence(
    make_service: MakeService,
) -> None:
    service = make_service()
    pipe = service.folder / METRICS_LOCK
    _stand_still_at(service, pipe)
    service.spawn()
    await until(partial(_says, service, f"opens {METRICS_LOCK}"), START_S, "it opens the pipe")
    with socket.create_server((HOST, service.metrics_port)):
        os.close(os.open(pipe, os.O_WRONLY))
        assert await service.wait(EXIT_S) == 1
    assert service.complaints == (
        f"forebay: cannot listen on port {service.metrics_port} of {HOST} (Address already in use):"
        " set FOREBAY_METRICS_PORT\n"
    )


async def test_a_missing_temporary_folder_is_reported_in_one_sentence(
    make_service: MakeService,
) -> None:
    """No process of the service may write to a file, as on a read-only file system."""
    service = make_service()
    # Nor can a measurement of coverage, which would complain.
    environment = {k: v for k, v in service._environment.items() if "COVERAGE" not in k}
    done = await asyncio.to_thread(
        subprocess.run,
        ["prlimit", "--fsize=0", sys.executable, "-m", "service"],
        cwd=service.folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=START_S,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("forebay: no temporary folder can be written (")
    assert done.stderr.endswith("): set TMPDIR, or mount /tmp\n")
    assert done.stderr.count("\n") == 1


def _stand_still_at(service: Service, pipe: Path) -> None:
    """Let the service block when it opens a file: the file is a pipe without a writer."""
    pipe.parent.mkdir(exist_ok=True)
    os.mkfifo(pipe)
    an_hour_ago = time.time() - 3600
    os.utime(pipe.parent, (an_hour_ago, an_hour_ago))
    service._environment["TMPDIR"] = str(service.folder)
    _customize(service, SAYS_WHAT_IT_OPENS)


def _customize(service: Service, code: str) -> None:
    """Let the service's interpreter run *code* first."""
    folder = service.folder / "modules"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    service._environment["PYTHONPATH"] = f"{folder}{os.pathsep}{ROOT}"


async def _says(service: Service, text: str) -> bool:
    return text in service.log
