"""The demo: its tools and its check on a small repository, what it is made from, and two whole runs of it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from parallel_loop.coordinator.demo import repository as demo_repository
from parallel_loop.coordinator.demo.items import RETRIED, SAME_FILE, demo_items
from parallel_loop.coordinator.demo.report import Verifier
from parallel_loop.harness.keeping.processes import MARK_AGENT, MARK_STATE
from parallel_loop.harness.project import Project
from parallel_loop.harness.state import StateDirectory
from parallel_loop.queue.clock import utc_now
from support.repository import commit, environment, git, make_repository

SCRIPTS = Path(demo_repository.__file__).parent
PACKAGE = SCRIPTS.parents[1]
MODULE = '''"""Keeps things."""

from .other import b, a


class Box:
    """Holds one thing.

    | b |
    """

    def open(self): ...
    def _hide(self): ...


async def wait(seconds: float = 1.0) -> None: ...
def _private(): ...
'''
PAGE = "docs/demo/reference/queue-box.md"


def script(repository: Path, name: str, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", str(SCRIPTS / name), *argv],
        cwd=repository,
        env=environment(),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


def tool(repository: Path, name: str, *argv: str, stdin: str = "") -> None:
    done = script(repository, name, *argv, stdin=stdin)
    assert done.returncode == 0, done.stderr


def check(repository: Path) -> str:
    """Return what the check complains about; its exit code must say the same."""
    done = script(repository, "check.py")
    assert done.returncode == (1 if done.stdout else 0), done.stderr
    return done.stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small package with a reference page for its one module, and an overview to be filled."""
    files = {
        "queue/box.py": MODULE,
        "queue/other.py": "a = b = 1\n",
        "user.py": "from parallel_loop.queue.box import Box\n",
        "docs/demo/overview.md": demo_repository._OVERVIEW,
    }
    root = make_repository(tmp_path / "a repository", files)
    commit(root, {"queue/other.py": "a = 1\nb = 2\n"}, "tell | apart")
    tool(root, "reference.py", "queue/box.py")
    return root


def edit(repository: Path, name: str, old: str, new: str) -> None:
    path = repository / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_reference_page_is_made_of_docstrings_uses_history_and_a_measurement(repository: Path) -> None:
    page = (repository / PAGE).read_text(encoding="utf-8")
    assert "> Keeps things." in page
    assert "Importing it took" in page
    assert "## `Box`\n\n> Holds one thing.\n\nThe name occurs in user.py. Last changed in" in page
    assert "## `Box.open(self)`" in page
    assert "## `wait(seconds: float=1.0)`" in page
    assert "_hide" not in page


def test_every_tool_writes_pages_that_pass_the_check(repository: Path) -> None:
    tool(repository, "reference.py", "INDEX")
    for name in ("measure", "graph", "imports", "words", "history", "layout", "figures", "contents"):
        tool(repository, "chores.py", name)
        assert check(repository) == "", name
    pages = repository / "docs/demo"
    assert "`queue/box.py` | 1 | sorted" in (pages / "imports.md").read_text()
    assert "(top level) imports queue | 1" in (pages / "import-graph.md").read_text()
    assert "| tell / apart | 2 | 1 |" in (pages / "history.md").read_text()
    overview = (pages / "overview.md").read_text()
    assert "still to be" not in overview
    assert "](reference/queue-box.md)" in overview


def test_the_summary_is_unsorted_until_its_prompt_says_what_the_check_said(repository: Path) -> None:
    tool(repository, "chores.py", "summary", stdin="write it")
    complaint = check(repository)
    assert "docs/demo/summary.md" in complaint
    assert "not sorted" in complaint
    tool(repository, "chores.py", "summary", stdin=f"An earlier attempt did not land:\n{complaint}")
    assert check(repository) == ""


@pytest.mark.parametrize(
    ("name", "old", "new", "complaint"),
    [
        ("queue/other.py", "a = 1", "a = = 1", "queue/other.py: does not compile"),
        ("queue/box.py", "def open", "def close", "Box.close of queue/box.py is missing"),
        (PAGE, "## `wait", "## `sleep", "lists sleep, which is not in queue/box.py"),
        (PAGE, "Source: `queue/box.py`", "Source: `queue/gone.py`", "names no existing module"),
        (PAGE, "# queue/box.py", "[box](box.md)", "the link to box.md leads nowhere"),
        (PAGE, "# queue/box.py", "| x |\n| - |\n| b |\n| a |", ":4: the table is not sorted: a comes after b"),
        ("docs/demo/overview.md", "## Figures\n", "", "its sections are ## Layout, ## Where to read on"),
        ("docs/demo/overview.md", "## Figures\n", "<<<<<<< HEAD\n## Figures\n", "a conflict was left in it"),
    ],
)
def test_the_check_catches(repository: Path, name: str, old: str, new: str, complaint: str) -> None:
    assert check(repository) == ""
    edit(repository, name, old, new)
    assert complaint in check(repository)


def test_two_sections_of_the_overview_filled_on_two_branches_merge_without_conflict(repository: Path) -> None:
    for name in ("layout", "figures"):
        git(repository, "checkout", "--quiet", "-b", name, "main")
        tool(repository, "chores.py", name)
        git(repository, "commit", "--quiet", "--all", "-m", name)
    git(repository, "merge", "--quiet", "layout")
    assert "still to be looked up" not in (repository / "docs/demo/overview.md").read_text()
    assert "still to be counted" not in (repository / "docs/demo/overview.md").read_text()


