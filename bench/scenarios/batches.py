"""Batches of 50: how near the service comes to what the store can take at all."""

import functools
from typing import Final

from bench.experiment import Experiment, Step
from bench.figures import median
from bench.server import Server

NAME: Final = "batches"
CONNECTIONS: Final = (32, 128)
"""As for single events: so few that the service waits for them, and so many that it does not."""
EVENTS: Final = 50
WORKERS: Final = (1, 2)


def run(experiment: Experiment) -> None:
    """Measure service, store floor and peer with one and with two workers."""
    for workers in WORKERS:
        # The service first: the floor replays flushes as large as it makes.
        steps: list[Step] = [functools.partial(_service, experiment, workers)]
        steps.append(functools.partial(_store_floor, experiment, workers))
        if experiment.has_peer:
            steps.append(functools.partial(_peer, experiment, workers))
        experiment.alternating(steps)


def _service(experiment: Experiment, workers: int) -> None:
    with experiment.service(workers) as server:
        _send(experiment, server, side="service", workers=workers)


def _store_floor(experiment: Experiment, workers: int) -> None:
    for connections in CONNECTIONS:
        at = {"scenario": NAME, "connections": connections}
        rows = median(experiment.samples, "flush_rows", side="service", workers=workers, **at)
        assert rows is not None
        load = experiment.plan.load(0, batch=EVENTS)
        experiment.replay(round(rows), workers, load, at)


def _peer(experiment: Experiment, workers: int) -> None:
    with experiment.naive_peer(workers) as server:
        _send(experiment, server, side="naive", workers=workers)


def _send(experiment: Experiment, server: Server, **labels: object) -> None:
    for connections in CONNECTIONS:
        load = experiment.plan.load(connections, batch=EVENTS)
        experiment.send(server, load, {"scenario": NAME, **labels})
