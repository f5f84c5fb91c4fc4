"""Power cuts: what was acknowledged survives losing everything that was not flushed.

The model of the disk is in `support/power_disk.py`. `make power` tries more runs, and real file systems.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from parallel_loop.coordinator.cli import main
from parallel_loop.harness.project import Project
from parallel_loop.queue import atomic
from parallel_loop.queue.healing import item_ids
from parallel_loop.queue.imports import ImportUnfinished, read_import
from parallel_loop.queue.layout import shard
from support.power_checker import Added, Recorded
from support.power_disk import Change, cuts
from support.power_explore import check_cuts, check_tree, explore, folder, record_run
from support.power_recorder import Recorder
from support.power_runs import Process, Run, every_operation
from support.power_survivors import EXTREMES
from support.repository import make_repository
from support.steps import watched

NOTHING_UNCERTAIN, _, NAMES_ONLY, _ = EXTREMES
COMMANDS = (
    ("add", "one", "--command", "true"),
    ("add", "two", "--command", "true", "--after", "one"),
    ("import", "../items.jsonl"),
    ("cancel", "two"),
)
PACKAGE = str(Path(atomic.__file__).parent.parent)


def test_a_power_cut_in_any_operation_loses_nothing_acknowledged() -> None:
    with folder() as base:
        recorder = record_run(base / "run", every_operation)
    assert check_cuts(recorder, seed=0, share=0.5, random_ones=0) > 200


@pytest.mark.parametrize("seed", range(2))
def test_power_cuts_of_runs_with_kills_and_interruptions_lose_nothing_acknowledged(seed: int) -> None:
    assert explore(seed, operations=40, share=0.02) > 30


@pytest.mark.parametrize("killed", [Process.add, Process.add_some], ids=lambda killed: killed.__name__)
def test_what_stands_on_the_half_done_work_of_a_killed_process_survives_with_it(killed) -> None:
    """Names that the killed one made and did not flush are seen by the next, who acknowledges what stands on them."""
    finished: list[bool] = []
    while not any(finished):
        with folder() as base:
            recorder = record_run(base, lambda run: finished.append(kill_and_go_on(run, killed, len(finished))))
        *_, (_, disk) = cuts(recorder.changes)
        check_tree(NOTHING_UNCERTAIN.tree(disk), disk.facts)
    assert len(finished) > 20


def kill_and_go_on(run: Run, killed: Callable[[Process], None], steps: int) -> bool:
    one, other, _ = run.processes
    finished = run.perform(one, killed, steps)
    found = tuple(item_ids(other.queue))
    # The next item lies in the directory of the first, which the killed one may have made and not flushed.
    run.added = next(number for number in itertools.count(run.added) if shard(f"item-{number + 1}") == shard("item-1"))
    run.perform(other, lambda process: process.add(after=found))
    run.perform(other, Process.take)
    run.perform(other, lambda process: process.end("done"))
    return finished


def test_an_import_that_was_accepted_though_the_disk_was_full_survives(monkeypatch) -> None:
    write, written = atomic.write_private, []

    def full_after_one(private, data, **more):
        if written:  # the import itself
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(data)
        return write(private, data, **more)

    def accept(run: Run) -> None:
        run.processes[0].queue.create()
        with monkeypatch.context() as patch:
            patch.setattr(atomic, "write_private", full_after_one)
            with pytest.raises(ImportUnfinished):
                run.processes[0].add_some()
        (path,) = run.processes[0].queue.layout.imports.iterdir()
        run.recorder.tell(Added(tuple(read_import(path))))

    with folder() as base:
        recorder = record_run(base, accept)
    assert check_cuts(recorder, seed=0, random_ones=0) > 10


@pytest.mark.parametrize(
    ("leaves_out", "problem"),
    [
        pytest.param(lambda path: path.parent.name == "drafts", "whole", id="bytes"),
        pytest.param(lambda path: path.parent.name == "items", "was acknowledged and is lost", id="names"),
        pytest.param(lambda path: path.name == "items", "was acknowledged and is lost", id="new shards"),
        pytest.param(lambda path: path.name == "queue", "was acknowledged and is lost", id="folders of the queue"),
        pytest.param(lambda path: path.name == "repo", "was acknowledged and is lost", id="state directory"),
        pytest.param(lambda path: path == Path(), "whole|is damaged", id="the flush of an import"),
    ],
)
def test_a_flush_that_is_left_out_is_noticed(leaves_out: Callable[[Path], bool], problem: str) -> None:
    with folder() as base:
        recorder = record_run(base, every_operation, leaves_out=lambda path, _step: leaves_out(path))
    with pytest.raises(AssertionError, match=problem):
        check_cuts(recorder, seed=0, random_ones=0)


def test_a_pack_that_is_not_flushed_before_its_items_are_removed_is_noticed() -> None:
    check_that_packing_fails_without(lambda path, _step: path.name == "packs", "was done and is lost")


def test_records_that_are_removed_before_the_removal_of_their_items_is_flushed_are_noticed() -> None:
    """Of the two flushes of a folder, the one between the items' removal and the records' is left out."""
    turns = itertools.cycle([True, False])
    flush = "packing._remove_files>atomic.sync_directory"
    check_that_packing_fails_without(lambda _path, step: flush in step and next(turns), "was done, but there is")


def check_that_packing_fails_without(leaves_out: Callable[[Path, str], bool], problem: str) -> None:
    with folder() as base:
        recorder = record_run(base, every_operation, leaves_out=leaves_out)
    with pytest.raises(AssertionError, match=problem):
        check_cuts(recorder, seed=0, where="packing.")


def test_the_command_line_acknowledges_only_what_survives(tmp_path: Path, monkeypatch, capsys) -> None:
    root = make_repository(tmp_path / "repo", {"README": "start\n"})
    (tmp_path / "items.jsonl").write_text(
        '{"title": "three", "command": "true"}\n{"title": "four", "command": "true"}\n'
    )
    monkeypatch.chdir(root)
    recorder = Recorder(tmp_path)
    with watched(lambda _step: None, recorder.after, folder=PACKAGE):
        for command in COMMANDS:
            assert main(command) == 0, capsys.readouterr()
            recorder.tell(Added(tuple(queue_items(root))))
        recorder.tell(Recorded("two", 1, "cancelled"))
    assert Project.open(root).queue.durable  # workers and the lander use that one
    assert recorder.differences() == []
    for index, disk in cuts(recorder.changes):
        if recorder.changes[index].kind == "fact":
            for survivor in (NOTHING_UNCERTAIN, NAMES_ONLY):
                check_tree(survivor.tree(disk), disk.facts)


def queue_items(root: Path):
    queue = Project.open(root).queue
    return [queue.entry(item_id).item for item_id in item_ids(queue)]


def test_a_call_that_the_recording_missed_is_noticed(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    assert recorder.differences() == []
    (tmp_path / "unseen").write_text("x")
    assert len(recorder.differences()) == 1


def test_the_disk_keeps_what_was_flushed_and_may_lose_the_rest(tmp_path: Path) -> None:
    """The model by itself: a file, its bytes and its directory are three things to flush."""
    make = [
        Change("new-directory", 1),
        Change("name", 0, "d", 1),
        Change("new-file", 2),
        Change("name", 1, "f", 2),
        Change("content", 2, value=b"text"),
    ]
    assert trees([*make]) == ([], ["d", "d/f"], b"")
    assert trees([*make, Change("sync", 2)]) == ([], ["d", "d/f"], b"text")
    assert trees([*make, Change("sync", 1)]) == ([], ["d", "d/f"], b"")  # the directory itself is lost with all in it
    assert trees([*make, Change("sync", 0), Change("sync", 2)]) == (["d"], ["d", "d/f"], b"text")
    assert trees([*make, Change("sync-all")]) == (["d", "d/f"], ["d", "d/f"], b"text")
    assert trees([*make, Change("sync-all"), Change("name", 1, "f", None)]) == (["d", "d/f"], ["d"], b"")


def trees(changes: list[Change]) -> tuple[list[str], list[str], bytes]:
    """Return the names that are certain, those that are possible, and the certain bytes of the possible file."""
    *_, (_, disk) = cuts(changes)
    named = NAMES_ONLY.tree(disk)
    certain = [path for path, _, _ in NOTHING_UNCERTAIN.tree(disk)]
    return certain, [path for path, _, _ in named], next((content for _, _, content in named if content), b"")
