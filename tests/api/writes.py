"""What the operator writes: the name of each request that changes something, and the places in its code."""

import ast
import json
from collections import Counter
from pathlib import Path

import churn_operator
from churn_dev.fault_proxy import WRITES, Call
from churn_operator.apply import ABSENT
from churn_operator.runtime.client import APPLY, JSON_PATCH, MERGE_PATCH

from .trial import without

CODE = Path(churn_operator.__path__[0])
TESTS = Path(__file__).parent.parent
CLIENT = "runtime/client.py"
PASSING = ("lastTransitionTime", "resourceVersion")
"""Fields that differ when the same is written again."""
Site = tuple[str, str, str]
SITES: dict[Site, set[str]] = {
    ("apply.py", "_apply", "apply"): {"create", "apply"},
    ("apply.py", "_evict", "patch"): {"evict"},
    ("apply.py", "_delete", "delete"): {"delete"},
    ("apply.py", "_stamp_pod", "patch"): {"stamp"},
    ("apply.py", "write_status", "apply"): {"status"},
    ("events.py", "_post_event", "create"): {"post"},
}
"""File, function and the client's method of each write for a ChurnModel; what its writes are called here."""
ELSEWHERE: dict[Site, tuple[str, ...]] = {
    # The right to write is none of one ChurnModel's: it is lost and won between processes.
    ("runtime/lease.py", "_take_or_renew", "create"): (
        "api/test_lease.py::test_one_that_is_killed_is_followed_when_its_lease_has_run_out",
        "operator/runtime/test_lease.py::test_of_two_that_reach_for_it_at_once_one_gets_it",
        "operator/runtime/test_lease.py::test_a_lease_that_somebody_deleted_is_made_again",
    ),
    ("runtime/lease.py", "_write", "patch"): (
        "api/test_lease.py::test_one_that_is_stopped_gives_the_lease_back",
        "api/test_lease.py::test_one_that_was_frozen_and_wakes_up_begins_no_write",
        "operator/runtime/test_lease.py::test_a_renewal_whose_answer_was_lost_costs_one_more_try",
        "operator/runtime/test_lease.py::test_a_server_that_is_away_ends_the_right_and_its_return_brings_it_back",
    ),
    # A program of its own, a hook of the chart: one request, and Helm sees how it ends.
    ("crd_apply.py", "apply", "apply"): (
        "deploy/test_crd_upgrade.py::test_a_change_by_hand_is_taken_back",
        "deploy/test_crd_upgrade.py::test_a_silent_api_server_is_named",
    ),
}
"""Writes that are in no life of a ChurnModel, and the tests that hold them."""
KINDS = set[str]().union(*SITES.values())


def name_of(call: Call) -> str:
    """What a write is for, and the resource: `create services`."""
    _, resource, _, subresource = call.place
    if call.method != "PATCH":
        return f"{'post' if call.method == 'POST' else 'delete'} {resource}"
    if call.content_type != APPLY:
        return f"{ {JSON_PATCH: 'evict', MERGE_PATCH: 'stamp'}[call.content_type] } {resource}"
    if subresource:
        return f"{subresource} {resource}"
    return f"{'create' if call.json()['metadata'].get('resourceVersion') == ABSENT else 'apply'} {resource}"


def kind_of(write: str) -> str:
    """`create` of `create services #2`."""
    return write.partition(" ")[0]


def plain(write: str) -> str:
    """The name of a write without its number."""
    return write.partition(" #")[0]


class Names:
    """Names the writes of one step: the second one that is called `stamp pods` is `stamp pods #2`.

    One that says the same of the same object as one before is that one again: a retry, or a next life's.
    """

    def __init__(self) -> None:
        self._told: dict[str, list[str]] = {}

    def of(self, call: Call) -> str:
        """The name of a write; to be asked for each one, in their order."""
        name = name_of(call)
        told = self._told.setdefault(name, [])
        content = f"{call.path} {json.dumps(without(call.json(), *PASSING), sort_keys=True)}"
        if content not in told:
            told.append(content)
        number = told.index(content) + 1
        return f"{name} #{number}" if number > 1 else name


def sites() -> Counter[Site]:
    """Where the operator's code calls a method of its client that writes."""
    methods = _methods_that_write()
    found: Counter[Site] = Counter()
    for file in sorted(CODE.rglob("*.py")):
        for function in _functions(file):
            calls = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
            called = [func.attr for func in calls if isinstance(func, ast.Attribute)]
            place = str(file.relative_to(CODE))
            found.update((place, function.name, name) for name in called if name in methods)
    return found


def _methods_that_write() -> set[str]:
    """Methods of the client that send something else than GET."""
    return {
        function.name
        for function in _functions(CODE / CLIENT)
        if any(isinstance(node, ast.Constant) and node.value in WRITES for node in ast.walk(function))
    }


def functions_of(file: Path) -> set[str]:
    """Names of the functions in a file."""
    return {function.name for function in _functions(file)}


def _functions(file: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.walk(ast.parse(file.read_text()))
    return [node for node in tree if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
