"""The protocol's datatypes, and texts as it packs them: each behind its length, four bytes little-endian."""

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from churn_serving.vectors import Texts

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
_NEVER_IN_UTF8 = bytes([0xC0, 0xC1, *range(0xF5, 0x100)])
_NUMBERS_OF = np.zeros(256, dtype=np.uint8)
_NUMBERS_OF[list(_NEVER_IN_UTF8)] = range(len(_NEVER_IN_UTF8))
_WORTH_NUMBERING = 256


def unpack_texts(content: bytes, count: int) -> Texts | list[str]:
    """The texts of a packed tensor; where there are more than `count`, not all of them.

    Raises:
        ValueError: It is cut short, or a text is not UTF-8.
    """
    few = _number_texts(content) if len(content) > _WORTH_NUMBERING else None
    return _unpack_each(content, count) if few is None else few


def _number_texts(content: bytes) -> Texts | None:
    """The same few texts again and again, told apart by `bytes.replace`: a fifth of the time of one by one.

    Each text, with its length, is replaced with a byte that neither UTF-8 nor this content has. Where nothing
    but such bytes is left, putting the texts back gives the content, and a content has but one reading.
    None where the texts are too many, or one holds the packed form of another.
    """
    if len(content.translate(None, _NEVER_IN_UTF8)) != len(content):
        return None
    texts, rest = [], content
    for number in _NEVER_IN_UTF8:
        start = len(rest) - len(rest.lstrip(_NEVER_IN_UTF8))
        if start == len(rest):
            break
        end = start + _LENGTH.size + int.from_bytes(rest[start : start + _LENGTH.size], "little")
        packed = rest[start:end]
        if len(packed) != end - start:
            return None
        try:
            texts.append(packed[_LENGTH.size :].decode())
        except UnicodeDecodeError:
            return None
        rest = rest.replace(packed, bytes([number]))
    if rest.strip(_NEVER_IN_UTF8):
        return None
    return Texts(texts, _NUMBERS_OF[np.frombuffer(rest, dtype=np.uint8)])


def _unpack_each(content: bytes, count: int) -> list[str]:
    texts: list[str] = []
    at, end = 0, len(content)
    while at < end and len(texts) <= count:
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
