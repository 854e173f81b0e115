"""The application of one worker process: creates its parts, starts them and stops them."""

import asyncio
import gc
import os
import secrets
from collections.abc import Awaitable
from functools import partial
from mmap import mmap
from typing import Any, Final

import msgspec
import structlog

from service import _native, config
from service.clock import MICROSECONDS_PER_SECOND, Clock, SystemClock
from service.config import Config, ConfigError
from service.edge.access import AccessLog
from service.edge.addresses import AddressGroups
from service.edge.asgi import Edge
from service.edge.body_budget import BodyBudget
from service.edge.connections import ConnectionLimits, Connections
from service.edge.cors import Cors
from service.edge.in_progress import RequestsInProgress
from service.edge.probes import DatabaseReport, Probes
from service.edge.public_url import PublicUrls
from service.edge.request import Receive, Scope, Send
from service.edge.routes import Routes
from service.edge.sdk_documents import SdkDocuments
from service.edge.sockets import Sockets
from service.edge.unauthorized import UnauthorizedLimits, UnauthorizedPace
from service.file_limit import allowed_connections
from service.measurements import Measurements
from service.memory import WorkerMemory
from service.model import Limits, WorkerState
from service.obs import log as logs
from service.obs.key_labels import KeyLabels
from service.obs.metrics import Metrics
from service.parent import LEAVE, STOP, Link, drain_with_parent, exit_with_parent
from service.pipeline import rate_limits
from service.pipeline.batcher import Batcher
from service.pipeline.check import Checker, random_row_ids
from service.pipeline.ingest import Ingest, IngestConfig
from service.pipeline.keys import KeyCacheConfig, KeyRing
from service.pipeline.quarantine import QuarantineBudget, QuarantineLimits
from service.pipeline.queue import QueueLimits
from service.pipeline.rate_limits import RateLimits
from service.pipeline.rejects import Rejects
from service.pipeline.turns import ScanTurns
from service.retry import retried
from service.store.attempt import FlushRetrier
from service.store.connections import open_pool, pool_config, pool_state
from service.store.errors import Trouble
from service.store.keys import KeyListener, KeyStore
from service.store.outcomes import EventStore
from service.store.partitions import require_partition
from service.store.quarantine import quarantine_bytes
from service.supervisor import Supervisor
from service.upkeep import PartitionUpkeep
from service.worker_reports import REPORT_INTERVAL_S, WorkerReport

log = structlog.get_logger()

# Part of the drain timeout in which clients must send their bodies and receive their answers. The
# rest of it is for storing the events, and for the answers to those.
_CLIENT_PART: Final = 0.25


