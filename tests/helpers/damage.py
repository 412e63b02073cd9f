"""What disks, copies and people do to the bytes of a file, drawn from a seeded generator."""

import random
from collections.abc import Callable

NUMBERS = (b"\0", b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\x80" + b"\0" * 7, b"\xff" * 4, b"\0" * 8)


def cut(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """The first part of it."""
    return data[: rng.randrange(len(data))]


def emptied(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Nothing of it."""
    return b""


def flipped_bit(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """One bit changed."""
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def flipped_bytes(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """A few bytes replaced."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 2, 8, 64))):
        changed[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(changed)


def zeroed(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """A block of zeros, as a lost sector reads."""
    begin = rng.randrange(len(data))
    end = min(begin + rng.choice((4, 16, 512, 4096)), len(data))
    return data[:begin] + bytes(end - begin) + data[end:]


def appended(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Something behind it."""
    return data + rng.randbytes(rng.choice((1, 16, 600)))


def doubled(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """A part of it twice."""
    begin = rng.randrange(len(data))
    end = rng.randrange(begin, len(data)) + 1
    return data[:end] + data[begin:]


def left_out(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """A part of it missing."""
    begin = rng.randrange(len(data))
    return data[:begin] + data[begin + rng.choice((1, 4, 64)) :]


def spliced(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """A part of it replaced by one of another file."""
    begin = rng.randrange(len(data))
    size = rng.choice((1, 8, 64, 1024))
    start = rng.randrange(max(len(other), 1))
    return data[:begin] + other[start : start + size] + data[begin + size :]


def extreme(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Bytes replaced by those of extreme numbers."""
    begin, number = rng.randrange(len(data)), rng.choice(NUMBERS)
    return data[:begin] + number + data[begin + len(number) :]


Damage = Callable[[random.Random, bytes, bytes], bytes]
OF_BYTES: tuple[Damage, ...] = (
    cut, emptied, flipped_bit, flipped_bytes, zeroed, appended, doubled, left_out, spliced, extreme,
)  # fmt: skip
