"""The application of one worker process: creates its parts, starts them and stops them."""

import asyncio
import gc
import os
import secrets
from collections.abc import Awaitable
from typing import Any

import msgspec
import structlog

from service import _native, config
from service.clock import Clock, SystemClock
from service.config import Config, ConfigError
from service.edge.access import AccessLog
from service.edge.asgi import Cors, Edge
from service.edge.probes import DatabaseReport, Probes
from service.edge.request import Receive, Scope, Send
from service.model import Limits, WorkerState
from service.obs import log as logs
from service.obs.metrics import Metrics
from service.parent import LEAVE, Link, drain_with_parent, exit_with_parent
from service.pipeline.batcher import Batcher, QueueLimits
from service.pipeline.check import Checker, QuarantineBudget, random_row_ids
from service.pipeline.ingest import Ingest, IngestConfig
from service.pipeline.keys import KeyCacheConfig, KeyRing
from service.retry import retried
from service.store.attempt import FlushRetrier
from service.store.connections import open_pool, pool_config, pool_state
from service.store.errors import Trouble
from service.store.keys import KeyListener, KeyStore
from service.store.outcomes import EventStore
from service.store.partitions import require_partition
from service.supervisor import Supervisor
from service.upkeep import PartitionUpkeep

log = structlog.get_logger()


class Worker:
    """The parts of one worker process. This class connects edge, pipeline and store."""

    def __init__(self, settings: Config, url: str, clock: Clock) -> None:
        """*url*: the database."""
        self.state = WorkerState()
        self.metrics = Metrics()
        self.supervisor = Supervisor(self.metrics.background_task_failed)
        self._settings = settings
        self._clock = clock
        self._pool_config = pool_config(settings, url)
        self._budget = QuarantineBudget(
            clock, settings.quarantine_rows_per_minute, self.metrics.quarantine_dropped
        )
        self._pool: Any = None

    async def start(self) -> Edge:
        """Connect to the database, create the parts, and return the edge; raise what fails."""
        self._pool = pool = await open_pool(self._pool_config)
        self._retrier = FlushRetrier(
            pool,
            self._clock,
            acquire_timeout_s=self._settings.acquire_timeout_s,
            on_failure=self.metrics.flush_failed,
            on_change=self._store_changed,
        )
        self._batcher = self._build_batcher()
        self._keys = self._build_keys()
        await require_partition(pool, self._clock.now().date())
        readiness = self._retrier.readiness
        # Before the first request. A worker that cannot store events yet starts nevertheless.
        await readiness.probe()
        upkeep = PartitionUpkeep(pool, self._clock, self.metrics.partitions_topped_up)
        self.supervisor.start("partitions", upkeep.run)
        self.supervisor.start("key_changes", KeyListener(self._pool_config, self._keys).run)
        self.supervisor.start("readiness", readiness.watch)
        return self._build_edge()

    async def stop(self) -> None:
        """Finish the requests in progress, then close the database."""
        self.state.is_draining = True
        if self._pool is None:
            return
        if not await self._batcher.drain(self._settings.drain_timeout_s):
            log.error("drain_timed_out", queued_rows=self._batcher.queued_rows)
        await self.supervisor.stop()
        self._pool.terminate()

    def _build_batcher(self) -> Batcher:
        settings = self._settings
        return Batcher(
            write=EventStore(self._retrier, self._clock, self._budget.take).write,
            clock=self._clock,
            limits=QueueLimits(
                queue_rows_max=settings.queue_rows_max,
                queue_bytes_max=settings.queue_bytes_max,
                batch_rows_max=settings.batch_rows_max,
                batch_bytes_max=settings.batch_bytes_max,
            ),
            flushes_max=settings.flushes_max,
            timeout_s=settings.flush_timeout_s,
            on_flush=self.metrics.batch_flushed,
        )

    def _build_keys(self) -> KeyRing:
        settings = self._settings
        cache = KeyCacheConfig(
            ttl_s=settings.key_cache_ttl_s,
            stale_max_s=settings.key_cache_stale_max_s,
            keys_max=settings.key_cache_keys_max,
            lookup_timeout_s=settings.acquire_timeout_s,
        )
        return KeyRing(KeyStore(self._pool).find, self._clock, cache)

    def _build_edge(self) -> Edge:
        settings = self._settings
        ingest = Ingest(
            keys=self._keys,
            checker=Checker(self._budget, random_row_ids()),
            batcher=self._batcher,
            clock=self._clock,
            config=IngestConfig(
                limits=Limits(settings.payload_bytes_max, settings.payload_events_max),
                expansion_max=settings.payload_expansion_max,
                schema_version_default=settings.schema_version_default,
                schema_versions=settings.schema_versions,
            ),
        )
        probes = Probes(
            database=self._report_database,
            background=self.supervisor.report,
            state=self.state,
            version=_native.__version__,
        )
        return Edge(
            ingest=ingest,
            probes=probes,
            cors=Cors(settings.origins),
            access_log=AccessLog(self.metrics, is_on=settings.request_log),
            clock=self._clock,
            state=self.state,
            body_timeout_s=settings.body_timeout_s,
            take_request_id=_native.RequestIds(secrets.randbits(64)).take,
        )

    def _store_changed(self, before: Trouble | None, now: Trouble | None) -> None:
        if before is not None:
            self.metrics.store_unavailable(before.cause, before.subject, is_so=False)
        if now is not None:
            self.metrics.store_unavailable(now.cause, now.subject, is_so=True)

    def _report_database(self) -> DatabaseReport:
        readiness = self._retrier.readiness
        pool = pool_state(self._pool, self._retrier.idle_connections)
        latency_s, trouble = readiness.latency_s, readiness.trouble
        return DatabaseReport(
            status="ok" if trouble is None else "unavailable",
            cause=None if trouble is None else trouble.cause,
            message=None if trouble is None else trouble.message,
            latency_ms=None if latency_s is None else round(latency_s * 1000, 3),
            pool=msgspec.structs.asdict(pool),
        )


