"""The random numbers of the figures that move, in Python's whole numbers."""

from __future__ import annotations


class Sfc32:
    """The generator sfc32 of ``random.mjs``, with 15 numbers thrown away."""

    def __init__(self, seed: int) -> None:
        self.a, self.b, self.c, self.count = seed, 0x9E3779B9, 0x243F6A88, 1
        for _ in range(15):
            self()

    def __call__(self) -> float:
        """The next uniform number in (0, 1)."""
        mask = 0xFFFFFFFF
        total = (self.a + self.b + self.count) & mask
        self.count = (self.count + 1) & mask
        self.a = self.b ^ (self.b >> 9)
        self.b = (self.c + (self.c << 3)) & mask
        self.c = (((self.c << 21) | (self.c >> 11)) + total) & mask
        return (total + 0.5) / 2**32
