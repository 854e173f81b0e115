"""One worker: builds the rooms, joins them, and takes them down again. Knows every room."""

import asyncio
import gc
import os
import secrets
import time
from collections.abc import Awaitable
from typing import Any, Final

import msgspec
import structlog

from service import _native, config
from service.clock import Clock, SystemClock
from service.config import Config, ConfigError
from service.edge.access import AccessLog
from service.edge.asgi import Edge
from service.edge.cors import Cors
from service.edge.ingest import Ingest, IngestConfig
from service.edge.keys import KeyCacheConfig, KeyRing
from service.edge.lookups import Lookups
from service.edge.probes import DatabaseReport, Probes
from service.edge.request import Receive, Scope, Send
from service.model import Limits, Payload, Written
from service.obs import log as logs
from service.obs.metrics import Metrics
from service.parent import LEAVE, Link, drain_with_parent, exit_with_parent
from service.pipeline.batcher import Batcher
from service.pipeline.check import Checker, random_row_ids
from service.pipeline.quarantine import QuarantineBudget
from service.pipeline.queue import QueueLimits
from service.retry import retried
from service.store.attempt import FlushRetrier
from service.store.connections import open_pool, pool_config, pool_state
from service.store.errors import Trouble
from service.store.keys import KeyListener, KeyStore
from service.store.outcomes import EventStore
from service.store.partitions import require_partition, top_up_partitions
from service.supervisor import Supervisor, TaskReport

log = structlog.get_logger()

_TOP_UP_S: Final = 3600.0
_TOP_UP_RETRY_MIN_S: Final = 10.0
_TOP_UP_RETRY_MAX_S: Final = 600.0


class Worker:
    """The parts of one worker process, from start to stop."""

    def __init__(self, settings: Config, url: str, clock: Clock | None = None) -> None:
        """*clock* is the machine's unless a test brings its own."""
        self.is_draining = False
        self._settings = settings
        self._pool_config = pool_config(settings, url)
        self._clock = SystemClock() if clock is None else clock
        self._metrics = Metrics()
        self._pool: Any = None
        self._supervisor = Supervisor(self._metrics.background_task_failed)
        self._budget = QuarantineBudget(
            self._clock, settings.quarantine_rows_per_minute, self._metrics.quarantine_dropped
        )
        self._checker = Checker(self._budget, random_row_ids())

    async def start(self) -> Edge:
        """Open everything and return the edge; raises when the worker cannot do its work."""
        self._pool = await open_pool(self._pool_config)
        self._retrier = self._build_retrier()
        self._store = EventStore(self._retrier, self._clock, self._budget.take)
        self._batcher = self._build_batcher()
        self._keys = self._build_keys()
        await require_partition(self._pool, self._clock.now().date())
        # Known before the first question; a worker that cannot store yet starts all the same.
        await self._retrier.readiness.probe()
        self._supervisor.start("partitions", self._keep_topped_up)
        self._supervisor.start("key_changes", KeyListener(self._pool_config, self._keys).run)
        self._supervisor.start("readiness", self._retrier.readiness.watch)
        return self._build_edge()

    async def stop(self) -> None:
        """Answer what was begun, then close."""
        self.is_draining = True
        if self._pool is None:
            return
        if not await self._batcher.drain(self._settings.drain_timeout_s):
            log.error("drain_timed_out", queued_rows=self._batcher.queued_rows)
        await self._supervisor.stop()
        self._pool.terminate()

    @property
    def background(self) -> dict[str, TaskReport]:
        """State of the background tasks, by name."""
        return self._supervisor.report()

    def _build_retrier(self) -> FlushRetrier:
        return FlushRetrier(
            self._pool,
            self._clock,
            acquire_timeout_s=self._settings.acquire_timeout_s,
            on_failure=self._metrics.flush_failed,
            on_change=self._store_changed,
        )

    def _build_batcher(self) -> Batcher:
        settings = self._settings
        return Batcher(
            write=self._write,
            clock=self._clock,
            limits=QueueLimits(
                queue_rows_max=settings.queue_rows_max,
                queue_bytes_max=settings.queue_bytes_max,
                batch_rows_max=settings.batch_rows_max,
                batch_bytes_max=settings.batch_bytes_max,
            ),
            flushes_max=settings.flushes_max,
            timeout_s=settings.flush_timeout_s,
        )

    def _build_keys(self) -> KeyRing:
        settings = self._settings
        return KeyRing(
            Lookups(KeyStore(self._pool).find, timeout_s=settings.acquire_timeout_s),
            self._clock,
            KeyCacheConfig(
                ttl_s=settings.key_cache_ttl_s,
                stale_max_s=settings.key_cache_stale_max_s,
                keys_max=settings.key_cache_keys_max,
            ),
        )

    def _build_edge(self) -> Edge:
        settings = self._settings
        ingest = Ingest(
            keys=self._keys,
            checker=self._checker,
            batcher=self._batcher,
            clock=self._clock,
            config=IngestConfig(
                limits=Limits(settings.payload_bytes_max, settings.payload_events_max),
                body_timeout_s=settings.body_timeout_s,
                schema_version_default=settings.schema_version_default,
                schema_versions=settings.schema_versions,
            ),
        )
        return Edge(
            ingest=ingest,
            probes=Probes(database=self._report_database, state=self, version=_native.__version__),
            cors=Cors(settings.origins),
            access_log=AccessLog(self._metrics, is_on=settings.request_log),
            clock=self._clock,
            take_request_id=_native.RequestIds(secrets.randbits(64)).take,
        )

    async def _write(self, payloads: list[Payload], deadline: float) -> list[Written]:
        started = time.perf_counter()
        try:
            return await self._store.write(payloads, deadline)
        finally:
            rows = sum(payload.rows for payload in payloads)
            duration_s = time.perf_counter() - started
            self._metrics.batch_flushed(rows, self._batcher.queued_rows, duration_s)

    def _store_changed(self, before: Trouble | None, now: Trouble | None) -> None:
        if before is not None:
            self._metrics.store_unavailable(before.cause, before.subject, is_so=False)
        if now is not None:
            self._metrics.store_unavailable(now.cause, now.subject, is_so=True)

    def _report_database(self) -> DatabaseReport:
        readiness = self._retrier.readiness
        state = pool_state(self._pool, self._retrier.idle_connections)
        latency_s, trouble = readiness.latency_s, readiness.trouble
        return DatabaseReport(
            status="ok" if trouble is None else "unavailable",
            cause=None if trouble is None else trouble.cause,
            message=None if trouble is None else trouble.message,
            latency_ms=None if latency_s is None else round(latency_s * 1000, 3),
            pool=msgspec.structs.asdict(state),
        )

    async def _keep_topped_up(self) -> None:
        retry_s = _TOP_UP_RETRY_MIN_S
        while True:
            if await self._top_up():
                pause_s, retry_s = _TOP_UP_S, _TOP_UP_RETRY_MIN_S
            else:
                pause_s, retry_s = retry_s, min(retry_s * 2, _TOP_UP_RETRY_MAX_S)
            await asyncio.sleep(pause_s)

    async def _top_up(self) -> bool:
        """Make the partitions of the coming days; return whether nothing is left to be made."""
        try:
            done = await top_up_partitions(self._pool, self._clock.now().date())
        except Exception as error:  # noqa: BLE001 - there is a week's room; it is tried again
            log.warning("partition_top_up_failed", error=type(error).__name__)
            return False
        failed = [partition.parent for partition in done.failed]
        self._metrics.partitions_topped_up(done.days_ahead, failed)
        return not failed


