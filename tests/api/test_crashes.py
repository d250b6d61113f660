"""The operator is killed at every write of a ChurnModel's life, and each step ends as it would have."""

import ast
import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

import churn_operator
from churn_dev.fault_proxy import Call, Fault, pass_on

from ..chance import THOROUGH  # noqa: TID252  # lanes share how they draw
from .scenario import SITES, STEPS, Reference, agree, delete, name_of, suspend
from .trial import QUICK, Lane, Trial
from .ways import PHASES

pytestmark = [pytest.mark.api, pytest.mark.asyncio(loop_scope="module")]

WRITES_IN_A_STEP = 12
"""More than any step has. A long run's n-th trial kills once in each step, at the n-th of its writes by name,
with the operator's own clocks: each kill is followed by a life without one."""
AT_ONCE = 4
LEFT_OUT = {(step.__name__, "post events") for step in STEPS if step is not suspend} | {
    (suspend.__name__, "status churnmodels")
}
"""An Event follows its status and is lost with a life that ends there: where one is sure, it has its turn."""


@dataclass
class Crash:
    """Kills at each write that it has not killed at in this step; with `only`, at that one of its writes."""

    trial: Trial
    phase: str
    only: int | None = None
    step: str = ""
    killed: set[tuple[str, str]] = field(default_factory=set)
    target: str = ""
    slowest: float = 0.0

    def choose(self, call: Call) -> Fault:
        if not call.is_write or not self._is_due(name_of(call)):
            return pass_on
        self.killed.add((self.step, name_of(call)))
        return PHASES[self.phase](self.trial)

    def _is_due(self, write: str) -> bool:
        if (self.step, write) in self.killed | LEFT_OUT:
            return False
        return self.only is None or write == self.target

    async def run(self, reference: Reference) -> None:
        """Takes every step, with its kills, to the reference's state."""
        for step in STEPS:
            self.step = step.__name__
            if self.only is not None:
                writes = await reference.writes_of(self.step)
                self.target = writes[self.only] if self.only < len(writes) else ""
            await step(self.trial)
            if step is delete:
                self.trial.restart()
            await agree(self.trial, self.step, reference)
            self.slowest = max(self.slowest, time.monotonic() - self.trial.began)


@dataclass
class Matrix:
    """What all the trials led to."""

    reference: Reference
    crashes: list[Crash] = field(default_factory=list)
    failures: dict[str, list[BaseException]] = field(default_factory=dict)

    def killed(self, phase: str) -> set[tuple[str, str]]:
        return set[tuple[str, str]]().union(*(c.killed for c in self.crashes if c.phase == phase))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def matrix(lane: Lane) -> Matrix:
    """Runs all trials, a few at a time, beside the run without faults."""
    result = Matrix(Reference())
    turns = asyncio.Semaphore(AT_ONCE)
    pace = {} if THOROUGH else QUICK

    async def reference() -> None:
        async with Trial.open(lane, pace) as trial:
            await result.reference.run(trial)

    async def crash(phase: str, only: int | None) -> None:
        async with turns, Trial.open(lane, pace) as trial:
            crash = Crash(trial, phase, only)
            result.crashes.append(crash)
            trial.proxy.choose = crash.choose
            await crash.run(result.reference)

    ranks = range(WRITES_IN_A_STEP) if THOROUGH else [None]
    runs = {(phase, rank): crash(phase, rank) for rank in ranks for phase in PHASES}
    ended = await asyncio.gather(reference(), *runs.values(), return_exceptions=True)
    for (phase, _), error in zip([("reference", None), *runs], ended, strict=True):
        if isinstance(error, BaseException):
            result.failures.setdefault(phase, []).append(error)
    lives = sum(crash.trial.lives for crash in result.crashes)
    slowest = max(crash.slowest for crash in result.crashes)
    print(f"{len(runs)} trials, {lives} lives; a step ended at most {slowest:.1f} s after the last restart")
    return result


@pytest.mark.parametrize("phase", PHASES)
async def test_killed_at_any_write_each_step_ends_as_without_faults(matrix: Matrix, phase: str) -> None:
    assert matrix.failures.get("reference", []) == []
    assert matrix.failures.get(phase, []) == []


@pytest.mark.parametrize("phase", PHASES)
async def test_no_write_of_the_run_without_faults_is_left_out(matrix: Matrix, phase: str) -> None:
    assert matrix.reference.calls - LEFT_OUT - matrix.killed(phase) == set()


async def test_what_is_deleted_is_not_written_again(matrix: Matrix) -> None:
    """Its children go one by one, which is no reason to make them anew."""
    assert matrix.reference.writes[delete.__name__] == []


async def test_every_place_of_the_code_that_writes_is_in_the_matrix(matrix: Matrix) -> None:
    assert functions_that_write() == SITES.keys()
    kinds = {write.rpartition(" ")[0] for _, write in matrix.reference.calls}
    assert kinds == set[str]().union(*SITES.values())


def functions_that_write() -> set[str]:
    """Functions of the operator that call one of the client's writing methods."""
    found = set()
    files = Path(churn_operator.__path__[0]).glob("*.py")
    for file in (file for file in files if file.name != "crd_apply.py"):  # a program of its own
        for function in ast.walk(ast.parse(file.read_text())):
            if isinstance(function, ast.AsyncFunctionDef) and any(map(_writes, ast.walk(function))):
                found.add(function.name)
    return found


def _writes(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"apply", "patch", "delete", "create"}
        and ast.unparse(node.func.value).endswith("client")
    )
