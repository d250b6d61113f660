"""Lines of a stream, cut as they come."""

from typing import NamedTuple


class Line(NamedTuple):
    """One line that is not blank.

    Attributes:
        number: Among all lines, from 1.
        text: None where it is longer than a line may be.
    """

    number: int
    text: bytes | None


class Lines:
    """Keeps of what came only the line that has not ended yet, and of that no more than a line may have."""

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._rest = b""
        self._number = 0
        self._too_long = False

    def feed(self, part: bytes) -> list[Line]:
        """The lines that are whole now."""
        *whole, rest = part.split(b"\n")
        lines = [self._end(text) for text in whole]
        self._rest += b"" if self._too_long else rest
        if len(self._rest) > self._max:
            self._rest, self._too_long = b"", True
        return [line for line in lines if line.text is None or line.text]

    @property
    def held(self) -> int:
        """Bytes of the line that is still coming."""
        return len(self._rest)

    def _end(self, text: bytes) -> Line:
        text, self._rest = self._rest + text, b""
        too_long, self._too_long = self._too_long or len(text) > self._max, False
        self._number += 1
        return Line(self._number, None if too_long else text.strip())
