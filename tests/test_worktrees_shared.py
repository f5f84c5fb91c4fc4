"""What all worktrees share after a program was at it: put back, kept and told, and what a person did is left alone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from parallel_loop.worktrees.environment import Identity, scrub
from parallel_loop.worktrees.evidence import Command, read_commands, trace_variables
from parallel_loop.worktrees.quarantine import Quarantine
from parallel_loop.worktrees.reflogs import program_email
from parallel_loop.worktrees.shared import Change, SharedFiles
from parallel_loop.worktrees.shared_files import File
from parallel_loop.worktrees.shared_refs import Attempted, Deed, remember, settle
from support.repository import attempt_git, commit, environment, git, make_empty_repository, write
from support.worktrees import Place, make_place

BRANCH = "parallel-loop/item/x/1"
KEPT = "refs/parallel-loop/salvage/x/1"


class Bench:
    """A repository before, during and after a program of agent-1, in whose place any shell command is run."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.root = place.root
        self.git_dir = place.root / ".git"
        self.trace = place.root / ".parallel-loop" / "trace"
        self.quarantine = Quarantine(place.root / ".parallel-loop" / "quarantine")
        self.files = SharedFiles(self.git_dir, self.quarantine)
        git(place.worktree.path, "switch", "--quiet", "-c", BRANCH)
        self.begin()

    def begin(self) -> None:
        marker = self.root / ".parallel-loop" / "marker"
        marker.write_text("")
        self.trace.unlink(missing_ok=True)
        self.known: dict[str, File] = self.files.look()
        self.before = remember(self.place.repository, marker.stat().st_mtime_ns)

    def program(self, command: str, agent: str = "agent-1") -> None:
        """Run a shell command as the program of an agent, in the worktree of the first."""
        worktree = self.place.worktree
        environ = scrub(environment()) | worktree.program_environment(Identity(agent, program_email(agent)))
        environ |= trace_variables(self.trace)
        # The file system's clock has ticks: a program takes longer to start than one of them.
        os.utime(self.root / ".parallel-loop" / "marker")
        subprocess.run(["sh", "-ec", command], cwd=worktree.path, env=environ, check=True, capture_output=True)

    def commands(self) -> list[Command]:
        return read_commands(self.trace, self.place.repository.places())

    def look(self) -> list[Change]:
        """Judge the files, and see that a second look finds nothing more."""
        found = self.files.judge(self.known, self.commands)
        self.known = self.files.look()
        assert self.files.judge(self.known, self.commands) == []
        return found

    def settle(self, agent: str = "agent-1") -> list[Deed]:
        """Commit, detach and settle, as the end of an attempt does."""
        git(self.place.worktree.path, "checkout", "--quiet", "--force", "--detach")
        attempted = Attempted(program_email(agent), BRANCH, KEPT)
        return settle(self.place.repository, self.before, attempted, self.commands())

    def refs(self) -> dict[str, str]:
        """All refs but those of salvage."""
        lines = git(self.root, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
        return {name: value for name, value in map(str.split, lines) if not name.startswith("refs/parallel-loop/")}

    def config(self, *argv: str) -> str:
        return attempt_git(self.root, "config", *argv).stdout.strip()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(make_place(tmp_path / "repo"))


def install(bench: Bench, text: str, name: str = "pre-commit") -> Path:
    hook = bench.git_dir / "hooks" / name
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\n{text}\n")
    hook.chmod(0o755)
    return hook


# --- hooks --------------------------------------------------------------------------------------------


def test_a_planted_hook_does_not_run_in_the_users_next_commit(bench, tmp_path):
    bench.program(f"printf '#!/bin/sh\\ntouch {tmp_path}/ran\\n' > {bench.git_dir}/hooks/pre-commit; "
                  f"chmod +x {bench.git_dir}/hooks/pre-commit")  # fmt: skip
    (change,) = bench.look()
    assert change.grave
    assert change.undone
    commit(bench.root, {"mine": "mine\n"})
    assert not (tmp_path / "ran").exists()
    (call,) = bench.quarantine.calls()
    assert "pre-commit appeared while programs were at work" in call.why
    assert "touch" in (call.note.parent / "found").read_text()


def test_a_changed_hook_is_the_users_own_again(bench):
    hook = install(bench, "exit 0")
    bench.begin()
    bench.program(f"echo 'exit 1' >> {hook}; chmod 700 {hook}")
    (change,) = bench.look()
    assert "the one before is back" in change.why
    assert hook.read_text() == "#!/bin/sh\nexit 0\n"
    assert hook.stat().st_mode & 0o777 == 0o755


def test_a_hook_that_is_only_made_executable_is_a_changed_one(bench):
    hook = install(bench, "exit 1")
    hook.chmod(0o644)
    bench.begin()
    bench.program(f"chmod +x {hook}")
    assert [change.grave for change in bench.look()] == [True]
    assert not os.access(hook, os.X_OK)


def test_what_a_hook_calls_is_watched_too(bench):
    install(bench, "exec $(dirname $0)/lib/check")
    write(bench.git_dir, {"hooks/lib/check": "#!/bin/sh\n"})
    (bench.git_dir / "hooks" / "lib" / "check").chmod(0o755)
    bench.begin()
    bench.program(f"echo evil > {bench.git_dir}/hooks/lib/check")
    bench.look()
    assert "evil" not in (bench.git_dir / "hooks" / "lib" / "check").read_text()


def test_a_link_in_place_of_the_hooks_is_moved_away_and_its_target_stays(bench, tmp_path):
    hook = install(bench, "exit 0")
    write(tmp_path / "evil", {"pre-commit": "evil", "post-commit": "evil"})
    bench.begin()
    bench.program(f"mv {bench.git_dir}/hooks {tmp_path}/gone; ln -s {tmp_path}/evil {bench.git_dir}/hooks")
    bench.look()
    assert not (bench.git_dir / "hooks").is_symlink()
    assert hook.read_text() == "#!/bin/sh\nexit 0\n"
    assert (tmp_path / "evil" / "pre-commit").read_text() == "evil"


def test_a_removed_hook_is_kept_for_whoever_misses_it(bench):
    hook = install(bench, "exit 0")
    bench.begin()
    bench.program(f"rm {hook}")
    (change,) = bench.look()
    assert not change.undone
    (call,) = bench.quarantine.calls()
    assert (call.note.parent / "found").read_text() == "#!/bin/sh\nexit 0\n"


def test_samples_and_files_that_nothing_runs_are_nobodys_concern(bench):
    bench.program(f"echo x > {bench.git_dir}/hooks/notes; echo x > {bench.git_dir}/hooks/pre-push.sample")
    assert bench.look() == []


def test_who_did_it_themself_accepts_it_with_the_command_of_the_note_and_is_not_asked_again(bench):
    hook = install(bench, "exit 0")  # by the user, while a program is at work
    bench.look()
    assert not hook.exists()
    (call,) = bench.quarantine.calls()
    lines = call.note.read_text().splitlines()
    accept = lines[lines.index("If you did that yourself, this accepts it and puts it in place:") + 1]
    subprocess.run(["sh", "-ec", accept], check=True)
    assert os.access(hook, os.X_OK)
    assert bench.look() == []
    assert hook.read_text() == "#!/bin/sh\nexit 0\n"
    assert bench.quarantine.calls() == []


def test_what_changed_when_nothing_was_at_work_is_the_users(bench):
    hook = install(bench, "exit 0")
    assert bench.files.judge(bench.known, list, lambda path: path == hook) == []
    assert hook.exists()


# --- configuration ------------------------------------------------------------------------------------

DANGEROUS = {
    "core.hooksPath": "/tmp/evil",
    "core.fsmonitor": "/tmp/evil",
    "core.sshCommand": "evil",
    "core.pager": "evil",
    "core.editor": "evil",
    "core.attributesFile": "/tmp/evil",
    "core.worktree": "/tmp",
    "filter.evil.smudge": "evil %f",
    "merge.evil.driver": "evil",
    "diff.evil.textconv": "evil",
    "alias.st": "!evil",
    "include.path": "/tmp/evil",
    "includeIf.gitdir:/.path": "/tmp/evil",
    "credential.helper": "!evil",
    "credential.https://example.invalid.helper": "evil",
    "gpg.program": "evil",
    "gpg.ssh.program": "evil",
    "url.https://evil.invalid/.insteadOf": "https://example.invalid/",
    "remote.origin.url": "https://evil.invalid/x",
    "remote.origin.pushurl": "https://evil.invalid/x",
    "http.proxy": "http://evil.invalid",
    "extensions.worktreeConfig": "true",
}


def test_settings_that_run_something_or_send_work_elsewhere_are_put_back_whoever_set_them(bench):
    git(bench.root, "remote", "add", "origin", "https://example.invalid/x")
    bench.begin()
    config = bench.git_dir / "config"
    before = bench.config("--list")
    for key, value in DANGEROUS.items():  # not by git, so that nothing says who it was
        section, _, name = key.rpartition(".")
        first, _, rest = section.partition(".")
        header = f'[{first} "{rest}"]' if rest else f"[{first}]"
        with config.open("a") as file:
            file.write(f'{header}\n\t{name} = "{value}"\n') if key != "remote.origin.url" else None
    subprocess.run(
        ["git", "config", f"--file={config}", "remote.origin.url", DANGEROUS["remote.origin.url"]], check=True
    )
    found = {change.name for change in bench.look()}
    assert found == {key.lower() if key.count(".") < 2 else key for key in found}
    assert len(found) == len(DANGEROUS)
    assert sorted(bench.config("--list").splitlines()) == sorted(before.splitlines())
    assert len(bench.quarantine.calls()) == len(DANGEROUS)


def test_what_the_user_configures_stays(bench):
    mine = {"user.name": "Me", "core.autocrlf": "input", "alias.st": "status -sb", "push.default": "current"}
    for key, value in mine.items():
        git(bench.root, "config", key, value)
    git(bench.root, "remote", "add", "fork", "https://example.invalid/fork")
    assert bench.look() == []
    assert bench.config("user.name") == "Me"
    assert bench.config("core.autocrlf") == "input"
    assert bench.config("remote.fork.url") == "https://example.invalid/fork"


def test_what_a_program_configures_does_not_stay(bench):
    bench.program(f"git config user.name Evil; git -C {bench.root} config core.autocrlf true")
    bench.program("git remote add evil https://evil.invalid; git config --add user.email e@example.invalid")
    found = {change.name for change in bench.look()}
    assert {"user.name", "core.autocrlf", "remote.evil.url", "user.email"} <= found
    assert bench.config("user.name") == "Tess Ter"
    assert bench.config("core.autocrlf") == "false"
    assert bench.config("remote.evil.url") == ""
    assert bench.config("--get-all", "user.email") == "tess@example.invalid"
    assert bench.quarantine.calls() == []


def test_what_a_program_configures_in_another_repository_is_no_evidence(bench, tmp_path):
    other = make_empty_repository(tmp_path / "other")
    bench.program(f"git -C {other} config user.name Other")
    git(bench.root, "config", "user.name", "Me")
    assert bench.look() == []
    assert bench.config("user.name") == "Me"


def test_a_person_and_a_program_at_once_each_get_what_is_theirs(bench):
    git(bench.root, "config", "user.name", "Me")
    bench.program("git config core.autocrlf true")
    assert [change.name for change in bench.look()] == ["core.autocrlf"]
    assert bench.config("user.name") == "Me"


@pytest.mark.parametrize("how", ["echo '[broken' >> {}", "rm {}", "rm {0}; mkdir {0}", "rm {0}; mkfifo {0}"])
def test_a_configuration_that_git_cannot_read_is_replaced_by_the_one_before(bench, how):
    bench.program(how.format(bench.git_dir / "config"))
    (change,) = bench.look()
    assert change.grave
    assert bench.config("user.name") == "Tess Ter"


def test_an_accepted_setting_stays(bench):
    git(bench.root, "config", "core.hooksPath", ".husky")
    bench.look()
    (call,) = bench.quarantine.calls()
    subprocess.run(["sh", "-ec", call.note.read_text().splitlines()[3]], check=True, env=environment())
    assert bench.config("core.hooksPath") == ".husky"
    assert bench.look() == []
    assert bench.config("core.hooksPath") == ".husky"


# --- info, and what is only told ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["info/exclude", "info/attributes", "info/grafts"])
def test_rules_for_files_that_a_program_planted_hide_nothing_from_the_next(bench, name):
    bench.program(f"mkdir -p {bench.git_dir}/info; echo '*.txt' >> {bench.git_dir / name}")
    before = bench.known.get(name)
    (change,) = bench.look()
    assert change.undone
    now = bench.git_dir / name
    assert (now.read_bytes() if now.exists() else None) == (before.content if before else None)


def test_rules_that_were_removed_are_back(bench):
    write(bench.git_dir, {"info/exclude": "mine\n"})
    bench.begin()
    bench.program(f"rm -r {bench.git_dir}/info")
    bench.look()
    assert (bench.git_dir / "info" / "exclude").read_text() == "mine\n"


@pytest.mark.parametrize("name", ["shallow", "objects/info/alternates"])
def test_what_objects_may_hang_on_is_told_and_left(bench, name):
    content = f"{bench.place.start}\n" if name == "shallow" else f"{bench.root.parent}\n"
    bench.program(f"mkdir -p {bench.git_dir}/objects/info; printf '%s' '{content}' > {bench.git_dir / name}")
    (change,) = bench.look()
    assert change.grave
    assert not change.undone
    assert (bench.git_dir / name).exists()


# --- refs ---------------------------------------------------------------------------------------------

MADE = {
    "tag": ("git tag v1", "tags/v1"),
    "annotated tag": ("git tag -a -m x v1", "tags/v1"),
    "note": ("git notes add -m n HEAD", "notes/commits"),
    "replace ref": ("git replace --graft HEAD", None),
    "branch": ("git branch other", "heads/other"),
    "branch that is worked on": ("git switch -q -c other; git commit -q --allow-empty -m work", "heads/other"),
    "renamed branch": ("git branch one; git branch -m one other", "heads/other"),
}


@pytest.mark.parametrize("name", MADE)
def test_a_ref_that_a_program_made_does_not_reach_the_next_item_and_is_kept(bench, name):
    commit(bench.root, {"more": "more\n"})
    git(bench.place.worktree.path, "reset", "-q", "--hard", "main")
    bench.begin()
    before = bench.refs()
    command, kept = MADE[name]
    bench.program(command)
    made = {ref: value for ref, value in bench.refs().items() if ref not in before}
    assert made
    deeds = bench.settle()
    assert bench.refs() == before
    assert len(deeds) == 1
    assert deeds[0].kept_as is not None
    if kept:
        assert deeds[0].kept_as == f"{KEPT}-shared/{kept}"
    assert git(bench.root, "rev-parse", deeds[0].kept_as) in made.values()
    assert bench.settle() == []


def test_what_the_user_made_at_the_same_time_stays(bench):
    git(bench.root, "branch", "mine")
    git(bench.root, "tag", "mine")
    write(bench.root, {"f.txt": "mine"})
    git(bench.root, "stash")
    bench.program("git tag theirs")
    before = bench.refs()
    bench.settle()
    assert bench.refs() == {ref: value for ref, value in before.items() if ref != "refs/tags/theirs"}


def test_a_moved_branch_and_note_of_the_user_are_put_back_unless_the_user_went_on_from_there(bench):
    git(bench.root, "branch", "one")
    git(bench.root, "branch", "two")
    git(bench.root, "notes", "add", "-m", "mine", "HEAD")
    bench.begin()
    before = bench.refs()
    bench.program(
        "git commit -q --allow-empty -m work; git branch -q -f one; git branch -q -f two; git notes append -m x main"
    )
    git(bench.root, "update-ref", "--create-reflog", "refs/heads/two", git(bench.root, "rev-parse", "main"))
    git(bench.root, "branch", "-f", "two", BRANCH)
    bench.settle()
    after = bench.refs()
    assert after["refs/heads/one"] == before["refs/heads/one"]
    assert after["refs/notes/commits"] == before["refs/notes/commits"]
    assert after["refs/heads/two"] == after[f"refs/heads/{BRANCH}"]


def test_another_items_branch_and_the_landing_branch_are_put_back(bench):
    git(bench.root, "branch", "parallel-loop/item/y/1")
    git(bench.root, "branch", "parallel-loop/landed")
    bench.begin()
    before = bench.refs()
    bench.program("git commit -q --allow-empty -m theirs; git branch -q -f parallel-loop/item/y/1", "agent-2")
    second = bench.refs()["refs/heads/parallel-loop/item/y/1"]
    bench.program(
        "git commit -q --allow-empty -m w; git branch -q -f parallel-loop/item/y/1; git branch -f parallel-loop/landed"
    )
    bench.settle()
    after = bench.refs()
    assert after["refs/heads/parallel-loop/item/y/1"] == second  # what its own agent made of it stays
    assert after["refs/heads/parallel-loop/landed"] == before["refs/heads/parallel-loop/landed"]


def test_a_branch_under_somebodys_feet_is_not_moved_but_told(bench):
    bench.program(f"cd {bench.root}; git commit -q --allow-empty -m intruder")
    tip = git(bench.root, "rev-parse", "main")
    deeds = bench.settle()
    assert git(bench.root, "rev-parse", "main") == tip
    assert [deed.ref for deed in deeds] == ["refs/heads/main", "HEAD"]
    assert deeds[0].remedy == f"git -C {bench.root} reset --keep {bench.place.start}"


DELETIONS = {
    "branch -D": ("git branch -D mine", "refs/heads/mine"),
    "branch -m": ("git branch -m mine yours", "refs/heads/mine"),
    "tag -d": ("git tag -d v0", "refs/tags/v0"),
    "update-ref -d": ("git update-ref -d refs/tags/v0", "refs/tags/v0"),
}


@pytest.mark.parametrize("name", DELETIONS)
def test_a_ref_that_a_program_deleted_is_back_and_one_that_the_user_deleted_is_not(bench, name):
    for ref in ("mine", "also"):
        git(bench.root, "branch", ref)
    git(bench.root, "tag", "v0")
    bench.begin()
    before = bench.refs()
    command, ref = DELETIONS[name]
    bench.program(command)
    git(bench.root, "branch", "-D", "also")
    assert ref not in bench.refs()
    bench.settle()
    assert bench.refs() == {name: value for name, value in before.items() if name != "refs/heads/also"}


def stash(bench: Bench) -> list[str]:
    return git(bench.root, "stash", "list", "--format=%s").splitlines()


def test_the_stash_has_what_the_user_put_there_and_nothing_else(bench):
    write(bench.root, {"f.txt": "mine 1"})
    git(bench.root, "stash", "push", "-m", "mine 1")
    bench.begin()
    bench.program("echo a > f.txt; git stash push -q -m theirs-1")
    write(bench.root, {"f.txt": "mine 2"})
    git(bench.root, "stash", "push", "-m", "mine 2")
    bench.program("echo b > f.txt; git stash push -q -m theirs-2")
    kept = [deed.kept_as for deed in bench.settle()]
    assert stash(bench) == ["On main: mine 2", "On main: mine 1"]
    assert [git(bench.root, "show", f"{ref}:f.txt") for ref in kept] == ["a", "b"]


@pytest.mark.parametrize("command", ["git stash drop -q", "git stash clear", "git stash pop -q"])
def test_what_a_program_took_off_the_users_stash_is_back(bench, command):
    write(bench.root, {"f.txt": "mine"})
    git(bench.root, "stash", "push", "-m", "mine")
    bench.begin()
    bench.program(command)
    assert stash(bench) == []
    bench.settle()
    assert stash(bench) == ["On main: mine"]
    assert git(bench.root, "show", "stash@{0}:f.txt") == "mine"


def test_what_the_user_took_off_the_stash_is_gone(bench):
    write(bench.root, {"f.txt": "mine"})
    git(bench.root, "stash")
    bench.begin()
    bench.program("git status")
    git(bench.root, "stash", "pop")
    assert bench.settle() == []
    assert stash(bench) == []


def test_an_attempt_that_did_nothing_of_the_kind_costs_no_git_command(bench, monkeypatch):
    bench.program("git commit -q --allow-empty -m work; git status; git log -1")
    git(bench.place.worktree.path, "checkout", "--quiet", "--detach")
    monkeypatch.setattr("parallel_loop.worktrees.git.Git.run", None)
    assert bench.look() == []
    attempted = Attempted(program_email("agent-1"), BRANCH, KEPT)
    assert settle(bench.place.repository, bench.before, attempted, bench.commands()) == []
