"""Finds what the watch of ChurnModels lost: a list of their metadata, at the start and every ten minutes."""

import asyncio
import random
from typing import NoReturn

import structlog

from churn_operator.caches import Key, Models
from churn_operator.errors import ApiError, KindMissingError, NotFoundError
from churn_operator.kinds import CHURN_MODEL
from churn_operator.runtime.client import Client

log = structlog.get_logger()

PERIOD_SECONDS = 600.0
RETRY_SECONDS = 5.0
DELIVERY_SECONDS = 5.0
"""How long the watch may bring nothing of what a list shows; then the rest is read directly."""


class Audit:
    """Compares the known ChurnModels with those there are: what vanished in a re-list, kopf never reports."""

    def __init__(self, client: Client, models: Models, namespace: str | None) -> None:
        self.synced = asyncio.Event()
        self._client = client
        self._models = models
        self._namespace = namespace
        self._listed: dict[Key, int] = {}

    async def run(self) -> NoReturn:
        """Audits now and then, until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_SECONDS * random.uniform(0.9, 1.1))  # noqa: S311  # spreads, hides nothing
            await self.until_listed()
            await self.settle()
            self._models.touch()

    async def until_listed(self) -> None:
        """Lists the ChurnModels and drops those that are gone; tries until the API server answers."""
        while True:
            try:
                await self._list()
            except KindMissingError:
                log.warning("The ChurnModel CRD is not installed: apply crds/churnmodels.churnops.io.yaml")
            except ApiError as error:
                log.warning("ChurnModels not listed", error=error.message, status=error.status)
                await asyncio.sleep(error.retry_after or 0)
            else:
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def _list(self) -> None:
        known, seen = self._models.uids(), self._models.versions()
        items, version = await self._client.list(CHURN_MODEL, self._namespace, metadata_only=True)
        self._listed = {
            (item["metadata"]["namespace"], item["metadata"]["name"]): int(
                item["metadata"]["resourceVersion"]
            )
            for item in items
        }
        for key in known.keys() - self._listed.keys():
            self._models.drop(key, known[key])
        for key in [key for key, before in seen.items() if before > int(version)]:
            self._models.drop(key)  # the server's storage was restored from a backup: nothing known holds

    async def settle(self) -> None:
        """Waits for the watch to bring what was listed, and reads what it does not bring."""
        missing = self._missing(self._listed)
        while missing and await self._are_coming(missing):
            missing = self._missing(missing)
        for key in missing:
            log.warning("The watch did not bring a ChurnModel", namespace=key[0], name=key[1])
            try:
                self._models.put(await self._client.get(CHURN_MODEL, *key))
            except NotFoundError:
                self._models.drop(key)
            except ApiError as error:
                log.warning("ChurnModel not read", namespace=key[0], name=key[1], error=error.message)
        self.synced.set()

    async def _are_coming(self, missing: dict[Key, int]) -> bool:
        """Waits until the watch brings one of them; whether it did. Thousands take their time."""
        deadline = asyncio.get_running_loop().time() + DELIVERY_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.05)  # the watch has no event for "all of these"
            if len(self._missing(missing)) < len(missing):
                return True
        return False

    def _missing(self, listed: dict[Key, int]) -> dict[Key, int]:
        """Which of those listed are unknown, or known only as they were before the list."""
        return {
            key: version
            for key, version in listed.items()
            if (known := self._models.get(key)) is None or int(known["metadata"]["resourceVersion"]) < version
        }
