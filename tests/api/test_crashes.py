"""The operator is killed at every write of a ChurnModel's life, and each step ends as it would have."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from churn_dev.fault_proxy import Call, Fault, pass_on

from ..chance import THOROUGH, dice  # noqa: TID252  # lanes share how they draw
from .scenario import STEPS, Reference, agree, delete, stay, suspend
from .trial import QUICK, Lane, Trial
from .ways import PHASES
from .writes import ELSEWHERE, KINDS, SITES, TESTS, Names, functions_of, kind_of, plain, sites

pytestmark = [pytest.mark.api, pytest.mark.asyncio(loop_scope="module")]

WRITES_IN_A_STEP = 24
"""More than any step has. A long run's n-th trial kills once in each step, at the n-th of its writes, with
the operator's own clocks: each kill is followed by a life without one. No more are run than the longest
step needs."""
AT_ONCE = 6 if THOROUGH else 4
LEFT_OUT = {(step.__name__, "post events") for step in STEPS if step is not suspend} | {
    (suspend.__name__, "status churnmodels")
}
"""Where a short run does not kill. An Event follows its status and is lost with a life that ends there: where
one is sure, it has its turn."""


@dataclass
class Crash:
    """Kills once at each write that is planned for a step: at the `rank`-th alone, or at one of each name."""

    trial: Trial
    phase: str
    rank: int | None = None
    step: str = ""
    names: Names = field(default_factory=Names)
    planned: set[tuple[str, str]] = field(default_factory=set)
    killed: set[tuple[str, str]] = field(default_factory=set)
    slowest: tuple[float, str] = (0.0, "")

    def choose(self, call: Call) -> Fault:
        if not call.is_write:
            return pass_on
        what = (self.step, self.names.of(call))
        if what not in self.planned - self.killed:
            return pass_on
        self.killed.add(what)
        return PHASES[self.phase](self.trial)

    async def run(self, reference: Reference) -> None:
        """Takes every step, with its kills, to the reference's state."""
        for step in STEPS:
            self.step, self.names = step.__name__, Names()
            writes = await reference.writes_of(self.step)
            self.planned |= {(self.step, write) for write in self._choice(writes, reference.sure)}
            lives = self.trial.lives
            await step(self.trial)
            if step is delete:
                self.trial.restart()
            await agree(self.trial, self.step, reference)
            if self.trial.lives > lives:
                self.slowest = max(self.slowest, (time.monotonic() - self.trial.began, self.step))
            await stay(self.trial, self.step, reference)

    def _choice(self, writes: list[str], sure: set[tuple[str, str]]) -> list[str]:
        """The one of that rank; else one of each name, and one that comes in every run, if there is one."""
        if self.rank is not None:
            return writes[self.rank : self.rank + 1]
        draw = dice(f"kills {self.phase} {self.step}")
        called: dict[str, list[str]] = {}
        for write in writes:
            called.setdefault(plain(write), []).append(write)
        return [
            draw.choice([write for write in each if (self.step, write) in sure] or each)
            for name, each in called.items()
            if (self.step, name) not in LEFT_OUT
        ]


@dataclass
class Matrix:
    """What all the trials led to."""

    reference: Reference
    crashes: list[Crash] = field(default_factory=list)
    failures: dict[str, list[BaseException]] = field(default_factory=dict)

    def killed(self, phase: str) -> set[tuple[str, str]]:
        return set[tuple[str, str]]().union(*(c.killed for c in self.crashes if c.phase == phase))

    def missed(self, phase: str) -> set[tuple[str, str]]:
        """Writes that a kill was planned for, and that did not come."""
        planned = set[tuple[str, str]]().union(*(c.planned for c in self.crashes if c.phase == phase))
        return planned - self.killed(phase)

    def __str__(self) -> str:
        """Figures, and what did not come."""
        lives = sum(crash.trial.lives for crash in self.crashes)
        killed = sum(len(crash.killed) for crash in self.crashes)
        seconds, slowest = max(crash.slowest for crash in self.crashes)
        missed = [
            f"{phase} {write} in {step}" for phase in PHASES for step, write in sorted(self.missed(phase))
        ]
        lines = (
            f"{len(self.crashes)} trials, {lives} lives, killed at {killed} writes",
            f"slowest to its end after a restart: {slowest}, {seconds:.1f} s",
            f"{len(missed)} writes to be killed at did not come",
        )
        return "\n".join((*lines, *missed))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def matrix(lane: Lane) -> Matrix:
    """Runs all trials, a few at a time, beside the run without faults."""
    result = Matrix(Reference())
    turns = asyncio.Semaphore(AT_ONCE)
    pace = {} if THOROUGH else QUICK

    async def reference() -> None:
        async with Trial.open(lane, pace) as trial:
            await result.reference.run(trial)

    async def crash(phase: str, rank: int | None) -> None:
        async with turns:
            if rank is None or await result.reference.reaches(rank):
                await kill(phase, rank)

    async def kill(phase: str, rank: int | None) -> None:
        async with Trial.open(lane, pace) as trial:
            crash = Crash(trial, phase, rank)
            result.crashes.append(crash)
            trial.proxy.choose = crash.choose
            await crash.run(result.reference)

    ranks = range(WRITES_IN_A_STEP) if THOROUGH else [None]
    runs = {(phase, rank): crash(phase, rank) for rank in ranks for phase in PHASES}
    ended = await asyncio.gather(reference(), *runs.values(), return_exceptions=True)
    for (phase, _), error in zip([("reference", None), *runs], ended, strict=True):
        if isinstance(error, BaseException):
            result.failures.setdefault(phase, []).append(error)
    print(result)
    return result


@pytest.mark.parametrize("phase", PHASES)
async def test_killed_at_any_write_each_step_ends_as_without_faults(matrix: Matrix, phase: str) -> None:
    assert matrix.failures.get("reference", []) == []
    assert matrix.failures.get(phase, []) == []


@pytest.mark.parametrize("phase", PHASES)
async def test_no_write_of_the_run_without_faults_is_left_out(matrix: Matrix, phase: str) -> None:
    planned, killed = matrix.missed(phase) | matrix.killed(phase), matrix.killed(phase)
    if THOROUGH:
        assert planned == matrix.reference.calls
    else:
        named = {(step, plain(write)) for step, write in matrix.reference.calls}
        assert {(step, plain(write)) for step, write in planned} == named - LEFT_OUT
    assert matrix.missed(phase) & matrix.reference.sure == set()
    assert {kind_of(write) for _, write in killed} == KINDS


async def test_what_is_deleted_is_not_written_again(matrix: Matrix) -> None:
    """Its children go one by one, which is no reason to make them anew."""
    assert matrix.reference.writes[delete.__name__] == []


async def test_every_place_of_the_code_that_writes_is_in_the_matrix_or_held_elsewhere(matrix: Matrix) -> None:
    assert sites() == Counter(SITES.keys() | ELSEWHERE.keys())
    assert {kind_of(write) for _, write in matrix.reference.calls} == KINDS


@pytest.mark.parametrize("test", sorted({test for tests in ELSEWHERE.values() for test in tests}))
async def test_what_is_held_elsewhere_has_its_test(test: str) -> None:
    file, _, name = test.partition("::")
    assert name in functions_of(TESTS / file)
