"""The readers of the queue's files, given what is nearly one: a valid value or Unreadable comes out, nothing else.

`make fuzz` tries many thousands; `make test` a few.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parallel_loop.coordinator.aggregate import recent
from parallel_loop.coordinator.drawing.tables import item_text, items_table
from parallel_loop.coordinator.drawing.views import item_details, item_row
from parallel_loop.queue.atomic import Unreadable
from parallel_loop.queue.bell import Bell
from parallel_loop.queue.buckets import Bucket
from parallel_loop.queue.directory import format_version
from parallel_loop.queue.frontier import Frontier
from parallel_loop.queue.held import read_note
from parallel_loop.queue.hint import Hint
from parallel_loop.queue.imports import read_import
from parallel_loop.queue.layout import parse_name
from parallel_loop.queue.markers import read_marker
from parallel_loop.queue.packs import Header, Packs, entries_of, line_of
from parallel_loop.queue.ready import offers
from parallel_loop.queue.records import Entry, Item, Record, encode
from parallel_loop.queue.retry import RetryPolicy
from parallel_loop.queue.store import Queue
from parallel_loop.queue.wip import enter
from support.queues import START, make_queue

EXAMPLES = int(os.environ.get("FUZZ", "60"))
ITEM = Item(
    id="a", title="t", added_at=START, prompt="p", command="c", priority=3, after=("b",), role="r", program="p",
    paths=("x",), timeout_seconds=1.0, max_attempts=2,
)  # fmt: skip
DONE = Record(
    kind="done", at=START, agent="agent-1", outcome="done", why="w", started_at=START, seconds=1.5, branch="b",
    commit="c", log="l", counted=False, not_before=START, text="t", worker="w", pid=1, process_start=1.0, boot="b",
)  # fmt: skip
CLAIMED = Record(kind="claimed", at=START, agent="agent-1", worker="agent-1.1.01234567", pid=1)
HEADER = Header(items=1, latest=START, seconds=1.0, timed=1, replaces=("x.jsonl",))

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(
        ["../../x", "2026-99-99T99:99:99.999999Z", "0000-00-00T00:00:00.000000Z", START, "a", "-x", "\0"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


@st.composite
def other_bytes(draw: Callable[..., Any], valid: bytes) -> bytes:
    """Cut, overwrite, double, flip: a few times."""
    data = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 20)))
        with_ = draw(st.binary(max_size=4) | st.just(bytes(data[start:end]) * 2) | st.sampled_from([b"[", b"{", b"\n"]))
        data[start:end] = with_
    return bytes(data[: draw(st.just(len(data)) | st.integers(0, len(data)))])


@st.composite
def other_values(draw: Callable[..., Any], valid: bytes) -> bytes:
    """Other values in one or two places of a JSON document."""
    document = json.loads(valid)
    for _ in range(draw(st.integers(1, 2))):
        places = list(_places(document))
        if places:
            holder, key = draw(st.sampled_from(places))
            holder[key] = draw(JSON)
    return json.dumps(document).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        yield value, key
        yield from _places(value[key])


def nearly(valid: bytes) -> st.SearchStrategy[bytes]:
    if not valid.startswith((b"{", b"[")):
        return other_bytes(valid)
    *lines, last = valid.strip().split(b"\n")  # one JSON document in each
    return other_bytes(valid) | other_values(last).map(lambda line: b"\n".join([*lines, line, b""]))


@pytest.fixture(scope="module")
def queue(tmp_path_factory) -> Queue:
    queue = make_queue(tmp_path_factory.mktemp("fuzz") / "queue")
    Path(queue.layout.item("a")).parent.mkdir()
    return queue


def show(queue: Queue) -> None:
    """Read the item and do with it what is done with any: its state, what comes next, all that is shown of it."""
    entry = queue.entry("a")
    if entry is None:
        return
    state = queue.state(entry)
    RetryPolicy().after_failure(entry, Record(kind="released", at=START))
    item_text(item_details(entry, state, list(entry.item.after)), entry.item)
    items_table([item_row(entry, state, list(entry.item.after))])
    encode([item_details(entry, state, []), *recent([(entry, state)])])


def read_pack(queue: Queue, path: Path) -> None:
    packs = Packs(queue.layout)
    packs.headers()
    list(packs.replaced([path.name]))
    for item_id in ("a", "zz"):
        try:
            packs.find(item_id)
        except Unreadable:
            continue
    list(entries_of(path))


def make_priority(queue: Queue) -> Path:
    folder = queue.layout.ready / "5"
    folder.mkdir(exist_ok=True)
    return folder


def taken_place(queue: Queue, path: Path) -> None:
    place = enter(path.parent, "builder", 1, queue.chain.is_claim_open)
    if place is not None:
        place.abandon()


def use_bucket(queue: Queue, path: Path) -> None:
    offers(queue.layout)
    bucket = Bucket(str(path))
    for hint in filter(None, map(Hint.parse, bucket.names)):
        bucket.strike(hint.name)
    queue.hints.offer(Hint(5, "2026-01-01T000000.000001Z", "c", 1))
    bucket.remove_if_done()
    assert ("c", "1") in offers(queue.layout)
    shutil.rmtree(path.parent)
    path.parent.mkdir()


BUCKET = (lambda queue: make_priority(queue) / "2026-01-01T000000.000000Z", use_bucket)
NOTE = b"claim a 1".ljust(133) + b"\nclaim b 3\n"
PACK = encode(HEADER) + b"\n" + line_of(Entry(ITEM, (CLAIMED, DONE)))
READERS: dict[str, tuple[bytes, Callable[[Queue], Path], Callable[[Queue, Path], object]]] = {
    "item": (encode(ITEM), lambda queue: Path(queue.layout.item("a")), lambda queue, _: show(queue)),
    "record": (encode(DONE), lambda queue: Path(queue.layout.record("a", 1)), lambda queue, _: show(queue)),
    "import": (encode([ITEM, ITEM]), lambda queue: queue.layout.imports / "x", lambda _, path: read_import(path)),
    "pack": (PACK, lambda queue: queue.layout.packs / "2026-01-01T000000.000000Z-01234567.jsonl", read_pack),
    "note": (NOTE, lambda queue: queue.layout.root / "x", lambda _, path: read_note(path)),
    "marker": (encode(CLAIMED), lambda queue: queue.layout.root / "x", lambda _, path: read_marker(path)),
    "format": (b'{"version": 1}', lambda queue: queue.layout.format, lambda queue, _: format_version(queue.layout)),
    "place of a role": (b"a 1\n", lambda queue: queue.layout.wip / "builder.1", taken_place),
    "frontier": (bytes(640), lambda queue: queue.layout.frontier, lambda _, path: Frontier(path).read(3, bytes(8))),
    "bucket": (b"5~2026-01-01T000000.000000Z~b~1~\n-~2026-01-01T000000.000000Z~a~3~r\n", *BUCKET),
    "bell": (bytes(96), lambda queue: queue.layout.bell, lambda _, path: Bell.changed(Bell(path).heard(), bytes(96))),
}


@pytest.mark.parametrize("name", READERS)
def test_readers_return_a_value_or_say_that_they_cannot(name: str, queue: Queue) -> None:
    valid, place, read = READERS[name]
    path = place(queue)
    if name == "record":
        Path(queue.layout.item("a")).write_bytes(encode(ITEM))

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(nearly(valid))
    def try_one(data: bytes) -> None:
        path.write_bytes(data)
        with contextlib.suppress(Unreadable):
            read(queue, path)

    path.write_bytes(valid)
    read(queue, path)
    try_one()
    path.unlink(missing_ok=True)


@settings(max_examples=EXAMPLES, deadline=None, database=None)
@given(other_bytes(b"5~2026-01-01T000000.000000Z~a~1~builder").map(os.fsdecode) | st.text(max_size=20))
def test_names_are_ours_or_none(name: str) -> None:
    hint = Hint.parse(name)
    assert hint is None or hint.name == name
    parsed = parse_name(name)
    assert parsed is None or name == f"{parsed[0]}.{'json' if parsed[1] is None else parsed[1]}"
