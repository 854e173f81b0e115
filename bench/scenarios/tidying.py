"""Single events on a fresh database, and right after a heavy load, while PostgreSQL tidies up."""

from typing import Final

from bench.experiment import Experiment
from bench.scenarios.batches import EVENTS
from bench.server import Server
from bench.traffic import Load

NAME: Final = "tidying"
WORKERS: Final = 2
CONNECTIONS: Final = 4
AFTER: Final = 3
"""Samples taken one after the other once the heavy load has ended."""

_LOAD_CONNECTIONS: Final = 32
# Four times a sample: a checkpoint or an autovacuum is then due while the events are measured.
_LOAD_LENGTH: Final = 4


def run(experiment: Experiment) -> None:
    """Measure on an empty database, load it heavily, and measure again without a pause."""
    plan = experiment.plan
    heavy = Load(_LOAD_CONNECTIONS, batch=EVENTS, seconds=plan.seconds * _LOAD_LENGTH)
    with experiment.service(WORKERS) as server:
        for _ in range(plan.rounds):
            experiment.send(server, plan.load(CONNECTIONS), _labels("fresh"))
            experiment.add_to_stored(server, heavy, _labels("load"))
            for _ in range(AFTER):
                _again(experiment, server)


def _again(experiment: Experiment, server: Server) -> None:
    # No warm-up: the first seconds after the load are the ones that matter.
    load = experiment.plan.load(CONNECTIONS)._replace(warmup=0.0)
    experiment.add_to_stored(server, load, _labels("after"))


def _labels(phase: str) -> dict[str, object]:
    return {"scenario": NAME, "side": "service", "workers": WORKERS, "phase": phase}
