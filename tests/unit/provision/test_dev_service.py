"""
The service that a killed `forebay dev` has left behind.

If these tests fail: the next `forebay dev` starts beside a service that still stops, or does not
find the service of this one.
"""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from provision import dev_service
from provision.dev_service import only_one
from provision.process_lock import lock_file, try_lock

# A service that hangs: it has the lock, and ignores SIGTERM.
_HANGING: Final = """
import fcntl, os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
os.pwrite(lock, str(os.getpid()).encode(), 0)
print("ready", flush=True)
time.sleep(60)
"""


def test_a_service_that_hangs_is_killed_and_its_lock_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dev_service, "_LEFTOVER_TIMEOUT_S", 0.1)
    path = tmp_path / "service.lock"
    hanging = subprocess.Popen(
        [sys.executable, "-c", _HANGING, str(path)], stdout=subprocess.PIPE, start_new_session=True
    )
    with hanging:
        assert hanging.stdout is not None
        assert hanging.stdout.readline()

        with only_one(tmp_path), lock_file(path) as other:
            assert -signal.SIGKILL == hanging.wait(10)
            assert not try_lock(other)
