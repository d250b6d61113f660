"""The protocol's datatypes, and texts as it packs them: each behind its length, four bytes little-endian."""

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

TEXT = "BYTES"
BOOLEAN = "BOOL"
# Booleans as bytes, so that a 2 is seen and refused. FP16 has no JSON form of its own, BF16 no NumPy type.
NUMBERS = {
    BOOLEAN: np.dtype("u1"),
    **{f"UINT{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    **{f"INT{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
}
NAMES = (*NUMBERS, TEXT)

_LENGTH = struct.Struct("<I")


def unpack_texts(content: bytes) -> list[str]:
    """The texts of a packed tensor.

    Raises:
        ValueError: It is cut short, or a text is not UTF-8.
    """
    texts, at, end = [], 0, len(content)
    while at < end:
        start = at + _LENGTH.size
        if start > end:
            raise ValueError("a length is cut short")
        (length,) = _LENGTH.unpack_from(content, at)
        at = start + length
        if at > end:
            raise ValueError("a text is cut short")
        texts.append(content[start:at].decode())
    return texts


def pack_texts(texts: Sequence[str]) -> bytes:
    """The reverse of `unpack_texts`. The same few texts usually repeat: each is encoded once."""
    packed = {}
    for text in set(texts):
        encoded = text.encode()
        packed[text] = _LENGTH.pack(len(encoded)) + encoded
    return b"".join([packed[text] for text in texts])


def unpack_numbers(content: bytes, datatype: str) -> npt.NDArray[np.generic]:
    """The numbers of a packed tensor, without a copy.

    Raises:
        ValueError: The size is no multiple of the datatype's.
    """
    return np.frombuffer(content, dtype=NUMBERS[datatype])
