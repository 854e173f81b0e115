"""
The limit of open files: raised at the start, so that it holds the connections of a worker.

A worker needs descriptors for more than its clients. Granian stops accepting at its limit of
connections; that limit leaves these descriptors free, so clients cannot use them up.
"""

import resource
from typing import Final

import structlog

from service.config import CONNECTIONS_MIN, ConfigError

log = structlog.get_logger()

RESERVE: Final = 128
"""
Descriptors of a worker for all but its clients.

PostgreSQL: 5 connections and one per flush (at most 16), and as many again while they are replaced.
The rest: metrics files, log, listening socket, event queues, pipes, certificates, name look-ups.
"""


def raise_file_limit(connections_max: int) -> int:
    """
    Raise the limit of this process and its workers; return how many connections a worker may have.

    Raises
    ------
    ConfigError
        The limit is too low for a worker, and may not be raised.
    """
    needed = connections_max + RESERVE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _holds(soft, needed):
        return connections_max
    limit = needed if _holds(hard, needed) else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    allowed = allowed_connections(connections_max)
    if allowed < CONNECTIONS_MIN:
        raise ConfigError(
            f"the limit of open files is {limit}: a worker needs {RESERVE} and one for each"
            " connection of a client; raise it (ulimit -Hn, LimitNOFILE)"
        )
    if allowed < connections_max:
        log.warning(
            "connections_lowered",
            connections_max=allowed,
            configured=connections_max,
            reason=f"the limit of open files is {limit}; {needed} are needed",
        )
    return allowed


def allowed_connections(connections_max: int) -> int:
    """Return how many connections a worker may have within the limit of this process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return connections_max if _holds(soft, connections_max + RESERVE) else soft - RESERVE


def _holds(limit: int, needed: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= needed
