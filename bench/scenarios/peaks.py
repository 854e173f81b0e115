"""Peaks by two generators: ours in a closed loop, and wrk where it is installed."""

import functools
from typing import Final

from bench.experiment import Experiment, Step
from bench.wrk import command as wrk

NAME: Final = "peaks"
CONNECTIONS: Final = 64
WORKERS: Final = 2
BATCHES: Final = (1, 50)


def run(experiment: Experiment) -> None:
    """Measure both, in turns."""
    if not wrk.is_installed():
        print("wrk is not installed (apt-get install wrk): peaks come from the closed loop alone.")
    steps: list[Step] = []
    for batch in BATCHES:
        steps.append(functools.partial(_closed_loop, experiment, batch))
        if wrk.is_installed():
            steps.append(functools.partial(_wrk, experiment, batch))
    experiment.alternating(steps)


def _closed_loop(experiment: Experiment, batch: int) -> None:
    load = experiment.plan.load(CONNECTIONS, batch=batch)
    with experiment.service(WORKERS) as server:
        labels = {"scenario": NAME, "side": "service", "workers": WORKERS, "tool": "closed loop"}
        experiment.send(server, load, labels)


def _wrk(experiment: Experiment, batch: int) -> None:
    load = experiment.plan.load(CONNECTIONS, batch=batch)
    experiment.database.empty()
    with experiment.service(WORKERS) as server:
        sample = wrk.send(server, experiment.database, load)
    sample["events_per_s"] = sample["requests_per_s"] * batch
    experiment.add(
        {"scenario": NAME, "side": "service", "workers": WORKERS, "tool": "wrk"} | sample
    )
