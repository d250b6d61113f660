"""Clients of `make soak` as Locust runs them: half keep a connection, half open one for each request.

CHURN_SOAK names a JSON file: `body`, `rate` (requests a second), how many users are `kept` and `new`, what
is said of a 200 of somebody else (`stranger`), and two files: `began`, which is there once a request was
sent, and `told`, where the outcomes go to.
"""

import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

from locust import HttpUser, constant_throughput, events, task
from locust.clients import HttpSession
from locust.exception import CatchResponseError

SOAK = json.loads(Path(os.environ["CHURN_SOAK"]).read_text())
BEGAN = Path(SOAK["began"])
DEADLINE_SECONDS = 10
OK = 200

statuses: Counter[int] = Counter()
lost: list[dict[str, Any]] = []


class Kept(HttpUser):
    fixed_count = SOAK["kept"]
    wait_time = constant_throughput(SOAK["rate"] / 2 / SOAK["kept"])
    used: float | None = None

    @task
    def predict(self) -> None:
        rested = None if self.used is None else time.monotonic() - self.used
        ask(self.client, rested, {})
        self.used = time.monotonic()


class New(HttpUser):
    fixed_count = SOAK["new"]
    wait_time = constant_throughput(SOAK["rate"] / 2 / SOAK["new"])

    @task
    def predict(self) -> None:
        ask(self.client, None, {"Connection": "close"})


def ask(client: HttpSession, rested: float | None, headers: dict[str, str]) -> None:
    context = {"rested": rested}
    with client.post(
        "/predict", json=SOAK["body"], headers=headers, timeout=DEADLINE_SECONDS, context=context,
        catch_response=True,
    ) as answer:  # fmt: skip
        if answer.status_code == OK and not names_version(answer.content):
            answer.failure(f"{SOAK['stranger']}: {answer.content[:80]!r}")


def names_version(content: bytes) -> bool:
    try:
        said = json.loads(content)
    except ValueError:
        return False
    return isinstance(said, dict) and isinstance(said.get("version"), str)


@events.request.add_listener
def note(
    response_time: float, response: Any, context: Any, exception: Any, start_time: float, **_: object
) -> None:
    if isinstance(exception, CatchResponseError):
        how = str(exception)
    elif response is not None and response.status_code:
        statuses[response.status_code] += 1
        how = f"HTTP {response.status_code}"
    else:
        how = f"{type(exception).__name__}: {exception}"
    if exception is not None:
        lost.append(
            {"at": start_time, "seconds": response_time / 1000, "how": how, "rested": context["rested"]}
        )
    BEGAN.touch()


@events.quit.add_listener
def tell(**_: object) -> None:
    fresh = Path(SOAK["told"] + ".writing")
    fresh.write_text(json.dumps({"statuses": statuses, "lost": lost}))
    fresh.rename(SOAK["told"])
