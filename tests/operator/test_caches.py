"""The known ChurnModels: events of one name and answers to requests come in any order."""

from typing import Any

import pytest

from churn_operator.caches import Key, Models

KEY = ("shop", "telco")


def model(uid: str, version: int) -> dict[str, Any]:
    metadata = {"namespace": "shop", "name": "telco", "uid": uid, "resourceVersion": str(version)}
    return {"metadata": {**metadata, "generation": 1}, "spec": {}}


@pytest.fixture
def models() -> Models:
    def changed(key: Key, /, *, later: bool = False) -> None:
        pass

    return Models(changed)


def known(models: Models) -> str | None:
    return models.uids().get(KEY)


def test_a_late_event_of_one_that_is_deleted_does_not_hide_the_one_made_since(models: Models):
    models.put(model("first", 1))
    models.put(model("second", 5))
    models.put(model("first", 3))
    models.drop(KEY, "first")
    assert known(models) == "second"


def test_a_slow_answer_about_one_that_is_deleted_does_not_hide_the_one_made_since(models: Models):
    models.put(model("second", 5))
    models.renew(model("first", 3))
    assert known(models) == "second"


def test_a_slow_answer_does_not_bring_back_one_that_is_deleted(models: Models):
    models.put(model("first", 1))
    models.drop(KEY, "first")
    models.renew(model("first", 3))
    assert known(models) is None


def test_an_answer_that_tells_of_another_one_replaces_the_one_that_is_known(models: Models):
    models.put(model("first", 1))
    models.renew(model("second", 5))
    assert known(models) == "second"
