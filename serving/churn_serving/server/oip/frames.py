"""Where HTTP/2 frames end, in what a server sends: only there a frame of ours can stand (RFC 9113)."""

_HEAD_BYTES = 9
_HEADERS, _CONTINUATION = 1, 9
_END_HEADERS = 4
# No new requests; all that were sent are answered: the last stream is the highest that there can be (6.8).
GOAWAY = b"\0\0\x08\x07\0\0\0\0\0" + b"\x7f\xff\xff\xff" + b"\0\0\0\0"


class Frames:
    """What a server sends on one connection, unchanged but for a GOAWAY where it is asked for."""

    def __init__(self) -> None:
        self._held = b""  # the beginning of a frame's head
        self._rest = 0  # of a frame whose head has passed
        self._begun = self._answered = self._in_headers = self._asked = False

    def take(self, data: bytes) -> bytes:
        """What to send on: whole heads only, and a GOAWAY behind them if one is due."""
        if self._held:
            data = self._held + data
        at, end = self._rest, len(data)
        while at + _HEAD_BYTES <= end:
            kind = data[at + 3]
            if kind in {_HEADERS, _CONTINUATION}:
                self._in_headers = not data[at + 4] & _END_HEADERS
                self._answered = True
            at += _HEAD_BYTES + int.from_bytes(data[at : at + 3])
            self._begun = True
        self._rest, self._held = max(0, at - end), b""
        if at < end:
            data, self._held = data[:at], data[at:]
        return data + self._due() if self._asked else data

    def turn_away(self, *, unanswered: bool) -> bytes:
        """A GOAWAY to send now, or empty: it then goes behind what is being sent.

        Args:
            unanswered: Also where nothing was answered yet. Right behind the settings it would keep gRPC's
                own client from ever making its call.
        """
        self._asked = True
        self._answered |= unanswered
        return self._due()

    def _due(self) -> bytes:
        # The first frame is that of the server's settings; a head's continuations are not to be parted.
        if self._rest or self._in_headers or not (self._begun and self._answered):
            return b""
        self._asked = False
        return GOAWAY
