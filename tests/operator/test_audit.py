"""The audit of ChurnModels against a client that plays a script."""

import asyncio
from typing import Any

import pytest

from churn_operator import audit as audit_module
from churn_operator.audit import Audit
from churn_operator.caches import Key, Models
from churn_operator.errors import KindMissingError, NotFoundError, TooManyRequestsError

TELCO: Key = ("shop", "telco")


def model(version: int, uid: str = "a") -> Any:
    metadata = {"namespace": "shop", "name": "telco", "uid": uid, "resourceVersion": str(version)}
    return {"metadata": metadata, "spec": {"version": version}}


class Server:
    """Has one ChurnModel or none; `errors` come before its lists."""

    def __init__(self, present: Any = None, version: int = 100, errors: tuple[Exception, ...] = ()) -> None:
        self.present = present
        self.version = version
        self.errors = list(errors)

    async def list(self, *_: Any, **__: Any) -> tuple[list[Any], str]:
        if self.errors:
            raise self.errors.pop(0)
        return [self.present] if self.present else [], str(self.version)

    async def get(self, *_: Any) -> Any:
        if self.present is None:
            raise NotFoundError(404, "gone")
        return self.present


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_module, "DELIVERY_SECONDS", 0.0)
    monkeypatch.setattr(audit_module, "RETRY_SECONDS", 0.0)


async def audited(server: Server, *known: Any) -> tuple[Models, list[Key]]:
    """The ChurnModels after an audit of those that were known, and whose changes it told."""
    told: list[Key] = []

    def changed(key: Key, **_: bool) -> None:
        told.append(key)

    models = Models(changed)
    for each in known:
        models.put(each)
    told.clear()
    audit = Audit(server, models, None)  # type: ignore[arg-type]
    await audit.until_listed()
    await audit.settle()
    return models, told


async def test_what_vanished_unseen_is_dropped():
    models, told = await audited(Server(), model(7))
    assert (models.get(TELCO), told) == (None, [TELCO])


async def test_what_the_watch_did_not_bring_is_read():
    models, told = await audited(Server(model(9)), model(7))
    assert models.versions() == {TELCO: 9}
    assert told == [TELCO]


async def test_what_is_known_costs_nothing():
    assert (await audited(Server(model(7)), model(7)))[1] == []


async def test_a_server_restored_from_a_backup_is_believed():
    models, _ = await audited(Server(model(7), version=8), model(90))
    assert models.versions() == {TELCO: 7}


@pytest.mark.parametrize(
    "error", [KindMissingError(404, "no such kind"), TooManyRequestsError(429, "busy", retry_after=0.01)]
)
async def test_what_is_known_outlasts_a_list_that_fails(error: Exception):
    models, told = await audited(Server(model(7), errors=(error,)), model(7))
    assert models.versions() == {TELCO: 7}
    assert told == []


async def test_what_the_watch_is_still_bringing_is_not_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(audit_module, "DELIVERY_SECONDS", 600.0)
    late = [model(9, uid=f"u{number}") for number in range(3)]
    for number, each in enumerate(late):
        each["metadata"]["name"] = f"telco-{number}"
    server = Server()
    read: list[Any] = []

    async def all_of_them(*_: Any, **__: Any) -> tuple[list[Any], str]:
        return late, "100"

    async def get(*place: Any) -> Any:
        read.append(place)

    monkeypatch.setattr(server, "list", all_of_them)
    monkeypatch.setattr(server, "get", get)
    models = Models(lambda *_, **__: None)
    audit = Audit(server, models, None)  # type: ignore[arg-type]
    await audit.until_listed()
    settling = asyncio.create_task(audit.settle())
    for each in late:
        await asyncio.sleep(0.06)
        models.put(each, listed=True)
    await settling
    assert (read, audit.synced.is_set()) == ([], True)
