"""The life of one ChurnModel, step by step, and every write that the operator does in it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial

from churn_operator.kinds import CHURN_MODEL, SERVICE
from churn_operator.runtime.client import JSON_PATCH

from ..chance import SEED, dice  # noqa: TID252  # lanes share how they draw
from .trial import PATIENCE_SECONDS, SPEC, State, Trial
from .writes import Names, kind_of, plain

AUTOSCALING = {"minReplicas": 2, "maxReplicas": 5, "targetCPUUtilizationPercentage": 70}
OTHER = {"uri": "oci://registry.example/telco:2", "digest": "sha256:" + "1" * 64}
THIRD = {"uri": "oci://registry.example/telco:3", "digest": "sha256:" + "2" * 64}


async def create(trial: Trial) -> None:
    await trial.apply(SPEC)


async def new_threshold(trial: Trial) -> None:
    await trial.edit(decision={"threshold": 0.6})


async def autoscaling_on(trial: Trial) -> None:
    await trial.edit(autoscaling=AUTOSCALING)


async def new_model(trial: Trial) -> None:
    await trial.edit(model=OTHER)


async def suspend(trial: Trial) -> None:
    await trial.edit(suspend=True)


async def resume(trial: Trial) -> None:
    await trial.edit(suspend=False)


async def third_model(trial: Trial) -> None:
    """The revision before the last is now one too many."""
    await trial.edit(model=THIRD)


async def autoscaling_off(trial: Trial) -> None:
    await trial.edit(autoscaling=None, replicas=3)


async def strangers(trial: Trial) -> None:
    """Somebody deletes a child; and somebody opens a port."""
    await trial.delete(SERVICE)
    service = await trial.until(lambda: trial.get(SERVICE), "the Service is back")
    port = {"op": "add", "path": "/spec/ports/-", "value": {"name": "ssh", "port": 22}}
    await trial.patch(SERVICE, [port], how=JSON_PATCH)

    async def is_closed() -> bool:
        seen = await trial.get(SERVICE)
        return seen is not None and seen["spec"]["ports"] == service["spec"]["ports"]

    await trial.until(is_closed, "the port is closed")


async def delete(trial: Trial) -> None:
    await trial.delete(CHURN_MODEL)


Step = Callable[[Trial], Awaitable[None]]
LIFE: tuple[Step, ...] = (
    new_threshold, autoscaling_on, new_model, suspend, resume, third_model, autoscaling_off, strangers,
)  # fmt: skip
BEFORE = ((autoscaling_on, autoscaling_off), (suspend, resume), (new_model, third_model))
"""What comes before what in every life."""
AWAKE = (new_threshold, autoscaling_on)
"""What asks nothing of the operator while no replica runs: some of its writes would never be made."""


def shuffled(life: tuple[Step, ...]) -> tuple[Step, ...]:
    """The life in another order that makes sense; CHURN_SEED chooses it."""
    draw = dice("life")
    while True:
        drawn = draw.sample(life, len(life))
        asleep = drawn[drawn.index(suspend) : drawn.index(resume)] if _is_ordered(drawn) else [*AWAKE]
        if not set(AWAKE) & set(asleep):
            return tuple(drawn)


def _is_ordered(life: list[Step]) -> bool:
    return all(life.index(first) < life.index(then) for first, then in BEFORE)


STEPS = (create, *(shuffled(LIFE) if SEED else LIFE), delete)
LAST = {step.__name__ for step in STEPS[-2:]}
"""Steps after which nothing more is asked: the state that they led to has to stay."""


class Reference:
    """A run without faults: the writes of each step, and the state after it."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.states: dict[str, asyncio.Future[State]] = {
            step.__name__: loop.create_future() for step in STEPS
        }
        self.writes: dict[str, list[str]] = {}

    async def run(self, trial: Trial) -> None:
        """Takes every step, and notes what it led to."""
        try:
            await self._run(trial)
        except BaseException as error:
            for state in self.states.values():  # nobody waits for what will not come
                if not state.done():
                    state.set_exception(error)
            raise

    async def _run(self, trial: Trial) -> None:
        for step in STEPS:
            trial.writes.clear()
            await step(trial)
            if step is delete:  # the garbage collector takes its time, and a half of it is no reference
                await trial.until(partial(_is_empty, trial), "nothing is left")
            else:
                await trial.until_settled()
            await trial.until_quiet()
            names = Names()
            self.writes[step.__name__] = [names.of(call) for call in trial.writes]
            self.states[step.__name__].set_result(await look(trial, step.__name__))

    async def writes_of(self, step: str) -> list[str]:
        """The names of a step's writes, sorted, once it was taken."""
        await self.states[step]
        return sorted({*self.writes[step]})

    async def reaches(self, rank: int) -> bool:
        """Whether a step has more writes than `rank`; looks no further than to the first one that does."""
        for step in STEPS:
            if len(await self.writes_of(step.__name__)) > rank:
                return True
        return False

    @property
    def calls(self) -> set[tuple[str, str]]:
        """Each step and the name of a write in it."""
        return {(step, write) for step, writes in self.writes.items() for write in writes}

    @property
    def sure(self) -> set[tuple[str, str]]:
        """Those of them that come in every run.

        How many statuses tell of a step depends on how much each of them sees, and what others do to children
        need not be in one; an Event follows its status, and is lost with a life that ends between the two.
        """
        return {
            (step, write)
            for step, write in self.calls
            if kind_of(write) not in {"status", "post"}
            or (kind_of(write) == "status" and write == plain(write) and step != strangers.__name__)
        }


async def _is_empty(trial: Trial) -> bool:
    return await trial.state() == {"pods": []}


async def look(trial: Trial, step: str) -> State:
    """The state that two runs are to share after a step."""
    return await trial.state(stamps=step == new_threshold.__name__)


async def agree(trial: Trial, step: str, reference: Reference, *, seconds: float = PATIENCE_SECONDS) -> None:
    """Waits until the trial's state after a step is the reference's.

    Raises:
        AssertionError: it does not come to that; shows the difference.
    """
    wanted = await reference.states[step]

    async def same() -> bool:
        return await look(trial, step) == wanted

    with contextlib.suppress(TimeoutError):
        await trial.until(same, "the same state", seconds=seconds)
        return
    await compare(trial, step, reference)


async def stay(trial: Trial, step: str, reference: Reference, *, seconds: float | None = None) -> None:
    """After the last steps, waits until the operator is still: the state is the reference's yet.

    Raises:
        TimeoutError: it goes on writing.
        AssertionError: it came to another state; shows the difference.
    """
    if step in LAST:
        await trial.until_quiet(seconds)
        await compare(trial, step, reference)


async def compare(trial: Trial, step: str, reference: Reference) -> None:
    """Shows how the trial's state differs from the reference's."""
    found, wanted = await look(trial, step), await reference.states[step]
    for name in sorted(found.keys() | wanted.keys()):
        said = f"{step} in {trial.namespace}: {name} is {found.get(name)}, without faults {wanted.get(name)}"
        assert found.get(name) == wanted.get(name), said
