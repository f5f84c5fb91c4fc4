"""The train: several branches tested together, the culprit found with few runs, and nobody blamed for another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from parallel_loop.coordinator.lander import Lander
from parallel_loop.coordinator.target_report import read_target
from parallel_loop.coordinator.train_size import LARGEST, TrainSize
from parallel_loop.harness.orders import Orders
from parallel_loop.harness.project import Project
from parallel_loop.harness.prompt import compose
from parallel_loop.queue.requests import cancel
from support.landing import a_lander, hand_over, land, landed_items, replay, scratch
from support.repository import commit, git
from support.runs import happened, kinds, last, make_project

# Notes which items it saw. Red where a bad one is, where two are that do not go together, and once for each flaky one.
CHECK = """
ls | grep '^item-' | tr '\\n' ' ' >> "$1"; echo >> "$1"
for name in $(ls | grep '^flaky-'); do test -e "$1.$name" || { touch "$1.$name"; echo "$name again"; exit 1; }; done
test -z "$(ls | grep '^bad-')" || { ls | grep '^bad-'; exit 1; }
test ! -e left || test ! -e right
"""


def make(folder: Path, config: str = "") -> Project:
    checks = f"checks: ['sh check.sh {folder / 'runs'}']\n"
    return make_project(folder / "r", checks + config, {"check.sh": CHECK})


def runs(folder: Path) -> list[list[str]]:
    file = folder / "runs"
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def hand_over_many(project: Project, count: int, **kinds: Sequence[int]) -> list[str]:
    """So many items, each with a file of its own; those whose numbers `bad` or `flaky` have are so."""
    names = [f"item-{number:02}" for number in range(1, count + 1)]
    for number, name in enumerate(names, 1):
        more = {f"{kind}-{name}": kind for kind, numbers in kinds.items() if number in numbers}
        hand_over(project, name, {name: name, **more})
    return names


def hand_over_each(project: Project, *files: dict[str, str | bytes]) -> None:
    """item-1, item-2 and so on, with these files."""
    for number, written in enumerate(files, 1):
        hand_over(project, f"item-{number}", written)


def first_parents(project: Project, branch: str = "parallel-loop/landed") -> int:
    return int(git(project.root, "rev-list", "--first-parent", "--count", branch))


def test_what_waits_is_tested_together_and_each_keeps_a_merge_of_its_own(tmp_path: Path) -> None:
    project = make(tmp_path)
    names = hand_over_many(project, 5)
    land(project)
    assert runs(tmp_path) == [names]
    assert landed_items(project, "main") == names
    assert first_parents(project) == 2, "one step for all of them"
    assert git(project.root, "log", "-1", "--format=%s", "main") == "Land 5 items together"
    for name in names:
        landed = last(project, name)
        assert landed.kind == "done"
        assert git(project.root, "log", "-1", "--format=%s%n%(trailers:key=Item,valueonly)", landed.commit).split() == [
            name,
            name,
        ]
    replay(project, f"sh check.sh {tmp_path / 'again'}", "main")


@pytest.mark.parametrize("culprit", [1, 16])  # all of them in test_coordinator_train_model.py
def test_sixteen_with_one_culprit_take_six_runs_and_the_others_land_in_the_same_round(
    tmp_path: Path, culprit: int
) -> None:
    project = make(tmp_path)
    names = hand_over_many(project, 16, bad=[culprit])
    with a_lander(project) as lander:
        assert lander.land_next()
    bad = names[culprit - 1]
    assert landed_items(project) == [name for name in names if name != bad]
    sent_back = last(project, bad)
    assert sent_back.kind == "released"
    assert sent_back.text is not None
    assert f"bad-{bad}" in sent_back.text
    base_runs = [run for run in runs(tmp_path) if not run]  # whether what was there before passes by itself
    assert len(runs(tmp_path)) - len(base_runs) <= 6
    assert len(base_runs) <= 1
    replay(project, f"sh check.sh {tmp_path / 'again'}")


def test_several_culprits_are_all_found_and_all_others_land(tmp_path: Path) -> None:
    project = make(tmp_path)
    names = hand_over_many(project, 9, bad=[1, 4, 5, 9])
    land(project)
    assert landed_items(project) == [name for number, name in enumerate(names, 1) if number not in {1, 4, 5, 9}]
    assert [kinds(project, names[number - 1])[-1] for number in (1, 4, 5, 9)] == ["released"] * 4
    replay(project, f"sh check.sh {tmp_path / 'again'}", "main")


@pytest.mark.parametrize(("flaky", "bad"), [([2], []), ([4], []), ([1], []), ([2], [3]), ([3], [2])])
def test_what_fails_once_lands_and_is_on_record_as_flaky(tmp_path: Path, flaky: list[int], bad: list[int]) -> None:
    project = make(tmp_path)
    names = hand_over_many(project, 4, flaky=flaky, bad=bad)
    land(project)
    assert landed_items(project) == [name for number, name in enumerate(names, 1) if number not in bad]
    assert [kinds(project, names[number - 1])[-1] for number in bad] == ["released"] * len(bad)


def test_one_that_fails_alone_and_then_passes_says_so(tmp_path: Path) -> None:
    project = make(tmp_path)
    hand_over(project, "item-1", {"flaky-1": "1"})
    land(project)
    landed = last(project, "item-1")
    assert landed.kind == "done"
    assert landed.why is not None
    assert "passed when they ran again" in landed.why
    assert [event["item"] for event in happened(project, "flaky")] == ["item-1"]


def test_two_that_are_green_alone_and_red_together_the_later_is_told_what_it_does_not_go_with(tmp_path: Path) -> None:
    project = make(tmp_path)
    hand_over_each(project, {"left": "1"}, {"right": "2"})
    land(project)
    assert landed_items(project) == ["item-1"]
    back = last(project, "item-2")
    assert (back.kind, back.outcome) == ("released", "semantic-conflict")
    assert "though nothing conflicts in the text" in (back.why or "")
    assert "item-1" in (back.text or "")


def test_one_that_is_red_on_its_own_base_is_no_conflict(tmp_path: Path) -> None:
    project = make(tmp_path)
    hand_over(project, "item-1", {"bad-1": "1"})
    land(project)
    assert last(project, "item-1").outcome == "check-failed"


def test_what_landed_after_it_was_tested_is_not_named_as_what_it_does_not_go_with(tmp_path: Path) -> None:
    project = make(tmp_path)
    hand_over_each(project, {"left": "1"}, {"right": "2"}, {"item-3": "3"})
    with a_lander(project) as lander:
        assert lander.land_next()
    assert landed_items(project) == ["item-1", "item-3"]
    back = last(project, "item-2")
    assert back.outcome == "semantic-conflict"
    assert "item-1" in (back.text or "")
    assert "item-3" not in (back.text or "")


def test_one_that_is_red_by_itself_is_no_conflict_with_those_behind_it(tmp_path: Path) -> None:
    project = make(tmp_path)
    names = hand_over_many(project, 3, bad=[1])
    land(project)
    assert landed_items(project) == names[1:]
    assert last(project, names[0]).outcome == "check-failed"


def test_what_conflicts_with_another_of_the_train_waits_for_the_next_and_is_sent_back_with_both_sides(
    tmp_path: Path,
) -> None:
    project = make(tmp_path)
    hand_over_each(project, {"README": "mine\n"}, {"README": "no, mine\n"}, {"other": "3"})
    with a_lander(project) as lander:
        assert lander.land_next()
        assert landed_items(project) == ["item-1", "item-3"]
        assert last(project, "item-2").kind == "landing"
        assert lander.land_next()
    back = last(project, "item-2")
    assert (back.kind, back.outcome) == ("released", "conflict")
    text = back.text or ""
    assert "work of parallel-loop/item/item-1/1" in text, "what the other side did"
    assert "work of parallel-loop/item/item-2/1" in text
    assert "no, mine" in text
    assert "<<<<<<<" in text


def test_a_base_that_fails_by_itself_is_nobodys_fault_and_what_mends_it_lands(tmp_path: Path) -> None:
    project = make(tmp_path)
    commit(project.root, {"bad-base": "x"})
    hand_over(project, "item-1", {"item-1": "1"}, base="main")
    with a_lander(project) as lander:
        lander.land_all()
        lander.look_at_target()
        assert last(project, "item-1").kind == "landing"
        assert not lander.land_next(), "it is not tried again and again"
        report = read_target(project.state.root)
        assert report is not None
        assert "without any new work" in (report.blocked or "")
        git(scratch(project), "switch", "-q", "--detach", "main")
        git(scratch(project), "rm", "-q", "bad-base")
        mended = commit(scratch(project), {}, "mend")
        hand_over(project, "item-2", {"item-2": "2"}, base=mended)
        lander.land_all()
    assert landed_items(project) == ["item-2", "item-1"]
    assert kinds(project, "item-1") == ["claimed", "landing", "done"]
    report = read_target(project.state.root)
    assert report is not None
    assert report.blocked is None


def test_what_mends_a_red_base_lands_although_it_travels_with_others(tmp_path: Path) -> None:
    project = make(tmp_path)
    red = commit(project.root, {"bad-base": "x"})
    git(scratch(project), "switch", "-q", "--detach", red)
    git(scratch(project), "rm", "-q", "bad-base")
    mended = commit(scratch(project), {}, "mend")
    hand_over(project, "item-1", {"item-1": "1"})
    hand_over(project, "item-2", {"item-2": "2"}, base=mended)
    hand_over(project, "item-3", {"bad-item-3": "3"})
    land(project)
    assert landed_items(project) == ["item-2", "item-1"]
    assert [kinds(project, name)[-1] for name in ("item-1", "item-2", "item-3")] == ["done", "done", "released"]


def test_an_item_cancelled_while_its_train_is_tested_does_not_land_and_the_others_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make(tmp_path)
    names = hand_over_many(project, 3)
    with a_lander(project) as lander:
        checker = lander._train._checker
        check = checker.check

        def cancel_then_check(*arguments: object, **options: object) -> object:
            verdict = check(*arguments, **options)  # type: ignore[arg-type]
            monkeypatch.undo()
            cancel(project.queue, names[1])
            return verdict

        monkeypatch.setattr(checker, "check", cancel_then_check)
        lander.land_all()
    assert landed_items(project) == [names[0], names[2]]
    assert kinds(project, names[1])[-1] == "cancelled"
    assert git(project.root, "for-each-ref", "refs/parallel-loop/candidate", "refs/parallel-loop/landed") == ""


def test_the_size_follows_how_often_branches_are_bad() -> None:
    size = TrainSize()
    assert size.best == LARGEST
    for _ in range(10):
        size.note(bad=True)
        size.note(bad=False)
    assert size.best == 2
    for _ in range(50):
        size.note(bad=False)
    assert size.best == LARGEST


@pytest.mark.parametrize("style", ["squash", "rebase"])
def test_a_linear_history_has_every_commit_checked(tmp_path: Path, style: str) -> None:
    project = make(tmp_path, f"land_as: {style}\n")
    names = hand_over_many(project, 3)
    land(project)
    assert runs(tmp_path) == [names[:1], names[:2], names]
    assert git(project.root, "rev-list", "--merges", "main") == ""
    assert first_parents(project, "main") == 4
    assert git(project.root, "log", "--reverse", "--format=%(trailers:key=Item,valueonly)", "main").split() == names
    authors = git(project.root, "log", "-3", "--format=%an", "main").splitlines()
    assert set(authors) == ({"Tess Ter"} if style == "rebase" else {"parallel-loop"})


@pytest.mark.parametrize("style", ["merge", "squash", "rebase"])
def test_killed_between_moving_the_branch_and_the_records_the_next_lander_records_once(
    tmp_path: Path, style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make(tmp_path, f"land_as: {style}\n")
    hand_over(project, "item-1", {"item-1": "1"})
    with a_lander(project) as lander:
        monkeypatch.setattr(lander._records, "land", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            lander.land_next()
    monkeypatch.undo()
    tip = git(project.root, "rev-parse", "parallel-loop/landed")
    assert kinds(project, "item-1") == ["claimed", "landing"]
    land(project)
    assert last(project, "item-1").commit == tip == git(project.root, "rev-parse", "main")
    assert git(project.root, "for-each-ref", "refs/parallel-loop/landed", "refs/parallel-loop/candidate") == ""


def test_the_next_attempt_is_told_the_facts_of_a_conflict(tmp_path: Path) -> None:
    project = make(tmp_path)
    hand_over_each(project, {"README": "mine\n"}, {"README": "no, mine\n"})
    land(project)
    entry = project.queue.entry("item-2")
    assert entry is not None
    prompt = compose(entry)
    assert "What both sides did there, and the lines in conflict" in prompt
    assert "no, mine" in prompt
    assert "Its work is on the branch parallel-loop/item/item-2/1." in prompt


def test_a_lander_that_ends_right_after_a_landing_leaves_no_ref_behind(tmp_path: Path) -> None:
    project = make(tmp_path)
    hand_over(project, "item-1", {"item-1": "1"})
    orders = Orders()
    lander = Lander(project, "main", orders)
    land_next = lander.land_next
    lander.land_next = lambda: (land_next(), orders.finish())[0]  # type: ignore[method-assign]
    lander.run()
    lander.close()
    assert last(project, "item-1").kind == "done"
    assert git(project.root, "for-each-ref", "refs/parallel-loop/landed", "refs/parallel-loop/candidate") == ""
