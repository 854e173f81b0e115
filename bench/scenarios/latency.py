"""Single events at a constant rate: how long an answer takes, counted from when it was due."""

import functools
from typing import Final

from bench.experiment import Experiment, Step
from bench.server import Server

NAME: Final = "latency"
CONNECTIONS: Final = 64
HALF: Final = 0.5
SHARES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
WORKERS: Final = (1, 2)


def run(experiment: Experiment, shares: tuple[float, ...] = SHARES) -> None:
    """Measure the peak in a closed loop, then shares of it at a constant rate."""
    for workers in WORKERS:
        steps: list[Step] = [
            functools.partial(_at_shares, experiment, workers, shares),
        ]
        experiment.alternating(steps)


def _at_shares(experiment: Experiment, workers: int, shares: tuple[float, ...]) -> None:
    with experiment.service(workers) as server:
        peak = _send(experiment, server, workers, rate=None, share=1.0)
        for share in shares:
            _send(experiment, server, workers, rate=round(peak * share, 1), share=share)


def _send(
    experiment: Experiment, server: Server, workers: int, *, rate: float | None, share: float
) -> float:
    load = experiment.plan.load(CONNECTIONS, rate=rate)
    labels = {"scenario": NAME, "side": "service", "workers": workers, "share": share}
    sample = experiment.send(server, load, labels)
    return float(sample["requests_per_s"])
