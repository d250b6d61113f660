"""The history of a ChurnModel, and the patch that goes back in it."""

import json
from typing import Any

import pytest

from churn_kubectl.errors import ChurnError
from churn_kubectl.records import build_patch, choose, read_history

Json = dict[str, Any]
FIRST = {"uri": "oci://registry.example/telco:1", "digest": "sha256:" + "1" * 64}
SECOND = {"uri": "oci://registry.example/telco:2", "digest": "sha256:" + "2" * 64}
RESOURCES = {"limits": {"memory": "512Mi"}}


def record(number: int, revision: str, model: Json, **more: Any) -> Json:
    return {
        "metadata": {
            "labels": {"churnops.io/revision": revision},
            "annotations": more.pop("annotations", {}),
            "ownerReferences": [{"uid": more.pop("owner", "u")}],
            "creationTimestamp": "2026-11-21T12:00:00Z",
        },
        "revision": number,
        "data": {"model": model, "image": "serving:1", "serving": {"resources": RESOURCES}} | more,
    }


def churn_model(asked: str, served: str, **spec: Any) -> Json:
    return {
        "metadata": {"uid": "u", "name": "telco", "resourceVersion": "7"},
        "spec": {"model": SECOND} | spec,
        "status": {"revision": asked, "servedRevision": served},
    }


def changes(patch: list[Json]) -> Json:
    return {step["path"]: step["value"] for step in patch}


class TestHistory:
    def test_has_the_newest_first_and_says_which_serves(self):
        rolling = churn_model("b", "a")
        found = read_history(rolling, [record(1, "a", FIRST), record(2, "b", SECOND)])
        assert [(entry.number, entry.state) for entry in found] == [(2, "asked for"), (1, "serves")]

    def test_says_why_a_revision_was_given_up(self):
        mark = json.dumps({"revision": "b", "reason": "OOMKilled", "message": "x"})
        back = record(3, "a", FIRST, annotations={"churnops.io/in-place-of": mark})
        found = read_history(churn_model("b", "a"), [back, record(2, "b", SECOND)])
        assert [entry.state for entry in found] == ["serves", "asked for, failed (OOMKilled)"]

    def test_leaves_out_what_belonged_to_an_earlier_churnmodel(self):
        assert read_history(churn_model("a", "a"), [record(1, "a", FIRST, owner="before")]) == []


class TestChoice:
    def test_is_the_newest_that_is_not_asked_for(self):
        model = churn_model("c", "c")
        kept = [record(1, "a", FIRST), record(2, "b", SECOND), record(3, "c", SECOND)]
        assert choose(read_history(model, kept), None).revision == "b"

    def test_after_a_rollback_is_what_runs(self):
        mark = json.dumps({"revision": "b", "reason": "OOMKilled", "message": "x"})
        back = record(3, "a", FIRST, annotations={"churnops.io/in-place-of": mark})
        assert (
            choose(read_history(churn_model("b", "a"), [record(2, "b", SECOND), back]), None).revision == "a"
        )

    def test_by_number_may_be_any(self):
        history = read_history(churn_model("b", "b"), [record(1, "a", FIRST), record(2, "b", SECOND)])
        assert choose(history, 1).revision == "a"

    @pytest.mark.parametrize("number", [None, 9])
    def test_that_there_is_not_is_an_error_that_lists_what_there_is(self, number: int | None):
        history = read_history(churn_model("a", "a"), [record(4, "a", FIRST)])
        with pytest.raises(ChurnError, match="4"):
            choose(history, number)


class TestPatch:
    HISTORY = (record(1, "a", FIRST), record(2, "b", SECOND))

    def patch(self, model: Json, *records: Json) -> list[Json]:
        history = read_history(model, records or self.HISTORY)
        return build_patch(model, history, choose(history, 1))

    def test_asks_for_the_model_of_then(self):
        assert changes(self.patch(churn_model("b", "b")))["/spec/model"] == FIRST

    def test_holds_only_for_the_spec_that_was_looked_at(self):
        assert self.patch(churn_model("b", "b"))[0] == {
            "op": "replace", "path": "/metadata/resourceVersion", "value": "7",
        }  # fmt: skip

    def test_leaves_to_the_platform_what_was_left_to_it(self):
        assert "/spec/serving" not in changes(self.patch(churn_model("b", "b")))

    def test_pins_an_image_that_the_platform_would_not_give_today(self):
        patch = self.patch(churn_model("b", "b"), self.HISTORY[0], record(2, "b", SECOND, image="serving:2"))
        assert changes(patch)["/spec/serving"] == {"image": "serving:1"}

    def test_takes_back_what_was_added_since(self):
        model = churn_model("b", "b", serving={"image": "mine:2", "priorityClassName": "high"})
        patch = self.patch(model, self.HISTORY[0], record(2, "b", SECOND, image="mine:2"))
        assert changes(patch)["/spec/serving"] == {"image": "serving:1"}

    def test_is_empty_where_the_spec_asks_for_it_already(self):
        assert self.patch(churn_model("a", "a", model=FIRST)) == []