def test_an_installed_package_becomes_a_repository_with_a_history_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_repository(tmp_path / "somebody's project")
    package = project / ".venv" / "parallel_loop"
    for folder in (*demo_repository.FOLDERS, "coordinator/demo"):
        (package / folder / "__pycache__").mkdir(parents=True)
        (package / folder / "module.py").write_text('"""One."""\n')
    (package / "loop.py").touch()
    for name in demo_repository.TOOLS:
        (package / "coordinator" / "demo" / name).touch()
    monkeypatch.setattr(demo_repository, "__file__", str(package / "coordinator" / "demo" / "repository.py"))
    root = tmp_path / "clone"
    start, origin = demo_repository.make_repository(root, agents=2)
    assert "committed folder by folder" in origin
    assert git(root, "rev-list", "--count", start) == "4"
    assert git(root, "rev-parse", "main~1") == start
    assert git(root, "status", "--porcelain") == ""
    assert len(demo_items(root, utc_now())) >= 14


def test_a_detached_head_is_cloned_where_it_stands_and_forgets_where_it_came_from(tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source", {"queue/store.py": "first = 1\n"})
    git(source, "checkout", "--quiet", "--detach")
    tip = commit(source, {"queue/store.py": "second = 2\n"})
    (source / "queue/store.py").write_text("uncommitted = 3\n")
    origin = demo_repository._clone(source, tmp_path / "clone")
    assert origin is not None
    assert tip[:12] in origin
    assert git(tmp_path / "clone", "rev-parse", "main") == tip
    assert git(tmp_path / "clone", "remote") == ""


@pytest.fixture
def verifier(tmp_path: Path) -> Verifier:
    """Looks at a run that landed one good and one bad commit."""
    root = make_repository(
        tmp_path / "run", {"parallel-loop.yaml": 'checks: ["test ! -e bad || (echo spoilt; false)"]'}
    )
    start = git(root, "rev-parse", "main")
    commit(root, {"good": ""})
    commit(root, {"bad": ""})
    git(root, "branch", "parallel-loop/landed")
    return Verifier(Project.open(root, environment()), start)


def test_verifying_finds_the_one_commit_that_fails_whatever_lies_in_the_checkout(
    verifier: Verifier, tmp_path: Path
) -> None:
    (tmp_path / "run" / "bad").unlink()
    good, bad = verifier.commits()
    assert verifier.failing_commits([good, bad], tmp_path / "verify") == [f"commit {bad[:12]} fails its check: spoilt"]


def test_verifying_notices_a_checkout_that_is_not_what_landed(verifier: Verifier, tmp_path: Path) -> None:
    assert verifier.checkout_problems() == []
    (tmp_path / "run" / "left-over").touch()
    git(tmp_path / "run", "branch", "--force", "parallel-loop/landed", "main~1")
    behind, unclean = verifier.checkout_problems()
    assert "what landed is" in behind
    assert "left-over" in unclean


def test_verifying_notices_and_ends_what_a_program_left_running(verifier: Verifier, tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "run" / ".parallel-loop")
    state.agent("agent-1").create()
    assert verifier.left_running() == []
    marks = {MARK_STATE: str(state.root), MARK_AGENT: "agent-1"}
    with subprocess.Popen(["sleep", "60"], env=environment() | marks) as process:
        assert verifier.left_running() == ["1 processes that agent-1 had started still ran"]
    assert process.returncode == -signal.SIGKILL


def start_demo(folder: Path) -> subprocess.Popen[str]:
    """Start the whole demo from nowhere in particular, without a home, with its folder below `folder`."""
    variables = environment() | {"TMPDIR": str(folder), "PARALLEL_AGENTS": "nonsense"}
    variables.pop("HOME", None)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "parallel_loop.coordinator", "demo"],
        cwd="/",
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_demo_lands_everything_retries_one_merges_one_file_and_leaves_nothing(tmp_path: Path) -> None:
    with start_demo(tmp_path) as process:
        out, _ = process.communicate(timeout=100)
    assert process.returncode == 0, out
    items = len(demo_items(PACKAGE, utc_now()))
    rows = {line[:16].strip(): line[16:] for line in out.splitlines()}
    assert rows["landed"] == f"{items} of {items} items"
    assert f"{RETRIED}, check-failed" in rows["tried again"]
    assert rows["merged by line"] == "docs/demo/overview.md"
    passed, _, tried = rows["verified"].split(" ")[:3]
    assert rows["verified"].endswith("commits on main pass the checks")
    assert passed == tried
    assert 1 < int(tried) <= items + 1, "one for each item, fewer where several landed together, and the user's"
    assert all(f"{name}#1" in out for name in SAME_FILE)
    assert list(tmp_path.iterdir()) == []


def test_a_demo_that_is_interrupted_twice_ends_with_130_and_leaves_nothing(tmp_path: Path) -> None:
    with start_demo(tmp_path) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if "claimed" in line)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)  # another, because two of the same kind may arrive as one
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []
