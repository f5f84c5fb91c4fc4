"""Files that all worktrees share, after a program was at them: put back, kept, told, and a person's are left alone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from support.repository import commit, environment, git, make_empty_repository, write
from support.shared_bench import SharedBench
from support.worktrees import make_place


@pytest.fixture
def bench(tmp_path: Path) -> SharedBench:
    return SharedBench(make_place(tmp_path / "repo"))


def install(bench: SharedBench, text: str, name: str = "pre-commit") -> Path:
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
