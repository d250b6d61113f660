"""The API server fails every request of a ChurnModel's life in every way; each step ends as without."""

import asyncio
import json
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from churn_dev.fault_proxy import Call, Fault, pass_on
from churn_operator.kinds import CHURN_MODEL, CONFIG_MAP

from ..chance import SEED, THOROUGH  # noqa: TID252  # lanes share how they draw
from .scenario import STEPS, Reference, agree, stay
from .trial import PATIENCE_SECONDS, SPEC, Lane, Trial, said
from .ways import ONLY_WRITES, PACE, WAYS, held_back
from .writes import KINDS, Names, kind_of, plain

pytestmark = [pytest.mark.api, pytest.mark.asyncio(loop_scope="module")]

AT_ONCE = 4
MIXES = (0, 1)
"""Trials of a short run, each with one of the ways for each request; a long run has a trial for each way."""
READ = "read"
MANY = 5
LATE = "events late"
LATE_SECONDS = 30.0 if THOROUGH else 1.5


@dataclass
class Trouble:
    """Spoils each request once: each write of each step, the second of a name too, and each read."""

    trial: Trial
    way_of: Callable[[str, int], str]
    step: str = ""
    names: Names = field(default_factory=Names)
    planned: list[str] = field(default_factory=list)
    spoilt: set[tuple[str, str]] = field(default_factory=set)
    ways: set[tuple[str, str]] = field(default_factory=set)

    def choose(self, call: Call) -> Fault:
        if call.is_watch or call.place[1] == "leases":
            return pass_on
        if not call.is_write:
            path = call.path.replace(self.trial.namespace, "NAMESPACE")
            way = self.way_of(READ, zlib.crc32(path.encode()))
            return self._spoil((READ, path), READ, "500" if way in ONLY_WRITES else way)
        write = self.names.of(call)
        if write in self.planned:
            way = self.way_of(self.step, self.planned.index(write))
        elif write == plain(write):  # not in the run without faults
            way = self.way_of(self.step, len(self.planned))
        else:
            return pass_on
        return self._spoil((self.step, write), kind_of(write), way)

    def _spoil(self, what: tuple[str, str], kind: str, way: str) -> Fault:
        if what in self.spoilt:
            return pass_on
        self.spoilt.add(what)
        self.ways.add((kind, way))
        return WAYS[way]

    async def run(self, reference: Reference) -> None:
        """Takes every step, with its faults, to the reference's state."""
        for step in STEPS:
            self.step, self.names = step.__name__, Names()
            self.planned = await reference.writes_of(self.step)
            await step(self.trial)
            await agree(self.trial, self.step, reference)
            await stay(self.trial, self.step, reference)


