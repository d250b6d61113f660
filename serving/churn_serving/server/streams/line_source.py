"""Customers as lines of JSON."""

from collections.abc import Callable, Sequence

from churn_serving.routing import Route
from churn_serving.server.rows import RowDecoder
from churn_serving.server.streams.chunk import Chunk, read_lines
from churn_serving.server.streams.lines import Line, Lines
from churn_serving.settings import Settings


class LineSource:
    """Reads a stream of lines, a record each."""

    def __init__(self, decoder: Callable[[Route], RowDecoder], settings: Settings) -> None:
        self._lines = Lines(settings.max_line_bytes)
        self._decoder, self._settings = decoder, settings

    @property
    def held(self) -> int:
        """Bytes of the line that is still coming."""
        return self._lines.held

    def feed(self, piece: bytes) -> Sequence[list[Line]]:
        """The lines that are whole now, if any."""
        lines = self._lines.feed(piece)
        return [lines] if lines else []

    def end(self) -> Sequence[list[Line]]:
        """The last line, where nothing ended it."""
        return self.feed(b"\n")

    def split(self, lines: list[Line]) -> Sequence[list[Line]]:
        """All at once: as many as one read brought."""
        return [lines]

    def encode(self, lines: list[Line], route: Route) -> Chunk:
        """Each line by itself."""
        return read_lines(lines, route, self._decoder(route), self._settings)
