"""A long form: what a batch costs as the ledger grows, and with an empty ledger once more."""

import itertools
from typing import Final

from bench.experiment import Experiment
from bench.scenarios.batches import CONNECTIONS, EVENTS

NAME: Final = "growth"
WORKERS: Final = 2
MILLION: Final = 1_000_000
STEPS: Final = (0, 1, 2, 3, 4, 5)
"""Millions of ids in the ledger."""


def run(experiment: Experiment) -> None:
    """Measure at every step, and without a ledger at the end as at the start."""
    _at(experiment, 0, is_again=False)
    for before, millions in itertools.pairwise(STEPS):
        experiment.database.fill_ledger(before * MILLION, millions * MILLION)
        _at(experiment, millions, is_again=False)
    experiment.database.empty()
    _at(experiment, 0, is_again=True)


def _at(experiment: Experiment, millions: int, *, is_again: bool) -> None:
    load = experiment.plan.load(min(CONNECTIONS), batch=EVENTS)
    labels = {"scenario": NAME, "side": "service", "workers": WORKERS}
    labels |= {"ledger_ids": millions * MILLION, "is_again": is_again}
    with experiment.service(WORKERS) as server:
        for _ in range(experiment.plan.rounds):
            experiment.database.forget_all_but(millions * MILLION)
            experiment.send(server, load, labels, keeps_ledger=True)