class Worker:
    """The parts of one worker process. This class connects edge, pipeline and store."""

    def __init__(
        self, settings: Config, url: str, clock: Clock, sockets: Sockets, shared: mmap
    ) -> None:
        """*url*: the database; *sockets*: of the clients; *shared*: memory of all workers."""
        self.state = WorkerState()
        self.metrics = Metrics()
        self.supervisor = Supervisor(self.metrics.background_task_failed)
        self._settings = settings
        self._clock = clock
        self._rate_limits = RateLimits(shared, clock)
        labels = KeyLabels(memoryview(shared)[rate_limits.MEMORY_BYTES :])
        self._rejects = Rejects(self.metrics, labels, clock)
        self._pool_config = pool_config(settings, url)
        self._budget = QuarantineBudget(
            clock,
            QuarantineLimits(
                rows_per_minute=settings.quarantine_rows_per_minute,
                bytes_per_minute=settings.quarantine_bytes_per_minute,
                table_bytes_max=settings.quarantine_bytes_max,
            ),
            self.metrics.quarantine_dropped,
            workers=settings.workers,
        )
        self._in_progress = RequestsInProgress(
            settings.requests_max, self.metrics.request_over_limit
        )
        self._connections = self._build_connections(sockets)
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
        measurements = Measurements(
            partial(quarantine_bytes, pool), self._budget, self._clock, self._measured
        )
        self.supervisor.start("partitions", upkeep.run)
        self.supervisor.start("key_changes", KeyListener(self._pool_config, self._keys).run)
        self.supervisor.start("readiness", readiness.watch)
        self.supervisor.start("connections", self._connections.run)
        self.supervisor.start("measurements", measurements.run)
        self.supervisor.start("memory", WorkerMemory(self.metrics.memory_measured).run)
        self._edge = edge = self._build_edge()
        return edge

    def report(self) -> bytes:
        """Return what the parent needs to answer health probes."""
        health = msgspec.Raw(msgspec.json.encode(self._probes.report()))
        return WorkerReport(self._probes.unreadiness(), health).encoded()

    def drain(self) -> None:
        """From now on end connections that have no request in progress; no client may be slow."""
        self.state.is_draining = True
        client_timeout_s = self._settings.drain_timeout_s * _CLIENT_PART
        self._connections.stop(client_timeout_s)
        self._edge.hurry(client_timeout_s)

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
                light_key_cost_max=settings.light_key_bytes_max,
                heavy_batch_cost_max=settings.heavy_batch_bytes_max,
            ),
            flushes_max=settings.flushes_max,
            timeout_s=settings.flush_timeout_s,
            on_flush=self.metrics.batch_flushed,
            on_refused=self.metrics.payloads_refused,
            on_heavy_keys=self.metrics.heavy_keys_changed,
        )

    def _build_connections(self, sockets: Sockets) -> Connections:
        settings = self._settings
        limits = ConnectionLimits(
            connections_max=allowed_connections(settings.connections_max),
            per_address_max=settings.connections_per_address_max,
            trusted=settings.trusted_networks,
            header_timeout_s=settings.header_timeout_s,
            answer_timeout_s=settings.answer_timeout_s,
        )
        return Connections(
            sockets,
            limits,
            self._in_progress.clients,
            self.metrics.connections_swept,
        )

    def _build_keys(self) -> KeyRing:
        settings = self._settings
        cache = KeyCacheConfig(
            ttl_s=settings.key_cache_ttl_s,
            stale_max_s=settings.key_cache_stale_max_s,
            stale_after_s=settings.key_stale_after_ms / 1000,
            keys_max=settings.key_cache_keys_max,
            lookup_timeout_s=settings.acquire_timeout_s,
            lookups_max=settings.key_lookups_max,
            lookup_pause_s=settings.key_lookup_pause_ms / 1000,
        )
        store = KeyStore(self._pool)
        return KeyRing(store.find, self._clock, cache, self.metrics.keys_looked_up)

    def _build_edge(self) -> Edge:
        settings = self._settings
        ingest = Ingest(
            keys=self._keys,
            rate_limits=self._rate_limits,
            checker=Checker(
                self._budget, random_row_ids(), settings.clock_skew_min_s * MICROSECONDS_PER_SECOND
            ),
            batcher=self._batcher,
            turns=ScanTurns(settings.scan_turn_bytes, self.metrics.scan_waited),
            rejects=self._rejects,
            clock=self._clock,
            config=IngestConfig(
                limits=Limits(
                    settings.payload_bytes_max,
                    settings.payload_events_max,
                    settings.key_events_per_second,
                ),
                expansion_max=settings.payload_expansion_max,
                schema_version_default=settings.schema_version_default,
                schema_versions=settings.schema_versions,
            ),
        )
        self._probes = Probes(
            database=self._report_database,
            background=self.supervisor.report,
            is_quarantine_full=lambda: self._budget.is_table_full,
            state=self.state,
            version=_native.__version__,
        )
        urls = PublicUrls(settings.public_url, AddressGroups(settings.trusted_networks))
        return Edge(
            ingest=ingest,
            routes=Routes(self._probes, SdkDocuments(self._keys, urls)),
            cors=Cors(settings.origins),
            access_log=AccessLog(self.metrics, is_on=settings.request_log),
            in_progress=self._in_progress,
            unauthorized=UnauthorizedPace(
                UnauthorizedLimits(
                    per_second=settings.unauthorized_per_second,
                    delay_max_s=settings.unauthorized_delay_max_ms / 1000,
                    delayed_max=settings.unauthorized_delayed_max,
                ),
                self._clock,
                self.metrics.unauthorized_delayed,
            ),
            bodies=BodyBudget(
                settings.bodies_bytes_max,
                ingest.limits_without_key.bytes_max,
                self.metrics.body_refused,
            ),
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
        latency_s, trouble = readiness.latency_s, readiness.trouble
        return DatabaseReport(
            status="ok" if trouble is None else "unavailable",
            cause=None if trouble is None else trouble.cause,
            message=None if trouble is None else trouble.message,
            latency_ms=None if latency_s is None else round(latency_s * 1000, 3),
        )

    def _measured(self, quarantine_size_bytes: int | None) -> None:
        pool = pool_state(self._pool, self._retrier.idle_connections)
        self.metrics.measured(quarantine_size_bytes, open_=pool.size, idle=pool.idle)


class App:
    """The ASGI application that Granian calls: it handles the lifespan, and the edge requests."""

    def __init__(self, link: Link, shared: mmap) -> None:
        self._link = link
        self._shared = shared
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
            family, port = self._link.place()
            worker, self._edge = await _started(settings, url, Sockets(port, family), self._shared)
        except Exception as error:
            # Sent, not raised: after an exception Granian would serve without a lifespan.
            log.exception("worker_start_failed", pid=os.getpid())
            await send({"type": "lifespan.startup.failed", "message": type(error).__name__})
            return
        log.info("worker_started", pid=os.getpid())
        drain_with_parent(settings.drain_timeout_s)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(LEAVE, self._leave, worker.state)
        loop.add_signal_handler(STOP, self._drain, worker)
        freeze_gc()
        await send({"type": "lifespan.startup.complete"})
        self._link.say_ready()
        worker.supervisor.start("reports", partial(self._report, worker))
        await receive()
        await worker.stop()
        log.info("worker_stopped", pid=os.getpid())
        await send({"type": "lifespan.shutdown.complete"})

    def _leave(self, state: WorkerState) -> None:
        """Accept no further connections, and close each open one after its next answer."""
        self._link.stop_accepting()
        state.is_leaving = True

    def _drain(self, worker: Worker) -> None:
        """End connections without a request; the HTTP server finishes the other ones."""
        worker.drain()
        self._link.report(worker.report())

    async def _report(self, worker: Worker) -> None:
        """Report to the parent until cancelled."""
        while True:
            self._link.report(worker.report())
            await asyncio.sleep(REPORT_INTERVAL_S)


def freeze_gc() -> None:
    """
    Exclude all present objects from cyclic garbage collection, and make it less frequent.

    Requests create few cycles. A search for cycles through all imported objects cost 5 % of the
    time of a request.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


async def _started(
    settings: Config, url: str, sockets: Sockets, shared: mmap
) -> tuple[Worker, Edge]:
    """Start a worker; retry as long as the database cannot be used."""

    async def start() -> tuple[Worker, Edge]:
        worker = Worker(settings, url, SystemClock(), sockets, shared)
        try:
            return worker, await worker.start()
        except BaseException:
            await worker.stop()
            raise

    return await retried(start, "worker_waits_for_database", lambda _: False)


def create(link: Link, shared: mmap) -> App:
    """
    Return the application; the server calls this in each worker.

    *shared* is memory that the workers share.
    """
    return App(link, shared)
