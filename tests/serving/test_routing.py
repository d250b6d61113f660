"""The routing table: who answers, and what serving.json may say."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from churn_serving.errors import ConfigInvalidError, DigestMismatchError, RevisionNotConfiguredError
from churn_serving.model import Model
from churn_serving.routing import ServingFile, build_table, find_revisions, read_serving_file

Write = Callable[[object], ServingFile]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: object) -> ServingFile:
        path = tmp_path / "serving.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return read_serving_file(path)

    return write


def test_customers_are_shared_out_by_weight_and_stay_where_they_are(telco_model: Model, write: Write):
    file = write({"model": "m", "revisions": {"a": {"weight": 90}, "b": {"weight": 10}}})
    table = build_table(None, file, {"a": telco_model, "b": telco_model})
    answered = {f"C-{n}": table.choose(f"C-{n}").revision for n in range(5000)}
    assert 0.07 < Counter(answered.values())["b"] / 5000 < 0.13
    assert all(table.choose(customer).revision == revision for customer, revision in answered.items())


def test_customers_without_an_id_are_shared_out_too(telco_model: Model, write: Write):
    file = write({"model": "m", "revisions": {"a": {"weight": 50}, "b": {"weight": 50}}})
    table = build_table(None, file, {"a": telco_model, "b": telco_model})
    assert {table.choose(None).revision for _ in range(1000)} == {"a", "b"}


def test_a_weight_of_nothing_is_never_chosen_unless_all_are(telco_model: Model, write: Write):
    models = {"a": telco_model, "b": telco_model}
    some = build_table(
        None, write({"model": "m", "revisions": {"a": {"weight": 0}, "b": {"weight": 1}}}), models
    )
    assert {some.choose(n).revision for n in range(200)} == {"b"}
    none = build_table(
        None, write({"model": "m", "revisions": {"a": {"weight": 0}, "b": {"weight": 0}}}), models
    )
    assert {none.choose(n).revision for n in range(200)} == {"a", "b"}


def test_without_a_decision_the_bundles_threshold_holds(telco_model: Model, write: Write):
    revisions = {"a": {"decision": None}, "b": {"decision": {"threshold": 0.3}}}
    table = build_table(
        None, write({"model": "m", "revisions": revisions}), {"a": telco_model, "b": telco_model}
    )
    assert [route.threshold for route in table.routes] == [0.5, 0.3]


def test_fields_of_a_later_operator_are_passed_over(write: Write):
    assert (
        write({"model": "m", "revisions": {"a": {"shadow": True}}, "tracing": {}}).revisions["a"].weight
        == 100
    )


def test_other_pods_revisions_are_passed_over(telco_model: Model, write: Write):
    file = write({"model": "m", "revisions": {"a": {}, "b": {}, "c": {}}})
    assert [route.revision for route in build_table(None, file, {"b": telco_model}).routes] == ["b"]


def test_a_loaded_revision_that_is_not_named_is_refused(telco_model: Model, write: Write):
    with pytest.raises(RevisionNotConfiguredError, match="revision b; it names a"):
        build_table(None, write({"model": "m", "revisions": {"a": {}}}), {"b": telco_model})


def test_other_bytes_than_those_loaded_are_refused(telco_model: Model, write: Write):
    file = write({"model": "m", "revisions": {"a": {"digest": "sha256:" + "0" * 64}}})
    with pytest.raises(DigestMismatchError):
        build_table(None, file, {"a": telco_model})


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        '{"model": "m"}',
        '{"model": "", "revisions": {}}',
        '{"model": "m", "revisions": {"a": {"weight": -1}}}',
        '{"model": "m", "revisions": {"a": {"weight": 1.5}}}',
        '{"model": "m", "revisions": {"a": {"decision": {"threshold": 1}}}}',
        '{"model": "m", "revisions": {"a": {"decision": {}}}}',
        "[" * 100_000,
        " " * (1 << 21),
    ],
)
def test_a_file_of_another_form_is_invalid(write: Write, content: str):
    with pytest.raises(ConfigInvalidError):
        write(content)


def test_only_directories_that_are_not_hidden_hold_revisions(tmp_path: Path):
    for name in ("abc", ".snapshot", "lost+found", "..data"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes.txt").write_text("")
    assert find_revisions(tmp_path) == ["abc"]


def test_a_models_directory_without_a_bundle_says_what_belongs_there(tmp_path: Path):
    with pytest.raises(ConfigInvalidError, match="a directory of its name"):
        find_revisions(tmp_path)