def mixed(number: int) -> Callable[[str, int], str]:
    """Each way in its turn, from another one on in each step and trial: two trials have them all."""

    def way_of(step: str, turn: int) -> str:
        first = zlib.crc32((SEED + step).encode()) + number * (len(WAYS) // 2)
        return list(WAYS)[(first + turn) % len(WAYS)]

    return way_of


def same(way: str) -> Callable[[str, int], str]:
    return lambda *_: way


@dataclass
class Matrix:
    reference: Reference
    troubles: list[Trouble] = field(default_factory=list)
    failures: dict[str, BaseException] = field(default_factory=dict)

    @property
    def ways(self) -> set[tuple[str, str]]:
        """Each kind of request and a way in which one of it failed."""
        return set[tuple[str, str]]().union(*(trouble.ways for trouble in self.troubles))

    def missed(self, trouble: Trouble) -> set[tuple[str, str]]:
        """Writes of the run without faults that did not come with them."""
        return self.reference.calls - trouble.spoilt


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def matrix(lane: Lane) -> Matrix:
    """Runs all trials, a few at a time, beside the run without faults."""
    result = Matrix(Reference())
    turns = asyncio.Semaphore(AT_ONCE)

    async def reference() -> None:
        async with Trial.open(lane, PACE) as trial:
            await result.reference.run(trial)

    async def late() -> None:
        async with Trial.open(lane, PACE, hold=True) as trial:
            trial.proxy.choose = lambda call: held_back(LATE_SECONDS) if call.is_watch else pass_on
            trial.start()
            for step in STEPS:
                await step(trial)
                patience = PATIENCE_SECONDS + 6 * LATE_SECONDS  # what follows from what is late is late too
                await agree(trial, step.__name__, result.reference, seconds=patience)
                await stay(trial, step.__name__, result.reference, seconds=LATE_SECONDS + 2.0)

    async def trouble(way_of: Callable[[str, int], str]) -> None:
        async with turns, Trial.open(lane, PACE, hold=True) as trial:
            spoiler = Trouble(trial, way_of)
            result.troubles.append(spoiler)
            trial.proxy.choose = spoiler.choose
            trial.start()
            await spoiler.run(result.reference)

    chosen = {way: same(way) for way in WAYS} if THOROUGH else {f"mix {n}": mixed(n) for n in MIXES}
    runs: dict[str, Awaitable[None]] = {"none": reference(), LATE: late()}
    runs |= {name: trouble(way_of) for name, way_of in chosen.items()}
    ended = await asyncio.gather(*runs.values(), return_exceptions=True)
    result.failures = {
        name: error for name, error in zip(runs, ended, strict=True) if isinstance(error, BaseException)
    }
    print(f"{sum(len(each.spoilt) for each in result.troubles)} requests failed in {len(chosen)} trials")
    for each in result.troubles:
        for step, write in sorted(result.missed(each)):
            print(f"did not come in {each.trial.namespace}: {step}, {write}")
    return result


async def test_whatever_fails_each_step_ends_as_without_faults(matrix: Matrix) -> None:
    assert {way: error for way, error in matrix.failures.items() if way != LATE} == {}


async def test_however_late_events_come_each_step_ends_the_same(matrix: Matrix) -> None:
    """Nothing is made twice and nothing newer is undone, whatever the caches do not know yet."""
    assert matrix.failures.get(LATE) is None


async def test_every_write_failed_in_every_trial(matrix: Matrix) -> None:
    for trouble in matrix.troubles:
        assert matrix.missed(trouble) & matrix.reference.sure == set()


async def test_every_place_of_the_code_that_writes_and_every_list_failed(matrix: Matrix) -> None:
    assert {kind for kind, _ in matrix.ways} == KINDS | {READ}
    spoilt = set[tuple[str, str]]().union(*(trouble.spoilt for trouble in matrix.troubles))
    assert len({path for step, path in spoilt if step == READ}) >= 9


async def test_every_way_to_fail_was_met(matrix: Matrix) -> None:
    """In a long run by every kind of request, in a short one by some."""
    every = {(kind, way) for kind in KINDS | {READ} for way in WAYS if kind != READ or way not in ONLY_WRITES}
    assert {way for _, way in matrix.ways} == WAYS.keys()
    if THOROUGH:
        assert matrix.ways == every


async def test_one_that_always_fails_neither_slows_another_nor_spins(lane: Lane) -> None:
    ways = ("429 with Retry-After", "500", "a stall", "reset")
    await asyncio.gather(*(live_beside_one_that_fails(lane, way) for way in ways))


async def live_beside_one_that_fails(lane: Lane, way: str) -> None:
    """Serves some ChurnModels while every write for another fails, and then that one too."""
    async with Trial.open(lane, PACE) as trial:
        tries: list[Call] = []

        def choose(call: Call) -> Fault:
            poisoned = call.is_write and call.place[2].startswith("poisoned")
            tries.extend([call] * poisoned)
            return WAYS[way] if poisoned else pass_on

        trial.proxy.choose = choose
        others = [f"other-{number}" for number in range(MANY)]
        await trial.apply(SPEC, "poisoned")
        for threshold in (0.4, 0.7):
            asked = SPEC | {"decision": {"threshold": threshold}, "replicas": 1}
            await asyncio.gather(*(trial.apply(asked, name) for name in others))
            for name in others:
                await trial.until_settled(name)
                config = await trial.get(CONFIG_MAP, name) or {}
                assert str(threshold) in json.dumps(config["data"])
        assert said(await trial.get(CHURN_MODEL, "poisoned"), "Ready").get("status") != "True"
        assert len(tries) <= 60  # five children a pass, each pass later than the one before
        trial.proxy.choose = lambda _: pass_on
        await trial.until_settled("poisoned")


async def test_what_the_api_server_cannot_do_for_a_while_leaves_the_status_as_it_was(lane: Lane) -> None:
    """Trouble of the API alone is no news of the model."""
    async with Trial.open(lane) as trial:
        await trial.apply(SPEC)
        await trial.until_settled()
        trial.proxy.choose = lambda call: pass_on if not call.is_write else WAYS["503"]
        await trial.delete(CONFIG_MAP)
        await trial.until(lambda: _tried(trial, "configmaps"), "the ConfigMap was tried")
        seen = await trial.get(CHURN_MODEL)
        assert said(seen, "Ready")["status"] == "True"
        trial.proxy.choose = lambda _: pass_on
        await trial.until(lambda: trial.get(CONFIG_MAP), "the ConfigMap is back")
        assert said(await trial.get(CHURN_MODEL), "Ready") == said(seen, "Ready")


async def _tried(trial: Trial, resource: str) -> bool:
    return sum(call.place[1] == resource for call in trial.writes[-5:]) >= 2
