"""Arrow's stream format, cut into messages as they come; only a message's frame is read here.

https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
"""

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from flatbuffers import encode, number_types
from flatbuffers.table import Table

from churn_serving.server.http import RequestError

END = struct.pack("<II", 0xFFFFFFFF, 0)
"""Ends a stream."""
_FRAME = struct.Struct("<Ii")
_MAX_METADATA = 1 << 20  # a schema of some thousand columns


class Kind(IntEnum):
    """What a message is, by the number that the format gives it."""

    SCHEMA = 1
    DICTIONARY = 2
    BATCH = 3


class Message(NamedTuple):
    """One message as it came.

    Attributes:
        rows: Of a batch or a dictionary.
        dictionary: Which one, where it is one.
        adds: Whether it adds to a dictionary that came before.
    """

    kind: Kind
    content: bytes
    rows: int = 0
    dictionary: int = 0
    adds: bool = False


class Messages:
    """Cuts a stream into messages. Keeps what came of the next one, and no more than a message may have."""

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._rest = bytearray()
        self._ended = False
        self._next: tuple[Message, int] | None = None

    def feed(self, part: bytes) -> Iterator[Message]:
        """The messages that are whole now; what follows the stream's end is left alone.

        Raises:
            RequestError: 400, this is no such stream; 413, a message is too large.
        """
        self._rest += part
        while not self._ended and (cut := self._cut()) is not None:
            yield cut

    def end(self) -> None:
        """Raises: RequestError: 400, the stream is cut short."""
        if self._rest and not self._ended:
            raise malformed("it ends within a message")

    @property
    def held(self) -> int:
        """Bytes of the message that is still coming."""
        return len(self._rest)

    def _cut(self) -> Message | None:
        self._next = self._next or self._begin()
        if self._next is None:
            return None
        message, end = self._next
        if len(self._rest) < end:
            return None
        content = bytes(self._rest[:end])
        del self._rest[:end]
        self._next = None
        return message._replace(content=content)

    def _begin(self) -> tuple[Message, int] | None:
        """The next message, still without content, and where it ends; None while its metadata come."""
        if len(self._rest) < _FRAME.size:
            return None
        mark, length = _FRAME.unpack_from(self._rest)
        if mark != 0xFFFFFFFF or not 0 <= length <= _MAX_METADATA:
            raise malformed("a message does not begin as one")
        start = _FRAME.size + length
        if length == 0:
            self._ended = True
        if length == 0 or len(self._rest) < start:
            return None
        try:
            message, body = _read_metadata(bytes(self._rest[_FRAME.size : start]))
        except (struct.error, ValueError, LookupError, TypeError, OverflowError):
            raise malformed("a message's metadata cannot be read") from None
        if not 0 <= body <= self._max:
            text = f"an Arrow message has more than {self._max} bytes; write smaller batches"
            raise RequestError(413, "body_too_large", text)
        return message, start + body


def malformed(problem: str) -> RequestError:
    """What is wrong with a stream that claims to be Arrow's."""
    return RequestError(400, "malformed_arrow", f"the body is no Arrow stream: {problem}")


def metadata_of(content: bytes) -> tuple[Table, memoryview]:
    """A whole message's header, and its body."""
    _, length = _FRAME.unpack_from(content)
    start = _FRAME.size + length
    header = child_of(_root(content[_FRAME.size : start]), 2)
    if header is None:
        raise ValueError
    return header, memoryview(content)[start:]


def number_of(table: Table, field: int, flags: type) -> int:
    """A number of a table, 0 where it is not there."""
    offset = table.Offset(_slot(field))
    return int(table.Get(flags, table.Pos + offset)) if offset else 0


def text_of(table: Table, field: int) -> str:
    """A text of a table, empty where it is not there."""
    offset = table.Offset(_slot(field))
    return bytes(table.String(table.Pos + offset)).decode() if offset else ""


def child_of(table: Table, field: int) -> Table | None:
    """A table inside of another."""
    offset = table.Offset(_slot(field))
    return Table(table.Bytes, table.Indirect(table.Pos + offset)) if offset else None


def elements_of(table: Table, field: int) -> Iterator[Table]:
    """The tables of a list."""
    offset = table.Offset(_slot(field))
    if offset:
        start = table.Vector(offset)
        for at in range(min(table.VectorLen(offset), len(table.Bytes) // 4)):
            yield Table(table.Bytes, table.Indirect(start + at * 4))


def _read_metadata(metadata: bytes) -> tuple[Message, int]:
    """The message, still without content, and how long its body is."""
    root = _root(metadata)
    kind = Kind(number_of(root, 1, number_types.Uint8Flags))
    body = number_of(root, 3, number_types.Int64Flags)
    header = child_of(root, 2)
    batch = child_of(header, 1) if header is not None and kind is Kind.DICTIONARY else header
    if header is None or batch is None:
        raise ValueError
    if kind is Kind.SCHEMA:
        return Message(kind, b""), body
    if batch.Offset(_slot(3)):
        # What compressed buffers unpack to is for them to say.
        text = "write Arrow batches uncompressed; compress the whole body instead, with Content-Encoding"
        raise RequestError(415, "unsupported_encoding", text)
    rows = number_of(batch, 0, number_types.Int64Flags)
    if kind is Kind.BATCH:
        return Message(kind, b"", rows), body
    which, adds = number_of(header, 0, number_types.Int64Flags), number_of(header, 2, number_types.Uint8Flags)
    return Message(kind, b"", rows, which, bool(adds)), body


def _root(metadata: bytes) -> Table:
    return Table(metadata, encode.Get(number_types.UOffsetTFlags.packer_type, metadata, 0))


def _slot(field: int) -> int:
    return 4 + 2 * field
