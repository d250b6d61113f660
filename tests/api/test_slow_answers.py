"""A write is done, and its answer comes when all of that is long gone and another ChurnModel has the name."""

import asyncio

import pytest
from aiohttp import web

from churn_dev.fault_proxy import Call, Exchange, Fault, pass_on
from churn_operator.kinds import CHILD_KINDS, CHURN_MODEL

from .trial import PATIENCE_SECONDS, SPEC, Lane, Trial
from .ways import WITHOUT_END

pytestmark = [pytest.mark.api, pytest.mark.asyncio(loop_scope="module")]


@pytest.mark.parametrize("resource", ["churnmodels", "networkpolicies", "deployments"])
async def test_a_slow_answer_about_one_that_is_gone_holds_nothing_up_of_the_next(
    lane: Lane, resource: str
) -> None:
    done, told = asyncio.Event(), asyncio.Event()

    async def answer_late(exchange: Exchange) -> web.StreamResponse:
        reply = await exchange.forward()
        done.set()
        await told.wait()
        return await exchange.tell(reply)

    def choose(call: Call) -> Fault:
        is_it = call.is_write and call.place[1:3] == (resource, "telco")
        return answer_late if is_it and not done.is_set() else pass_on

    async with Trial.open(lane, WITHOUT_END) as trial:
        trial.proxy.choose = choose
        await trial.apply(SPEC)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await done.wait()
        await trial.delete(CHURN_MODEL)
        await trial.until(lambda: _is_collected(trial), "its children are gone")
        await trial.apply(SPEC)
        await trial.apply(SPEC, "later")
        await trial.until_settled("later")  # so the operator heard of all that came before
        told.set()
        await trial.until_settled()


async def _is_collected(trial: Trial) -> bool:
    return [await trial.get(kind) for kind in CHILD_KINDS] == [None] * len(CHILD_KINDS)
