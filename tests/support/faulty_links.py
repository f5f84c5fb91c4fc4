"""A file system whose link cannot be believed, as that of some network file systems: for the contention harness."""

from __future__ import annotations

import errno
import os
import random

from parallel_loop.queue.taking import Claim, Taker

ERRORS = (errno.EIO, errno.ESTALE, errno.EEXIST, errno.ETIMEDOUT)
_honest_link = os.link
_chance = random.Random(os.getpid())


def unreliable_link(source, target):
    """Make the link or do not, and then tell the truth or do not; an existing target is always refused."""
    if _chance.random() < 0.4 or os.path.lexists(target):
        return _honest_link(source, target)
    if _chance.random() < 0.7:
        _honest_link(source, target)
        number = _chance.choice(ERRORS)
    else:
        number = errno.ETIMEDOUT
    raise OSError(number, os.strerror(number))


class OnUnreliableLinks(Taker):
    """Tries again after an error, as a worker does that was started again."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        os.link = unreliable_link

    def take(self) -> Claim | None:
        while True:
            try:
                return super().take()
            except TimeoutError:
                continue

    def complete(self, claim: Claim) -> bool:
        while True:
            try:
                return super().complete(claim)
            except TimeoutError:
                continue
