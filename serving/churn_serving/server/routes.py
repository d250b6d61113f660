"""What answers a path."""

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from churn_serving.server.http import Header, Reply, RequestError, error_reply
from churn_serving.server.scoring import Endpoint
from churn_serving.server.state import Serving

Page = Callable[[Serving], Reply]


class Body(NamedTuple):
    """A request's body, unpacked, and its headers."""

    content: bytes
    headers: list[Header]


Post = Callable[[Serving, Body], Coroutine[Any, Any, Reply]]


class Route(NamedTuple):
    """What answers a path: `page` (GET, HEAD), `hot` (POST of JSON) or `post` (POST of another form).

    Attributes:
        template: The path as metrics name it.
        to_error: The shape of this route's errors.
        table: `hot` for a client that wants CSV; such a route takes streams, too.
        open: Whoever asks is answered: load balancers have no key.
    """

    template: str
    page: Page | None = None
    hot: Endpoint | None = None
    post: Post | None = None
    to_error: Callable[[RequestError], Reply] = error_reply
    table: Endpoint | None = None
    open: bool = False

    @property
    def methods(self) -> tuple[str, ...]:
        return ("POST",) if self.hot or self.post else ("GET", "HEAD")