class App:
    """The ASGI application that Granian calls: it handles the lifespan, and the edge requests."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._edge: Edge | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request, or handle the lifespan of the worker."""
        if self._edge is not None and scope["type"] == "http":
            return self._edge(scope, receive, send)
        return self._live(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            return
        await receive()
        exit_with_parent()
        try:
            settings = config.load()
            logs.configure(settings.log_level, settings.log_format)
            url = config.database_url()
            if url is None:  # `.env` was changed since the service started
                raise ConfigError("DATABASE_URL is not set")
            worker, self._edge = await _started(settings, url)
        except Exception as error:
            # Sent, not raised: after an exception Granian would serve without a lifespan.
            log.exception("worker_start_failed", pid=os.getpid())
            await send({"type": "lifespan.startup.failed", "message": type(error).__name__})
            return
        log.info("worker_started", pid=os.getpid())
        drain_with_parent(settings.drain_timeout_s)
        asyncio.get_running_loop().add_signal_handler(LEAVE, self._leave, worker.state)
        freeze_gc()
        await send({"type": "lifespan.startup.complete"})
        self._link.say_ready()
        await receive()
        await worker.stop()
        log.info("worker_stopped", pid=os.getpid())
        await send({"type": "lifespan.shutdown.complete"})

    def _leave(self, state: WorkerState) -> None:
        """Accept no further connections, and close each open one after its next answer."""
        self._link.stop_accepting()
        state.is_leaving = True


def freeze_gc() -> None:
    """
    Exclude all present objects from cyclic garbage collection, and make it less frequent.

    Requests create few cycles. A search for cycles through all imported objects cost 5 % of the
    time of a request.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


async def _started(settings: Config, url: str) -> tuple[Worker, Edge]:
    """Start a worker; retry as long as the database cannot be used."""

    async def start() -> tuple[Worker, Edge]:
        worker = Worker(settings, url, SystemClock())
        try:
            return worker, await worker.start()
        except BaseException:
            await worker.stop()
            raise

    return await retried(start, "worker_waits_for_database", lambda _: False)


def create(link: Link) -> App:
    """Return the application; the server calls this in each worker."""
    return App(link)
