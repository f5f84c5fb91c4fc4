"""The one door to git: it works where it is told to, or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from parallel_loop.worktrees.environment import LOCAL_VARIABLES, Identity, program_environment, scrub
from parallel_loop.worktrees.git import Git, GitError, GitMissing, GitTooOld, require_git
from parallel_loop.worktrees.locks import LockTimeout, hold
from support.repository import commit, git, make_repository, write
from support.worktrees import make_place

AWKWARD = "sp ace 'q\" new\nline ü $HOME ~"


def fake_git(folder: Path, script: str) -> None:
    folder.mkdir()
    (folder / "git").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "git").chmod(0o755)


def test_a_deleted_directory_is_an_error_and_the_current_directory_keeps_its_work(tmp_path, monkeypatch):
    user = make_repository(tmp_path / "user")
    write(user, {"README.md": "edited\n", "untracked.txt": "mine\n"})
    agent = make_repository(tmp_path / "agent")
    bound = Git(agent)
    shutil.rmtree(agent)
    monkeypatch.chdir(user)
    for command in (("reset", "--hard"), ("clean", "-ffdx")):
        with pytest.raises(GitError) as caught:
            bound.run(*command)
        assert caught.value.returncode == 128
    assert (user / "README.md").read_text() == "edited\n"
    assert (user / "untracked.txt").exists()


def test_a_worktree_without_its_git_file_is_not_taken_for_the_repository_around_it(tmp_path):
    place = make_place(tmp_path / "repo")
    write(place.root, {"f.txt": "the user's edit\n", "mine.txt": "mine\n"})
    (place.worktree.path / ".git").unlink()
    place.worktree.git().run("reset", "--hard")
    place.worktree.git().run("clean", "-ffdx")
    assert (place.root / "f.txt").read_text() == "the user's edit\n"
    assert (place.root / "mine.txt").exists()


def test_every_local_variable_of_git_is_known():
    listed = subprocess.run(["git", "rev-parse", "--local-env-vars"], capture_output=True, text=True, check=True)
    assert set(listed.stdout.split()) <= set(LOCAL_VARIABLES)


def test_variables_that_point_elsewhere_do_not_reach_git(tmp_path, monkeypatch):
    here, elsewhere = make_repository(tmp_path / "here"), make_repository(tmp_path / "elsewhere")
    monkeypatch.setenv("GIT_DIR", str(elsewhere / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "no-index"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.name")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "Nobody")
    assert Git(here).text("rev-parse", "--show-toplevel") == str(here)
    assert Git(here).text("status", "--porcelain") == ""
    assert Git(here).text("config", "user.name") == "Tess Ter"
    assert not [name for name in scrub(os.environ) if name.startswith("GIT_CONFIG_") and name[11:12] in "CKV"]


def test_hooks_of_the_user_do_not_run(tmp_path):
    root = make_repository(tmp_path / "repo")
    hook = root / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    write(root, {"new.txt": "x"})
    bound = Git(root, identity=Identity("agent-7", "seven@example.invalid"))
    bound.run("add", "-A")
    bound.run("commit", "-m", "by the agent")
    assert git(root, "log", "-1", "--format=%an %ce") == "agent-7 seven@example.invalid"
    assert git(root, "config", "user.name") == "Tess Ter"


def test_paths_and_arguments_with_awkward_characters_pass_unchanged(tmp_path):
    root = make_repository(tmp_path / AWKWARD, {AWKWARD: "x"})
    assert Git(root).run("ls-files", "-z").fields == [AWKWARD]


def test_standard_input_reaches_git_as_it_is(tmp_path):
    root = make_repository(tmp_path / "repo")
    content = b"\0\xff\r\n" * 100_000
    blob = Git(root).run("hash-object", "-w", "--stdin", stdin=content).text
    assert Git(root).run("cat-file", "blob", blob).stdout == content


def test_an_error_says_what_failed_where_and_why(tmp_path):
    root = make_repository(tmp_path / "repo")
    with pytest.raises(GitError) as caught:
        Git(root).run("rev-parse", "--verify", "no such")
    message = str(caught.value)
    assert "git rev-parse --verify 'no such' failed in" in message
    assert str(root) in message
    assert "exit code 128" in message
    assert "\n    fatal: " in message


@pytest.mark.parametrize("argument", ["nul\0byte", "x" * 200_000], ids=["nul", "too long"])
def test_an_argument_no_process_can_have_is_a_git_error(tmp_path, argument):
    root = make_repository(tmp_path / "repo")
    with pytest.raises(GitError) as caught:
        Git(root).run("rev-parse", argument)
    assert len(str(caught.value)) < 2000


def test_a_lock_of_another_process_is_waited_for(tmp_path):
    root = make_repository(tmp_path / "repo")
    lock = root / ".git" / "index.lock"
    lock.touch()
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            lock.unlink()

    write(root, {"new.txt": "x"})
    Git(root, pause=pause).run("add", "-A")
    assert len(pauses) == 2


def test_a_lock_that_stays_is_an_error_that_names_it(tmp_path):
    root = make_repository(tmp_path / "repo")
    (root / ".git" / "index.lock").touch()
    write(root, {"new.txt": "x"})
    pauses: list[float] = []
    with pytest.raises(GitError, match=r"index\.lock"):
        Git(root, pause=pauses.append).run("add", "-A")
    assert len(pauses) == 5


RACES = {
    "a lock": "fatal: Unable to create '/r/.git/packed-refs.lock': File exists.",
    "a folder that another removed": "error: Unable to create '/r/.git/refs/heads/a/b.lock': No such file or directory",
    "the configuration": "error: could not lock config file .git/config: File exists",
    "a ref": "fatal: cannot lock ref 'HEAD': unable to resolve reference 'HEAD'",
    "a worktree half made": "fatal: failed to read .git/worktrees/a/commondir: Success",
    "a worktree half removed": "fatal: could not open '.git/worktrees/a/locked' for writing: No such file or directory",
    "a gc": "fatal: gc is already running on machine 'x' pid 7 (use --force if not)",
    "no process to be had": "fatal: unable to create threaded lstat: Resource temporarily unavailable",
}


@pytest.mark.parametrize("name", RACES)
def test_what_another_git_was_in_the_way_of_is_tried_again(tmp_path, monkeypatch, name):
    Git(tmp_path).run("version")  # GitPython looks for git once, and is to find the real one
    said = tmp_path / "said"
    said.write_text(RACES[name])
    fake_git(tmp_path / "bin", f"test -e {said} || exit 0; cat {said} >&2; rm {said}; exit 128")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    pauses: list[float] = []
    Git(tmp_path, pause=pauses.append).run("status")
    assert len(pauses) == 1


def test_no_git_at_all_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitMissing, match="not on PATH"):
        require_git()


def test_a_git_that_is_too_old_is_said(tmp_path, monkeypatch):
    fake_git(tmp_path / "bin", "echo git version 2.37.9")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(GitTooOld, match=r"2\.37\.9 is too old.*2\.38"):
        require_git()


def test_the_git_here_will_do():
    require_git()


@pytest.mark.parametrize("ignore", ["", "trap '' TERM; "], ids=["obeys", "ignores SIGTERM"])
def test_a_command_that_hangs_is_ended_with_all_its_children(tmp_path, monkeypatch, ignore):
    monkeypatch.setattr("parallel_loop.worktrees.watchdog._ENDING_SECONDS", 0.1)
    fake_git(tmp_path / "bin", f"{ignore}sleep 100 & wait; wait")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(GitError, match=r"ended after 0\.1 s"):
        Git(tmp_path).run("status", timeout_seconds=0.1)


def test_a_command_whose_time_is_up_before_it_is_started_is_ended(tmp_path, monkeypatch):
    fake_git(tmp_path / "bin", "sleep 100")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(GitError, match="ended after 0 s"):
        Git(tmp_path).run("status", timeout_seconds=0)


def test_a_running_git_holds_the_lease_after_its_caller_is_gone(tmp_path):
    root = make_repository(tmp_path / "repo")
    lease = tmp_path / "lease"
    inherited, gate = os.pipe()
    # git runs an alias that ends when the test closes the gate; its caller has long given it up.
    with hold(lease, shared=True) as descriptor:
        child = subprocess.Popen(["cat"], stdin=inherited, pass_fds=[descriptor])
    try:
        with pytest.raises(LockTimeout, match="still locked"), hold(lease, timeout_seconds=0.02):
            pass
    finally:
        os.close(inherited)
        os.close(gate)
        child.wait()
    with hold(lease, timeout_seconds=5):
        Git(root).run("status")
    aliased = Git(root, lease=lease, configuration=["alias.locked=!test -e /proc/self/fd && readlink /proc/$$/fd/*"])
    assert str(lease) in aliased.run("locked", ok=(0, 1)).text


def test_a_program_commits_as_the_agent_and_packs_nothing(tmp_path):
    root = make_repository(tmp_path / "repo")
    environ = scrub(os.environ) | program_environment(Identity("agent-2", "two@example.invalid"), {"x.y": "z"})

    def run(*argv: str) -> str:
        return subprocess.run(
            ["git", "-C", root, *argv], env=environ, capture_output=True, text=True, check=True
        ).stdout

    run("commit", "--allow-empty", "-m", "work")
    assert git(root, "log", "-1", "--format=%an <%ce>") == "agent-2 <two@example.invalid>"
    assert [run("config", key).strip() for key in ("gc.auto", "maintenance.auto", "commit.gpgSign", "x.y")] == [
        "0",
        "false",
        "false",
        "z",
    ]


def test_a_program_that_removed_its_git_file_does_not_find_the_users_repository(tmp_path):
    place = make_place(tmp_path / "repo")
    (place.worktree.path / ".git").unlink()
    environ = scrub(os.environ) | place.worktree.program_environment(Identity("a", "a@example.invalid"))
    done = subprocess.run(["git", "status"], cwd=place.worktree.path, env=environ, capture_output=True, check=False)
    assert done.returncode == 128


def test_reading_commands_leave_the_index_alone(tmp_path):
    root = make_repository(tmp_path / "repo")
    commit(root, {"a": "1"})
    os.utime(root / "a", (1, 1))
    before = (root / ".git" / "index").read_bytes()
    Git(root).run("status")
    assert (root / ".git" / "index").read_bytes() == before
