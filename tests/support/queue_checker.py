"""A checker of queue directories that shares no code with the queue: names, JSON, and the rules of the design."""

from __future__ import annotations

import json
from pathlib import Path

BEFORE_A_CLAIM = {None, "released", "answered", "retried"}


def read_chains(root: Path, *, orphans: bool = False) -> dict[str, list[dict[str, object]]]:
    """Return the records of every item, having checked them; AssertionError says what is wrong.

    `orphans` allows records without an item: a power cut may leave those of one whose adding had not returned.
    """
    items: set[str] = set()
    records: dict[str, dict[int, dict[str, object]]] = {}
    for path in (root / "items").glob("*/*"):
        content = json.loads(path.read_text())
        item_id, _, suffix = path.name.rpartition(".")
        if suffix == "json":
            assert content["id"] == item_id, path
            items.add(item_id)
        else:
            records.setdefault(item_id, {})[int(suffix)] = content
    assert orphans or set(records) <= items, f"records without an item: {set(records) - items}"
    chains = {}
    for item_id in items:
        numbered = records.get(item_id, {})
        assert sorted(numbered) == list(range(1, len(numbered) + 1)), f"{item_id}: numbers {sorted(numbered)}"
        chains[item_id] = [numbered[number] for number in sorted(numbered)]
        _check_chain(item_id, chains[item_id])
    return chains


def _check_chain(item_id: str, chain: list[dict[str, object]]) -> None:
    before: object = None
    for record in chain:
        assert before != "done", f"{item_id}: {record['kind']} after done"
        if record["kind"] == "claimed":
            assert before in BEFORE_A_CLAIM, f"{item_id}: claimed after {before}"
            assert record["agent"], f"{item_id}: a claim without an owner"
            assert record["pid"], f"{item_id}: a claim without an owner"
            assert record["worker"], f"{item_id}: a claim without an owner"
        before = record["kind"]


def check_all_done_once(root: Path, expected: set[str]) -> dict[str, list[dict[str, object]]]:
    """Check that exactly the expected items exist and that each was completed, once."""
    chains = read_chains(root)
    assert set(chains) == expected
    for item_id, chain in chains.items():
        kinds = [record["kind"] for record in chain]
        assert kinds[-1:] == ["done"], f"{item_id}: {kinds}"
        assert kinds.count("done") == 1, f"{item_id}: {kinds}"
    return chains
