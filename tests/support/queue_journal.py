"""What the actors were told by the queue, compared with its files: promises are kept, and no two of them clash."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from support.queue_watcher import Content, Watcher


class Line(NamedTuple):
    actor: str
    text: str


def check_journal(lines: list[Line], watcher: Watcher, ended_at: dict[str, str]) -> None:
    """`ended_at` tells when actors ended, as text that can be compared with the times in records."""
    taken: Counter[tuple[str, int]] = Counter()
    for actor, text in lines:
        what, *words = text.split()
        if not words:
            continue
        if what == "stuck":
            raise AssertionError(f"not all could be done: {text}")
        if what == "tidied":
            continue  # what that means is the watcher's
        if what == "added":
            missing = set(words) - watcher.items.keys()
            assert not missing, f"{actor} had added {missing}, and they are lost"
            continue
        item_id, chain = words[0], watcher.chains.get(words[0], {})
        if what == "asked":
            assert any(record["kind"] == words[1] for record in chain.values()), f"{actor}: {text}, but {kinds(chain)}"
            continue
        number = int(words[1])
        if what == "took":
            taken[item_id, number] += 1
            assert taken[item_id, number] == 1, f"{item_id}.{number} was taken twice, the second time by {actor}"
            claim = chain.get(number, {})
            assert claim.get("agent") == actor, f"{actor} took {item_id}.{number}, but it says {claim}"
            continue
        end = chain.get(number + 1, {})
        if what == "completed":
            ours = (end.get("agent"), end.get("kind"), chain[number]["agent"]) == (actor, "done", actor)
        else:
            ours = end.get("log") == f"{actor} {number}"
        assert ours == (what in {"ended", "completed"}), (
            f"{actor} was told {text}, but {item_id}.{number + 1} is {chain}"
        )
    check_tokens(watcher)
    check_take_backs(watcher, ended_at)


def kinds(chain: dict[int, Content]) -> list[Any]:
    return [record["kind"] for _, record in sorted(chain.items())]


def check_tokens(watcher: Watcher) -> None:
    """An outcome stands right behind the claim of which it is the outcome, and nowhere else."""
    for item_id, chain in watcher.chains.items():
        for number, record in chain.items():
            if record["kind"] != "claimed" and record.get("log") and chain[number - 1]["kind"] == "claimed":
                token = f"{chain[number - 1]['agent']} {number - 1}"
                assert record["log"] == token, f"{item_id}.{number} is the outcome of {record['log']}, not of {token}"


def check_take_backs(watcher: Watcher, ended_at: dict[str, str]) -> None:
    """Nothing was taken back from the living."""
    for item_id, chain in watcher.chains.items():
        for number, record in chain.items():
            if record.get("outcome") == "died":
                end = ended_at.get(record["agent"])
                assert end, f"{item_id}.{number}: taken back from {record['agent']}, who lives"
                assert end <= record["at"], f"{item_id}.{number}: taken back at {record['at']}, alive until {end}"
