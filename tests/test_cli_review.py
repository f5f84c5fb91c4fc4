"""Looking at work before it lands: `diff`, `approve`, `reject`, and `land` for what was left on its branch."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from parallel_loop.coordinator.aggregate import current_snapshot
from parallel_loop.harness.identity import own_identity
from parallel_loop.harness.project import Project
from parallel_loop.harness.state import Session
from parallel_loop.queue.clock import utc_now
from parallel_loop.queue.markers import Owner
from parallel_loop.queue.records import Record
from parallel_loop.queue.taking import Taker
from support.cli import CommandLine
from support.landing import hand_over, land, landed_items, make_branch, scratch
from support.repository import attempt_git, commit, environment, git
from support.runs import add, drain, kinds, make_project, running, states, waits_for
from support.taking import claimed
from support.waiting import eventually


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "r", "checks: ['test ! -e bad']", {"a": "1\n2\n3\n"})


@pytest.fixture
def cli(project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    return CommandLine(capsys, monkeypatch, project.root)


def hold(project: Project, item_id: str, files: Mapping[str, str | bytes] | None, **fields: object) -> str:
    """An item whose attempt ended with `files` on its branch, and this record; return the branch."""
    if project.queue.entry(item_id) is None:
        add(project, item_id)
    taker = Taker(project.queue, Owner("agent-1", *own_identity()))
    claim = claimed(taker)
    assert claim.item.id == item_id
    branch = f"parallel-loop/item/{item_id}/{claim.attempt}"
    made = None if files is None else make_branch(project, branch, files)
    told: dict[str, object] = {"branch": branch, "commit": made} if made else {}
    record = Record(at=utc_now(), agent="agent-1", **{"kind": "waiting", "outcome": "review", **told, **fields})
    assert taker.end(claim, record)
    taker.close()
    return branch


@pytest.mark.parametrize("kind", ["waiting", "landing", "failed", "cancelled"])
def test_work_that_has_not_landed_is_shown_against_what_it_began_from(
    project: Project, cli: CommandLine, kind: str
) -> None:
    land(project)
    hold(project, "one", {"a": "1\n2\nthree\n"}, kind="waiting" if kind == "cancelled" else kind)
    hand_over(project, "two", {"two": "2"})
    if kind == "cancelled":
        cli("cancel", "one")
    if kind != "landing":
        land(project)  # what landed meanwhile is not part of it
    shown = cli("diff", "one")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.startswith("diff --git a/a b/a\n")
    assert "-3\n+three\n" in shown.out
    assert "two" not in shown.out
    assert cli("diff", "one", "--stat").out == " a | 2 +-\n 1 file changed, 1 insertion(+), 1 deletion(-)\n"


@pytest.mark.parametrize("land_as", ["merge", "squash", "rebase"])
def test_what_landed_is_shown_as_its_landing_changed_it(tmp_path: Path, cli: CommandLine, land_as: str) -> None:
    project = make_project(tmp_path / "other", f"land_as: {land_as}\nchecks: ['true']", {"a": "1\n2\n3\n"})
    cli.directory = project.root
    hand_over(project, "one", {"a": "1\n2\nthree\n"})
    make_branch(project, "first", {"x": "x\n"})
    hand_over(project, "two", {"y": "y\n"}, base="first")  # two commits
    hand_over(project, "three", {"z": "z\n"})
    land(project)
    assert list(states(project).values()) == ["done"] * 3
    shown = {name: cli("diff", name, "--stat").out.splitlines()[:-1] for name in ("one", "two", "three")}
    assert shown == {"one": [" a | 2 +-"], "two": [" x | 1 +", " y | 1 +"], "three": [" z | 1 +"]}


def test_what_came_onto_the_landing_branch_by_another_way_is_told(project: Project, cli: CommandLine) -> None:
    branch = hold(project, "one", {"one": "1\n"})
    git(project.root, "merge", "--quiet", "--no-ff", "-m", "by hand", branch)
    land(project)
    shown = cli("diff", "one")
    assert (shown.code, shown.out) == (0, "")
    assert "all of it is on parallel-loop/landed already" in shown.line
    cli("approve", "one")
    land(project)
    assert states(project) == {"one": "done"}
    assert " one | 1 +\n" in cli("diff", "one", "--stat").out


def test_the_latest_attempt_with_commits_is_shown_unless_another_is_asked_for(
    project: Project, cli: CommandLine
) -> None:
    for number, files in enumerate(({"first": "1\n"}, {"second": "2\n"}, None), 1):
        fields = {"kind": "released", "outcome": "failed", "why": f"reason {number}"}
        hold(project, "one", files, **fields)
    land(project)
    shown = cli("diff", "one", "--stat")
    assert " second | 1 +" in shown.out
    assert shown.line == "attempt 3 committed nothing so far; this is attempt 2"
    assert " first | 1 +" in cli("diff", "one", "--stat", "--attempt", "1").out
    nothing = cli("diff", "one", "--attempt", "3")
    assert (nothing.code, nothing.out) == (1, "")
    assert nothing.line == "attempt 3 of one committed nothing (failed: reason 3)"
    assert cli("diff", "one", "--attempt", "4").line == "one has no attempt 4; it has 3, see `parallel-loop show one`"
    assert cli("diff", "one", "--attempt", "0").code == 2


def test_what_cannot_be_shown_is_said_with_where_else_to_look(project: Project, cli: CommandLine) -> None:
    assert (cli("diff", "nobody").code, cli("diff", "a b").code) == (1, 2)
    add(project, "one")
    assert cli("diff", "one").line == "one is ready and was never begun: there is nothing to show"
    hold(project, "one", None, kind="failed", outcome="timed-out", why="too long")
    git(project.root, "update-ref", "refs/parallel-loop/salvage/one/1", "main")
    git(project.root, "update-ref", "refs/parallel-loop/salvage/one/1-2", "main")
    git(project.root, "update-ref", "refs/parallel-loop/salvage/one/11", "main")
    kept = "`git show refs/parallel-loop/salvage/one/1 refs/parallel-loop/salvage/one/1-2`"
    assert cli("diff", "one").line.endswith(f"(timed-out: too long); what it left was kept: {kept}")


def test_a_branch_that_is_gone_is_shown_while_git_has_its_commit(project: Project, cli: CommandLine) -> None:
    branch = hold(project, "one", {"one": "1\n"})
    land(project)
    git(project.root, "branch", "-qD", branch)
    assert " one | 1 +\n" in cli("diff", "one", "--stat").out
    git(scratch(project), "checkout", "--quiet", "--detach", "main")
    git(scratch(project), "reflog", "expire", "--all", "--expire=now")
    git(project.root, "gc", "--quiet", "--prune=now")
    gone = cli("diff", "one")
    assert gone.code == 1
    assert gone.line.endswith(f"of attempt 1 of one is not in the repository (its branch was {branch})")


def test_without_a_landing_branch_there_is_nothing_to_compare_with(project: Project, cli: CommandLine) -> None:
    hold(project, "one", {"one": "1\n"})
    assert cli("diff", "one")[::2] == (
        1,
        "parallel-loop: there is no branch parallel-loop/landed to compare with; a run makes it again\n",
    )


def test_what_an_attempt_under_way_has_committed_is_shown_with_where_the_rest_is(
    project: Project, cli: CommandLine
) -> None:
    land(project)
    add(project, "one")
    taker = Taker(project.queue, Owner("agent-1", *own_identity()))
    assert taker.take() is not None
    assert cli("diff", "one").line == "attempt 1 of one has committed nothing yet; agent-1 is at work on it"
    branch = "parallel-loop/item/one/1"
    make_branch(project, branch, {"one": "1\n"})
    project.state.agent("agent-1").create()
    project.state.agent("agent-1").session.write_bytes(msgspec.json.encode(Session("one", 1, branch)))
    shown = cli("diff", "one", "--stat")
    assert " one | 1 +" in shown.out
    assert shown.line.endswith(f"what it has not committed yet is in {project.worktrees / 'agent-1'}")
    taker.close()


def test_a_pipe_gets_plain_text_and_a_terminal_the_users_pager(project: Project, cli: CommandLine) -> None:
    hold(project, "one", {"a": "1\n2\nthré\n"})
    land(project)
    git(project.root, "config", "color.ui", "always")
    git(project.root, "config", "diff.external", "false")
    assert "\x1b" not in cli("diff", "one").out
    git(project.root, "config", "--unset", "diff.external")
    command = [sys.executable, "-m", "parallel_loop.coordinator", "diff", "one"]
    environ = environment() | {"PAGER": "sed s/^/paged:/", "TERM": "xterm", "PYTHONPATH": ""}
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, cwd=project.root, env=environ, stdin=theirs, stdout=theirs, stderr=theirs) as run:
        os.close(theirs)
        said = b""
        while piece := _read(ours):
            said += piece
    os.close(ours)
    assert run.returncode == 0
    assert b"paged:" in said
    assert b"\x1b[32m" in said
    assert "thré".encode() in said


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the last one at the other end has closed it
        return b""


# --- review -------------------------------------------------------------------------------------------


def test_review_holds_an_item_shows_it_and_a_rejection_reaches_the_next_attempt(
    tmp_path: Path, cli: CommandLine
) -> None:
    project = make_project(tmp_path / "other", "land: review")
    cli.directory = project.root
    add(project, "one", "cat > prompt; echo $PARALLEL_LOOP_ATTEMPT > made", prompt="Make it.")
    assert drain(project) == 0
    [asked] = current_snapshot(project).attention
    assert asked.next == "parallel-loop diff one"
    assert asked.why == "wants a look; then `approve` or `reject` it"
    assert "+1" in cli("diff", "one").out
    assert cli("reject", "one", "two is wanted").code == 0
    assert drain(project) == 0
    shown = cli("diff", "one").out
    assert "+2" in shown
    assert "two is wanted" in shown
    assert "parallel-loop/item/one/1" in shown
    assert cli("approve", "one").code == 0
    assert drain(project) == 0
    assert landed_items(project, "main") == ["one"]
    assert kinds(project, "one") == ["claimed", "waiting", "answered", "claimed", "waiting", "landing", "done"]


@pytest.mark.parametrize("why", ["wants a look", "wants a look before it lands: `parallel-loop diff one`, then `para…"])
def test_the_reason_of_a_review_is_short_also_where_an_earlier_version_wrote_a_sentence(
    project: Project, cli: CommandLine, why: str
) -> None:
    hold(project, "one", {"one": "1\n"}, why=why)
    snapshot = current_snapshot(project)
    assert [need.why for need in snapshot.attention] == ["wants a look; then `approve` or `reject` it"]
    assert [item.why for item in snapshot.recent] == ["wants a look"]
    assert cli("list").out.splitlines()[1].endswith("wants a look")
    shown = " ".join(cli("show", "one").out.split())
    for command in ("diff one`", "approve one`", "reject one REASON`"):
        assert f"`parallel-loop {command}" in shown


def test_what_was_approved_without_a_coordinator_lands_at_once_on_demand(project: Project, cli: CommandLine) -> None:
    hold(project, "one", {"one": "1\n"})
    said = "one is approved and lands in the next run; `parallel-loop land one` lands it at once\n"
    assert cli("approve", "one").out == said
    assert cli("land", "one").code == 0
    assert states(project) == {"one": "done"}
    assert landed_items(project, "main") == ["one"]


def test_what_is_approved_while_a_coordinator_runs_is_not_sent_elsewhere(
    tmp_path: Path, project: Project, cli: CommandLine
) -> None:
    hold(project, "one", {"one": "1\n"})
    add(project, "busy", waits_for(tmp_path / "go"))
    with running(project, "--agents", "1") as run:
        run.until_working("busy")
        said = "one is approved and lands; `parallel-loop status` shows how that goes\n"
        assert cli("approve", "one").out == said


# --- land: never --------------------------------------------------------------------------------------


def test_what_is_left_on_its_branch_lands_later_without_a_coordinator(tmp_path: Path, cli: CommandLine) -> None:
    project = make_project(tmp_path / "other", "land: never\nchecks: ['test ! -e bad']")
    cli.directory = project.root
    assert cli("land").out == "nothing to land: no item was left on its branch\n"
    for name in ("one", "two"):
        add(project, name)
    add(project, "later", after=("one",))
    assert drain(project) == 0
    assert states(project) == {"one": "waiting", "two": "waiting", "later": "blocked"}
    [told] = current_snapshot(project).attention
    assert told.why == "2 items are on their branches, not landed; 1 item waits for them to land"
    assert told.next == "parallel-loop land"
    assert "one, which has not landed" in cli("show", "later").out
    assert attempt_git(project.root, "log", "--format=%s", "main").stdout == "first\n"

    done = cli("land", "one")
    assert (done.code, done.err) == (0, "")
    assert "landed as" in done.out
    assert landed_items(project, "main") == ["one"]
    assert states(project) == {"one": "done", "two": "waiting", "later": "ready"}
    again = cli("land", "one")
    assert (again.code, again.line) == (1, "one is done; only what was left on its branch can be landed")
    assert cli("land").code == 0
    assert landed_items(project, "main") == ["one", "two"]
    assert git(project.root, "status", "--porcelain") == ""


def test_what_does_not_land_in_the_foreground_is_told_and_goes_back_to_work(project: Project, cli: CommandLine) -> None:
    for name in ("bad", "good"):
        hold(project, name, {name: "x\n"}, outcome="unlanded")
    done = cli("land")
    assert done.code == 1
    assert done.line.startswith("bad did not land: the check `test ! -e bad` ended with exit code 1")
    assert done.line.endswith("; it is ready now")
    assert states(project) == {"bad": "ready", "good": "done"}


def test_a_landing_that_has_to_wait_says_what_for(project: Project, cli: CommandLine) -> None:
    hold(project, "one", {"one": "x\n"}, outcome="unlanded")
    land(project)
    git(scratch(project), "checkout", "--quiet", "parallel-loop/landed")
    refused = cli("land")
    assert refused.code == 2
    assert "is checked out in" in refused.line
    assert states(project) == {"one": "waiting"}, "nothing was changed"


def test_a_running_coordinator_is_handed_what_is_to_land(tmp_path: Path, cli: CommandLine) -> None:
    project = make_project(tmp_path / "other", "land: never")
    cli.directory = project.root
    add(project, "one")
    add(project, "busy", waits_for(tmp_path / "go"))
    with running(project, "--agents", "2") as run:
        eventually(lambda: states(project)["one"] == "waiting", 30)
        handed = cli("land")
        assert (handed.code, handed.out.startswith(f"the coordinator (pid {run.process.pid}) lands one;")) == (0, True)
        eventually(lambda: states(project)["one"] == "done", 30)
        assert states(project)["busy"] == "working"
    assert landed_items(project) == ["one"]


def test_an_item_that_an_earlier_version_left_on_its_branch_is_told_how_to_land(
    project: Project, cli: CommandLine
) -> None:
    why = "left on its branch parallel-loop/item/one/1, as configured (land: never)"
    branch = hold(project, "one", {"one": "1\n"}, kind="done", outcome="done", why=why)
    refused = cli("land", "one")
    assert refused.code == 1
    assert refused.line.endswith(f"`git merge {branch}`")
    git(project.root, "merge", "--quiet", branch)
    land(project)
    assert git(project.root, "show", "parallel-loop/landed:one") == "1"


def test_a_landing_beside_the_users_own_commits_merges_them(project: Project, cli: CommandLine) -> None:
    hold(project, "one", {"one": "x\n"}, outcome="unlanded")
    land(project)
    mine = commit(project.root, {"mine": "mine"}, "by the user")
    assert cli("land").code == 0
    assert git(project.root, "merge-base", mine, "parallel-loop/landed") == mine
    assert git(project.root, "rev-parse", "main") == git(project.root, "rev-parse", "parallel-loop/landed")
