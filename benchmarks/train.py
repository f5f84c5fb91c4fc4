"""How many runs of the checks a branch costs that lands, by the size of the train and the share of bad branches.

The train is the real one, its world a model (tests/support/train_world.py): no git and no checks run, so this takes
seconds. `PYTHONPATH=tests python benchmarks/train.py`; `make bench` runs it.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Set

from tables import table

from support.train_world import World

SIZES = (1, 2, 4, 8, 16, 32)
SHARES = (0.0, 0.02, 0.05, 0.10, 0.15, 0.25, 0.40)


def runs_each(size: int | None, share: float, flaky: float, items: int, rounds: int, seed: int) -> tuple[float, int]:
    """Return the runs for each of `items` branches, and how many good ones were sent back; `size` None: it adapts."""
    chance = random.Random(seed)
    runs = blamed = 0
    for _ in range(rounds):
        names = [f"b{number}" for number in range(items)]
        bad = {name for name in names if chance.random() < share}

        def passes(content: Set[str], bad: Set[str] = bad) -> bool:
            return not content & bad and chance.random() >= flaky

        world = World(passes, lambda _landed, _name: False)
        world.green.add(frozenset())
        world.drain(names, size)
        runs += world.runs
        blamed += len(set(world.sent_back) - bad)
    return runs / (rounds * items), blamed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for flaky in (0.0, 0.03):
        rows = []
        for share in SHARES:
            found = [
                runs_each(size, share, flaky, options.items, options.rounds, options.seed) for size in (*SIZES, None)
            ]
            blamed = found[-1][1]
            rows.append([f"{share:.0%}", *(f"{each:.2f}" for each, _ in found), str(blamed)])
        head = ["bad branches", *(f"trains of {size}" for size in SIZES), "adapting", "good ones sent back (adapting)"]
        print(f"\n{flaky:.0%} of all runs fail by chance; runs of the checks for each of {options.items} branches:\n")
        print(table(head, rows), flush=True)


if __name__ == "__main__":
    main()
