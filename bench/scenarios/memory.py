"""A long form: ten minutes of batches, and what the largest worker holds all the while."""

import threading
from typing import Final

from bench.experiment import Experiment
from bench.scenarios.batches import CONNECTIONS, EVENTS
from bench.server import Server

NAME: Final = "memory"
WORKERS: Final = 2
# Ten minutes at five seconds a sample, so that --seconds shortens it for a trial.
_SAMPLES_LONG: Final = 120
_LOOKS: Final = 120


def run(experiment: Experiment) -> None:
    """Send batches in a closed loop and look at the memory as it goes."""
    seconds = experiment.plan.seconds * _SAMPLES_LONG
    load = experiment.plan.load(min(CONNECTIONS), batch=EVENTS)._replace(seconds=seconds)
    with experiment.service(WORKERS) as server:
        watch = Watch(server, seconds / _LOOKS)
        watch.start()
        try:
            labels = {"scenario": NAME, "side": "service", "workers": WORKERS}
            sample = experiment.send(server, load, labels)
        finally:
            watch.stop()
    sample["rss_bytes"] = watch.seen


class Watch(threading.Thread):
    """Looks at the memory of the largest worker again and again."""

    def __init__(self, server: Server, pause_s: float) -> None:
        super().__init__(daemon=True)
        self.seen: list[int] = []
        self._server = server
        self._pause_s = pause_s
        self._stopped = threading.Event()

    def run(self) -> None:
        """Look until told to stop."""
        while not self._stopped.wait(self._pause_s):
            self.seen.append(self._server.rss_bytes())

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        self.join()