class App:
    """The ASGI application that Granian calls: lifespan here, requests to the edge."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._edge: Edge | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request, or the life of the worker."""
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
            # Said, not raised: after a raise Granian would serve on without a lifespan.
            log.exception("worker_start_failed", pid=os.getpid())
            await send({"type": "lifespan.startup.failed", "message": type(error).__name__})
            return
        log.info("worker_started", pid=os.getpid())
        drain_with_parent(settings.drain_timeout_s)
        asyncio.get_running_loop().add_signal_handler(LEAVE, self._leave, self._edge)
        _spare_what_stays()
        await send({"type": "lifespan.startup.complete"})
        self._link.say_ready()
        await receive()
        await worker.stop()
        log.info("worker_stopped", pid=os.getpid())
        await send({"type": "lifespan.shutdown.complete"})

    def _leave(self, edge: Edge) -> None:
        """Let connections end, each with an answer; new ones go to other workers."""
        self._link.stop_accepting()
        edge.closes_connections = True


def _spare_what_stays() -> None:
    """
    Let the collector of cycles look at new objects only, and less often.

    Requests leave few cycles behind; to look for them among all that was imported took a
    twentieth of what a request costs.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


async def _started(settings: Config, url: str) -> tuple[Worker, Edge]:
    """Start a worker, and wait for a database that cannot be used yet."""

    async def start() -> tuple[Worker, Edge]:
        worker = Worker(settings, url)
        try:
            return worker, await worker.start()
        except BaseException:
            await worker.stop()
            raise

    return await retried(start, "worker_waits_for_database", lambda _: False)


def create(link: Link) -> App:
    """Return the application; the server calls this in each worker."""
    return App(link)
