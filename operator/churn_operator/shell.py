"""Keeps kopf running. It ends itself on many a watch error; here that restarts kopf, not the process.

It has a thread and an event loop of its own: when it ends, it cancels all tasks of its loop that it did not
know, and ours would be among them.
"""

import asyncio
import random
import threading
import time
from functools import partial
from typing import Any, NoReturn

import kopf
import structlog

from churn_operator.api.v1alpha1 import KIND
from churn_operator.audit import Audit
from churn_operator.caches import Models
from churn_operator.handlers import build_registry
from churn_operator.login import Login
from churn_operator.metrics import KOPF_STARTS, WATCH_CONTACT

log = structlog.get_logger()

IDENTITY: Any = "churn-operator"
"""For kopf, which would ask for the name of the user; in an image that user has none."""
LONGEST_BACKOFF_SECONDS = 30.0
GOOD_RUN_SECONDS = 60.0
STOP_SECONDS = 2.0
BLIND_SECONDS = 40.0
"""Longer than any of kopf's requests takes."""


class Shell:
    """kopf, supervised."""

    def __init__(self, models: Models, audit: Audit, namespace: str | None) -> None:
        self._models = models
        self._audit = audit
        self._namespace = namespace
        self._loop = asyncio.get_running_loop()
        self._heard = 0.0
        self._login = Login(self._hear)
        self._stop: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def silent_seconds(self) -> float:
        """For how long the running kopf has got neither an answer nor an error; 0 while none runs."""
        return time.monotonic() - self._heard if self._stop else 0.0

    async def run(self) -> NoReturn:
        """Starts kopf again and again, until cancelled."""
        failures = 0
        while True:
            # kopf looks once whether the CRD is there: wait for it. And what vanished meanwhile is found.
            await self._audit.until_listed()
            settling = asyncio.create_task(self._audit.settle())
            began = self._loop.time()
            error = await self._run_once()
            await settling
            failures = 0 if self._loop.time() - began > GOOD_RUN_SECONDS else min(failures + 1, 5)
            delay = min(2.0**failures, LONGEST_BACKOFF_SECONDS) * random.uniform(0.5, 1.0)  # noqa: S311  # spreads
            log.warning("kopf ended and is started again", error=repr(error), delay_seconds=round(delay, 1))
            await asyncio.sleep(delay)

    async def _run_once(self) -> BaseException | None:
        """Runs kopf to its end; returns what ended it."""
        KOPF_STARTS.inc()
        self._heard = time.monotonic()
        self._login = Login(self._hear)
        ended: asyncio.Future[BaseException | None] = self._loop.create_future()
        looking = asyncio.create_task(self._end_if_blind())
        threading.Thread(target=self._thread, args=(ended,), name="kopf", daemon=True).start()
        try:
            return await asyncio.shield(ended)
        except asyncio.CancelledError:
            if self._stop:
                loop, stop = self._stop
                loop.call_soon_threadsafe(stop.set)
                await asyncio.wait([ended], timeout=STOP_SECONDS)
            raise
        finally:
            looking.cancel()

    async def _end_if_blind(self) -> None:
        """Ends kopf where it asks for nothing more and watches nothing.

        One odd answer makes it believe that there are no ChurnModels to watch, and it never looks again.
        """
        while not self._login.watching:
            await asyncio.sleep(1)
            if self.silent_seconds() > BLIND_SECONDS and self._stop:
                log.warning("kopf watches nothing and is ended")
                loop, stop = self._stop
                loop.call_soon_threadsafe(stop.set)
                return

    def _thread(self, ended: asyncio.Future[BaseException | None]) -> None:
        error: BaseException | None = None
        try:
            asyncio.run(self._operator())
        except BaseException as raised:  # noqa: BLE001  # whatever ends kopf is the supervisor's to report
            error = raised
        self._stop = None
        self._loop.call_soon_threadsafe(_resolve, ended, error)

    async def _operator(self) -> None:
        stop = asyncio.Event()
        self._stop = (asyncio.get_running_loop(), stop)
        await kopf.operator(
            registry=build_registry(self._seen, self._login),
            identity=IDENTITY,
            standalone=True,
            clusterwide=self._namespace is None,
            namespaces=[self._namespace] if self._namespace else [],
            stop_flag=stop,
        )

    def _hear(self, answered: bool) -> None:
        self._heard = time.monotonic()
        if answered:
            WATCH_CONTACT.labels(kind=KIND).set_to_current_time()

    def _seen(self, kind: str | None, body: dict[str, Any]) -> None:
        """Passes an event to the thread that owns the caches."""
        if not {"namespace", "name", "uid", "resourceVersion"} <= (body.get("metadata") or {}).keys():
            log.warning("The watch of churnmodels brings what is none")
            if self._stop:
                self._stop[1].set()  # in kopf's thread: its next life lists what this one did not bring
            return
        if kind == "DELETED":
            metadata = body["metadata"]
            key = (metadata["namespace"], metadata["name"])
            self._loop.call_soon_threadsafe(self._models.drop, key, metadata["uid"])
        else:
            put = partial(self._models.put, body, listed=kind is None)
            self._loop.call_soon_threadsafe(put)


def _resolve(ended: asyncio.Future[BaseException | None], error: BaseException | None) -> None:
    if not ended.done():
        ended.set_result(error)
