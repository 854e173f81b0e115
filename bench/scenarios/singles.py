"""Single events: what the service adds to bare HTTP, from one connection to many."""

import functools
from typing import Final

from bench.experiment import Experiment, Step
from bench.server import Server

NAME: Final = "singles"
CONNECTIONS: Final = {1: (1, 8, 32, 64, 128), 2: (32, 128)}
"""By workers."""
PEER_CONNECTIONS: Final = (32,)


def run(experiment: Experiment, connections: dict[int, tuple[int, ...]] = CONNECTIONS) -> None:
    """Measure the bare HTTP server, the service with and without its request log, and the peer."""
    for workers, counts in connections.items():
        steps: list[Step] = [
            functools.partial(_http_floor, experiment, workers, counts),
            functools.partial(_service, experiment, workers, counts, request_log=False),
            functools.partial(_service, experiment, workers, counts, request_log=True),
        ]
        if experiment.has_peer:
            steps.append(functools.partial(_peer, experiment, workers))
        experiment.alternating(steps)


def _http_floor(experiment: Experiment, workers: int, counts: tuple[int, ...]) -> None:
    with experiment.http_floor(workers) as server:
        _send(experiment, server, counts, side="http_floor", workers=workers)


def _service(
    experiment: Experiment, workers: int, counts: tuple[int, ...], *, request_log: bool
) -> None:
    with experiment.service(workers, request_log=request_log) as server:
        labels = {"side": "service", "workers": workers, "request_log": request_log}
        _send(experiment, server, counts, **labels)


def _peer(experiment: Experiment, workers: int) -> None:
    with experiment.naive_peer(workers) as server:
        _send(experiment, server, PEER_CONNECTIONS, side="naive", workers=workers)


def _send(
    experiment: Experiment, server: Server, counts: tuple[int, ...], **labels: object
) -> None:
    for connections in counts:
        load = experiment.plan.load(connections)
        experiment.send(server, load, {"scenario": NAME, **labels})
