"""The drain of the contention harness: K items wait, and many real processes take and complete them until none is left.

Of some items the first attempt is ended by somebody else while its claimer works: it must not end it then, and another
attempt must. That claimer also looks at the records that others are making.

Guarantees: an item that no claimer or more than one took, that could not be completed, whose ended attempt was ended
again, of which a record could be seen that was not complete, or whose records say anything else than the claimers' own
logs is reported as a violation, and then the queue's directory is kept with those logs.

Assumes: a monotonic clock that all processes share (Linux, macOS).
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from secrets import randbits

from ..queue.records import Item
from .contention_child import TAKEN_TWICE, TAKEN_TWICE_ONE_IN
from .contention_claimer import Claimers, Share
from .contention_ground import TAKER, Ground, Latency, Shown, Violation, Winner, latency, prepared

_BATCH = 10_000  # items that are added at once: the file that imports them stays small


class DrainResult(Shown, frozen=True, kw_only=True):
    """What a drain has shown. `least_share` is what the least-served claimer took, as a part of an equal share."""

    items: int
    items_per_second: float
    take: Latency
    served: dict[str, int]
    least_share: float
    late: int  # attempts that somebody else had ended


def run_drain(
    directory: Path, items: int, claimers: int = 10, *, seed: int | None = None, taker: str = TAKER
) -> DrainResult:
    """Let `claimers` processes drain a new queue of `items` items below `directory`.

    `seed` and `taker` as for `run_contention`, and the same is raised.
    """
    seed = randbits(32) if seed is None else seed
    ids = [f"drain-{number:07d}" for number in range(1, items + 1)]
    with prepared(directory) as ground:
        for first in range(0, items, _BATCH):
            batch = ids[first : first + _BATCH]
            ground.queue.add([Item(id=item_id, title=_title(item_id), added_at="") for item_id in batch])
        with Claimers(ground.queue.layout.root, ground.root, claimers, seed, taker) as field:
            shares, seconds = field.drain(items)
        _judge(ground, ids, shares)
        served = {share.name: share.completed for share in shares}
        takes = [take for share in shares for take in share.log.takes]
        return DrainResult(
            claimers=claimers,
            seed=seed,
            seconds=seconds,
            violations=tuple(ground.violations),
            kept=ground.kept,
            directory=ground.directory,
            file_system=ground.file_system,
            probed=ground.probed,
            items=items,
            items_per_second=items / seconds,
            take=latency(take.nanoseconds for take in takes),
            served=served,
            least_share=min(served.values()) * claimers / items,
            late=sum(take.late for take in takes),
        )


def _title(item_id: str) -> str:
    return TAKEN_TWICE if int(item_id.rpartition("-")[2]) % TAKEN_TWICE_ONE_IN == 0 else "to drain"


def _judge(ground: Ground, ids: list[str], shares: list[Share]) -> None:
    """Compare the logs of all claimers with each other and with the queue's files."""
    winners: dict[tuple[str, bool], list[Winner]] = defaultdict(list)
    for share in shares:
        for take in share.log.takes:
            winners[take.item_id, take.late].append(Winner(share.name, share.pid, take.ended))
    for number, item_id in enumerate(ids, start=1):
        late = winners.pop((item_id, True), [])
        ground.judge(
            number, item_id, winners.pop((item_id, False), []), late if _title(item_id) == TAKEN_TWICE else None
        )
    for (item_id, _), takers in winners.items():  # what was never added
        ground.judge(0, item_id, takers)
    for share in shares:
        for item_id in share.log.incomplete:
            seen = Violation(ids.index(item_id) + 1, item_id, (), f"{share.name} saw a record that was not complete")
            ground.violations.append(seen)
