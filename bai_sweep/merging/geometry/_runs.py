"""Which elements of a tensor are looked at: runs at fixed places, whatever blocks the engine works in."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

RUN = 8192
"""Elements of a run: enough that numpy's calls cost little, few enough that a dozen float64 copies stay in a cache."""

SPACING = 64 * RUN
"""A sample has one run for each part of this size or less: 1/64 to 1/32 of a large tensor."""


@dataclass(frozen=True)
class Runs:
    """`count` runs of at most RUN elements of a tensor of `size`; those of a sample lie in the middle of equal parts.

    Args:
        size: The tensor's elements.
        count: How many runs.
        whole: Whether the runs cover the tensor, one after the other.
    """

    size: int
    count: int
    whole: bool

    @classmethod
    def of(cls, size: int, *, sample: bool) -> Runs:
        """The runs of a tensor; one that is no longer than a run is always whole."""
        whole = not sample or size <= RUN
        return cls(size, -(-size // (RUN if whole else SPACING)), whole)

    def start(self, index: int) -> int:
        """The first element of a run."""
        if self.whole:
            return index * RUN
        return (2 * index + 1) * self.size // (2 * self.count) - RUN // 2

    def stop(self, index: int) -> int:
        """The element after a run's last."""
        return min(self.start(index) + RUN, self.size)

    @property
    def elements(self) -> int:
        """How many elements all runs have."""
        return self.size if self.whole else self.count * RUN

    def within(self, start: int, stop: int) -> range:
        """The runs that have an element from `start` to before `stop`."""
        every = range(self.count)
        return range(bisect_right(every, start, key=self.stop), bisect_left(every, stop, key=self.start))
