"""Compressed bodies, unpacked under a cap: a small body can unpack to gigabytes."""

import sys
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from churn_serving.server.http import Header, RequestError

_KNOWN = frozenset({b"identity", b"gzip", b"x-gzip", b"deflate", b"zstd"})
_GZIP, _ZLIB = 31, 15  # zlib's names for its two containers
# The largest window that RFC 9659 has a recipient support; a frame may ask for 128 MiB and more.
_ZSTD_WINDOW_LOG = 23
_PIECE = 64 << 10


def encoding_of(headers: Sequence[Header]) -> bytes:
    """How a body is compressed; empty where it is not.

    Raises:
        RequestError: 415, in a way that is not known here.
    """
    given = [value.strip().lower() for name, value in headers if name == b"content-encoding"]
    if not given or given == [b"identity"]:
        return b""
    if len(given) > 1 or given[0] not in _KNOWN:
        message = "send the body as it is, or compressed once, with gzip, deflate or zstd"
        headers_of_reply = ((b"accept-encoding", b"gzip, deflate, zstd"),)
        raise RequestError(415, "unsupported_encoding", message, headers=headers_of_reply)
    return given[0]


def inflate(body: bytes, encoding: bytes, *, max_bytes: int) -> bytes:
    """The body as it was before its `Content-Encoding`. Never unpacks more than `max_bytes`.

    Raises:
        RequestError: 413 where it is larger, 400 where it is not what the header says.
    """
    decompressor, refusal = _decompressor(encoding)
    try:
        unpacked: bytes = decompressor.decompress(body, max_bytes + 1)
    except refusal:
        raise _refused(encoding) from None
    if len(unpacked) > max_bytes:
        text = f"the body unpacks to more than {max_bytes} bytes; send fewer records at once"
        raise RequestError(413, "body_too_large", text)
    if not decompressor.eof or decompressor.unused_data:
        raise _refused(encoding)
    return unpacked


class Inflater:
    """The same for a body that comes in parts and has no end in sight."""

    def __init__(self, encoding: bytes) -> None:
        self._encoding = encoding
        self._decompressor, self._refusal = _decompressor(encoding)

    def feed(self, part: bytes) -> Iterator[bytes]:
        """What the part unpacks to, in pieces of at most 64 KiB.

        Raises:
            RequestError: 400, it is not what the header says.
        """
        while True:
            try:
                piece = self._decompressor.decompress(part, _PIECE)
            except (self._refusal, EOFError):
                raise _refused(self._encoding) from None
            if piece:
                yield piece
            part = getattr(self._decompressor, "unconsumed_tail", b"")
            if self._decompressor.eof or (not part and len(piece) < _PIECE):
                break
        if self._decompressor.unused_data:
            raise _refused(self._encoding)

    def end(self) -> None:
        """Raises: RequestError: 400, it is cut short."""
        if not self._decompressor.eof:
            raise _refused(self._encoding)


def _decompressor(encoding: bytes) -> tuple[Any, type[Exception]]:
    """A decompressor, and what it raises."""
    if encoding != b"zstd":
        return zlib.decompressobj(_ZLIB if encoding == b"deflate" else _GZIP), zlib.error
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
    return zstd.ZstdDecompressor(options=options), zstd.ZstdError


def _refused(encoding: bytes) -> RequestError:
    text = f"the body is not one complete {encoding.decode()} stream, as its Content-Encoding says"
    return RequestError(400, "malformed_encoding", text)
