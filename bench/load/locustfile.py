"""
The users, for locust; `python -m bench.load` starts locust with this file.

Environment: LOAD_KEYS, the keys of the tenants; LOAD_SECONDS, the length of the run; LOAD_TALLY,
the file for the counts.
"""

import itertools
import os
import time
from pathlib import Path
from typing import Any, Final

import gevent
from locust import FastHttpUser, between, events, task

from bench.load.requests import RequestMix, UserRequest
from bench.load.tally import Tally

KEYS: Final = itertools.cycle(os.environ["LOAD_KEYS"].split())
SECONDS: Final = int(os.environ["LOAD_SECONDS"])
_PROGRESS_S: Final = 5

tally: Final = Tally()
started: Final = time.monotonic()


class LoadUser(FastHttpUser):
    """A sender with the key of one tenant; it pauses after each answer."""

    wait_time = between(0.05, 0.15)
    network_timeout = 15.0
    connection_timeout = 5.0

    def on_start(self) -> None:
        """Take the key of the next tenant."""
        self._key = next(KEYS)
        self._mix = RequestMix()

    @task
    def send(self) -> None:
        """Send one request and check its answer."""
        request = self._mix.next()
        tally.count_sent(request)
        began = time.perf_counter()
        with self.client.post(
            request.path,
            data=request.body,
            headers={"Content-Type": "application/json", "X-API-Key": self._key},
            name=_name(request),
            catch_response=True,
        ) as response:
            latency_ms = (time.perf_counter() - began) * 1000
            fault = request.fault_in(response.status_code, response.content or b"")
            tally.count_answer(request, fault, latency_ms)
            tally.seconds = time.monotonic() - started
            if fault is None:
                response.success()
                self._mix.remember(request)
            else:
                response.failure(fault)


def _name(request: UserRequest) -> str:
    if request.is_to_be_refused:
        return f"{request.path} (to be refused)"
    return f"{request.path} (sent again)" if request.is_retry else request.path


@events.test_start.add_listener
def begin(**_: Any) -> None:
    """Print the progress every few seconds."""
    gevent.spawn(_report_progress)


@events.quitting.add_listener
def end(environment: Any, **_: Any) -> None:
    """Exit with 0: `python -m bench.load` decides about the exit code."""
    environment.process_exit_code = 0


@events.quit.add_listener
def hand_over(**_: Any) -> None:
    """Save the counts when all users have stopped."""
    tally.write(Path(os.environ["LOAD_TALLY"]))


def _report_progress() -> None:
    while True:
        gevent.sleep(_PROGRESS_S)
        print(
            f"load: {time.monotonic() - started:3.0f}/{SECONDS} s"
            f"  {tally.requests:,} requests  {tally.accepted:,} events accepted"
            f"  {tally.requests - tally.answered:,} failed  p50 {tally.percentile_ms(0.5):.1f} ms",
            flush=True,
        )
