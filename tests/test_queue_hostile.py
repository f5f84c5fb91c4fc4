"""Anything in the place of any file of the queue: nobody crashes or waits, it is named, and it stays what it was."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from parallel_loop.queue.atomic import Unreadable
from parallel_loop.queue.foreign import foreign_hints
from parallel_loop.queue.healing import heal
from parallel_loop.queue.layout import shard
from parallel_loop.queue.packs import Header
from parallel_loop.queue.records import encode
from parallel_loop.queue.store import Queue
from parallel_loop.queue.survey import Survey
from parallel_loop.queue.tidying import tidy
from support.cli import call
from support.hostile import KINDS, PACK, PLACES, SECRET, TIME, content, put
from support.queues import AT_ONCE, add, an_item, drain, make_queue, make_taker, names_in, without_privileges
from support.runs import add as add_work
from support.runs import drain as run_and_drain
from support.runs import make_project, states

REGULAR = {
    *("nothing", "half a file", "garbage", "zeros", "no UTF-8", "deep nesting", "deep unknown field"),
    *("a newer version", "another item", "a way out", "a huge number", "a gigabyte", "without permission"),
}
# Elsewhere the bytes do not matter.
READ = {"item", "record", "import", "pack", "marker", "note", "format", "ready bucket"}
LIKE_ALL_REGULAR = {"nothing", "garbage"}
NEEDED = {"lock of adding", "format"}  # where these cannot be opened, a clear error says so
HINTS = {"delayed hint"}  # removed by who finds nothing behind them, whatever they are
FINE = {  # what nobody needs to be told of, and may be written to or removed
    "bell": REGULAR,
    "frontier": REGULAR,
    "lock of adding": REGULAR,
    "place of a role": REGULAR,
    "README": REGULAR,
    "draft": REGULAR,
    "landing hint": REGULAR,
    "ready bucket": {"nothing"},
    "ready priority": {"a folder"},
    "dependents": {"a folder", "a filled folder"},
    "pack to finish": {"nothing"},
    "note": {"nothing", "zeros"},
}
MOST_BYTES = 10 * 2**20


def stage(root: Path) -> Queue:
    queue = make_queue(root / "queue")
    add(queue, "packed")
    work(queue)
    assert tidy(queue) == 1
    queue.add([an_item("bad"), an_item("good"), an_item("limited", role="builder"), an_item("behind", after=("good",))])
    return queue


def work(queue: Queue) -> list[str]:
    taker = make_taker(queue, wip={"builder": 1})
    try:
        return drain(queue, taker)
    finally:
        taker.close()


def named(queue: Queue) -> set[str]:
    """The paths that a survey and doctor name, having read everything."""
    survey = Survey(queue)
    survey.refresh()
    survey.all_entries(packed=True)
    survey.done.done_since(TIME)
    return {damage.path for damage in (*survey.damage, *foreign_hints(queue.layout))}


def use(root: Path) -> Iterator[str]:
    """Do all that is done with a queue, each with a new one as another process would; yield what could not be done."""
    operations = {
        "survey": named,
        "heal": lambda queue: heal(queue, AT_ONCE),
        "add": lambda queue: add(queue, "one-more"),
        "import": lambda queue: queue.add([an_item("two-more"), an_item("three-more", after=("good", "two-more"))]),
        "take": work,
        "tidy": tidy,
    }
    for name, operation in operations.items():
        try:
            operation(Queue(root / "queue", durable=False))
        except (OSError, Unreadable) as error:
            yield f"{name}: {error}"


def is_named(path: Path, paths: set[str]) -> bool:
    return any(name == str(path) or name.startswith(f"{path}/") for name in paths)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("half", [0, pytest.param(1, marks=pytest.mark.large)])
def test_whatever_is_in_a_place_stops_nobody_and_is_named_and_stays(place: str, half: int, tmp_path: Path) -> None:
    """In every place every other kind, and every kind in every other place; the other halves are large."""
    for number, what in enumerate(KINDS):
        if (number + list(PLACES).index(place)) % 2 != half:
            continue
        if place not in READ and what in REGULAR - LIKE_ALL_REGULAR:
            continue
        root = tmp_path / str(number)
        queue = stage(root)
        path, outside = PLACES[place](queue), root / "outside" / "file"
        before = put(path, what, outside)
        problems = list(use(root))
        if place in NEEDED:  # a clear error is the best that can be had
            assert all(str(path) in problem for problem in problems), (what, problems)
            assert problems or what in REGULAR, what
        else:
            assert problems == [], what
        if not problems:
            queue = Queue(root / "queue", durable=False)
            assert all(map(queue.is_done, ("packed", "good", "limited", "one-more", "three-more"))), what
            if place not in HINTS:
                assert is_named(path, named(queue)) == (what not in FINE.get(place, ())), what
        if place not in HINTS and what not in FINE.get(place, ()):
            assert content(path) == before, what
        assert names_in(outside.parent) == ["file"], what
        assert outside.read_text() == SECRET, what


@pytest.mark.parametrize("place", ["item", "record", "import", "pack", "marker", "note", "format"])
def test_a_gigabyte_does_not_fill_the_memory(place: str, tmp_path: Path) -> None:
    put(PLACES[place](stage(tmp_path)), "a gigabyte", tmp_path / "outside" / "file")
    tracemalloc.start()
    try:
        assert all(place == "format" for _ in use(tmp_path))
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


def test_a_folder_of_items_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    queue = stage(tmp_path)
    folder, outside = queue.layout.items / shard("good"), tmp_path / "elsewhere"
    folder.rename(outside)
    folder.symlink_to(outside)
    before = {name: (outside / name).read_bytes() for name in names_in(outside)}
    again = Queue(queue.layout.root, durable=False)
    heal(again, AT_ONCE)
    assert "good" not in work(again)
    tidy(again)
    assert again.entry("good") is None
    assert str(folder) in named(again)
    with pytest.raises(FileExistsError, match="is a symbolic link, which is not followed"):
        add(again, "good")
    with pytest.raises(FileExistsError, match="is a symbolic link, which is not followed"):
        again.add([an_item("other"), an_item("good")])
    assert {name: (outside / name).read_bytes() for name in names_in(outside)} == before


def test_thousands_of_odd_names_are_counted_not_listed(tmp_path: Path) -> None:
    queue = stage(tmp_path)
    folders = [queue.layout.root, queue.layout.imports, queue.layout.packs, Path(queue.layout.item("good")).parent]
    for folder in folders:
        for number in range(200):
            (folder / os.fsdecode(b"odd\xff%d" % number)).touch()
    assert work(queue) == ["bad", "good", "limited", "behind"]
    survey = Survey(queue)
    survey.refresh()
    assert len(survey.damage) == 4 * 21
    assert [damage.problem for damage in survey.damage].count("holds 180 more files that are none of the queue's") == 4


def test_a_pack_cannot_have_others_removed_or_lead_out(tmp_path: Path) -> None:
    """Whoever writes a pack names what is to be removed: files of items, and packs that were merged into it."""
    queue = stage(tmp_path)
    (sound,) = queue.layout.packs.iterdir()
    before = sound.read_bytes()
    victim = tmp_path / "victim.json"
    victim.write_text(SECRET)
    way_out = "../" * 3 + "victim"
    item = {"id": way_out, "title": "t", "added_at": TIME}
    header = encode(Header(items=1, latest=TIME, seconds=0, timed=0, replaces=(sound.name, "../../victim.json")))
    line = encode({"item": item, "records": [{"kind": "done", "at": TIME}]})
    (queue.layout.packs / f"{PACK}.jsonl").write_bytes(header + b"\n" + line + b"\n")
    (queue.layout.packs / f"{PACK}.unfinished").touch()
    assert list(use(tmp_path)) == []
    assert sound.read_bytes() == before
    assert victim.read_text() == SECRET


def test_a_dependency_cannot_lead_out(tmp_path: Path) -> None:
    queue = stage(tmp_path)
    Path(queue.layout.item("bad")).write_text(
        json.dumps({"id": "bad", "title": "t", "added_at": TIME, "after": ["../../../made"]})
    )
    assert list(use(tmp_path)) == []
    assert not (tmp_path / "made").exists()
    assert queue.layout.item("bad") in named(queue)


def test_a_pack_that_is_damaged_in_the_middle_is_named_and_the_others_count(tmp_path: Path) -> None:
    queue = make_queue(tmp_path / "queue")
    for name in ("a", "b", "c"):
        add(queue, name)
    work(queue)
    tidy(queue)
    (pack,) = queue.layout.packs.iterdir()
    lines = pack.read_bytes().splitlines(keepends=True)
    pack.write_bytes(b"".join([*lines[:2], b"garbage\n", *lines[3:]]))
    add(queue, "d")
    work(queue)
    assert tidy(queue) == 1
    survey = Survey(queue)
    survey.refresh()
    assert [entry.item.id for entry in survey.all_entries(packed=True)] == ["a", "d"]
    assert [damage.path for damage in survey.damage] == [str(pack)]
    assert queue.entry("d") is not None
    with pytest.raises(Unreadable, match="damaged"):
        queue.entry("b")


def test_a_whole_run_ends_among_foreign_files_and_names_them(tmp_path: Path) -> None:
    project = make_project(tmp_path / "repo", "roles: {builder: {wip: 1}}")
    for name in ("bad", "good", "other"):
        add_work(project, name)
    add_work(project, "limited", role="builder")
    outside = tmp_path / "outside" / "file"
    queue = project.queue
    places = {place: PLACES[place](queue) for place in PLACES if place not in {*NEEDED, *HINTS, "record", "README"}}
    before = {path: put(path, "a pipe", outside) for path in places.values()}
    assert run_and_drain(project) == 1, "an item cannot be read"
    assert {name: state for name, state in states(project).items() if name != "bad"} == dict.fromkeys(
        ("good", "other", "limited"), "done"
    )
    status = call(project.root, "status", "--json")
    assert status.code == 0
    whys = [need["why"] for need in json.loads(status.out)["attention"]]
    doctor = call(project.root, "doctor", "--json")
    assert doctor.code == 1
    details = [finding["detail"] for finding in json.loads(doctor.out)["findings"] if finding["remedy"]]
    quick = places.keys() - {"landing hint", "dependents", "draft", "ready bucket"}
    for place, path in places.items():
        shown = os.fsencode(path).decode(errors="backslashreplace")
        assert any(detail.startswith(shown) for detail in details), place
        assert any(why.startswith(shown) for why in whys) or place not in quick, place
        assert content(path) == before[path], place
    for command in (("status",), ("list",), ("list", "--json"), ("show", "good"), ("doctor",)):
        answer = call(project.root, *command)
        assert "Traceback" not in answer.out + answer.err
        assert answer.code == (1 if command == ("doctor",) else 0), answer.err
    assert call(project.root, "show", "bad").code == 4
    assert "see `parallel-loop doctor`" in call(project.root, "show", "bad").line


@pytest.mark.parametrize("place", sorted(NEEDED))
def test_a_run_that_cannot_begin_says_what_is_in_the_way(place: str, tmp_path: Path) -> None:
    project = make_project(tmp_path / "repo")
    add_work(project, "good")
    path = PLACES[place](project.queue)
    put(path, "a link to a file", tmp_path / "outside" / "file")
    answer = call(project.root, "run", "--drain")
    assert answer.code == 4
    assert str(path) in answer.err.splitlines()[-1]
    assert "Traceback" not in answer.err
    doctor = call(project.root, "doctor")
    assert (doctor.code, str(path) in doctor.out) == (1, True)


def test_what_may_not_be_read_is_named(tmp_path: Path) -> None:
    """Permissions, which root does not obey."""
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:
        if folder.stat().st_uid == os.geteuid() and folder != Path("/tmp"):
            folder.chmod(0o755)
    queue = stage(tmp_path)
    paths = [PLACES[place](queue) for place in ("item", "import", "pack", "marker", "note")]
    for path in paths:
        put(path, "without permission", tmp_path / "outside" / "file")
    with without_privileges():
        survey = Survey(Queue(queue.layout.root))
        survey.refresh()
        survey.all_entries()
    assert {damage.path for damage in survey.damage} == {str(path) for path in paths}
