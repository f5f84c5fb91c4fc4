"""The coordinator as a service: what systemd and launchd are told, and what is said to them.

That a real systemd does with the unit what is expected of it is tried by `make service` (support/user_systemd.py).
"""

from __future__ import annotations

import os
import plistlib
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from parallel_loop.coordinator import service_entry
from parallel_loop.coordinator.lock import CoordinatorLock
from parallel_loop.coordinator.service import Launchd, Systemd, find_manager
from parallel_loop.coordinator.service_files import Service, ServiceError
from parallel_loop.harness.identity import own_identity
from parallel_loop.harness.project import Project
from support.cli import CommandLine
from support.repository import make_repository

ODD_NAMES = [
    "plain",
    "a b",
    "50% of %h",
    'quo"te',
    "it's",
    "back\\slash",
    "$HOME",
    "ünïcode ☃",
    "ends in \\",
    "ends ",
    "a;b#c",
]


def a_service(root: Path | str, python: str = sys.executable, path: str = "/usr/bin:/bin") -> Service:
    return Service(Path(root), python, path, 60)


# --- the files ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze, which reads units as systemd does"
)
@pytest.mark.parametrize("name", ODD_NAMES)
def test_systemd_finds_nothing_wrong_with_the_unit_of_any_repository(tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    (root / "bin").mkdir(parents=True)
    python = root / "bin" / "python"
    python.symlink_to(sys.executable)
    service = a_service(root, str(python), f"{root}/bin:/usr/bin")
    unit = tmp_path / f"{service.name}.service"
    unit.write_text(service.unit())

    # It also reads the sockets of the machine's own units, whose paths below the runtime folder have 108 bytes at most.
    with tempfile.TemporaryDirectory() as runtime:
        verified = subprocess.run(
            ["systemd-analyze", "verify", "--user", "--man=no", str(unit)],
            env={**os.environ, "XDG_RUNTIME_DIR": runtime, "SYSTEMD_LOG_LEVEL": "info"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


def test_what_systemd_would_read_as_its_own_is_escaped() -> None:
    unit = a_service('/50% $HOME "q" \\', "/py thon", "/a b:/50%").unit().splitlines()
    assert 'ExecStart=:"/py thon" "-X" "faulthandler" "-P" "-m" "parallel_loop.coordinator" ' in "\n".join(unit)
    assert '"--repo" "/50%% $HOME \\"q\\" \\\\" "run"' in "\n".join(unit)
    assert 'Environment="PATH=/a b:/50%%"' in unit
    assert 'WorkingDirectory=/50%% $HOME "q" \\/.' in unit, "a backslash at its end would join the next line to it"


@pytest.mark.parametrize("root", ["/line\nbreak", "/tab\there", "/bell\x07", os.fsdecode(b"/caf\xe9")])
@pytest.mark.parametrize("kind", ["unit", "plist"])
def test_a_path_that_no_file_can_hold_is_refused(root: str, kind: str) -> None:
    service = a_service(root)
    with pytest.raises(ServiceError, match="`parallel-loop start`"):
        service.unit() if kind == "unit" else service.plist(Path("/log"))


def test_the_property_list_restarts_failures_only() -> None:
    service = a_service("/a b & <c>")
    listed = plistlib.loads(service.plist(Path("/log")))
    assert listed["ProgramArguments"][-2:] == ["parallel_loop.coordinator.service_entry", "/a b & <c>"]
    assert (listed["KeepAlive"], listed["EnvironmentVariables"]) == (
        {"SuccessfulExit": False},
        {"PATH": "/usr/bin:/bin"},
    )


@pytest.mark.parametrize(("code", "seen"), [(0, 0), (1, 0), (2, 0), (3, 0), (130, 0), (4, 4), (70, 70)])
def test_launchd_sees_a_failure_only_where_another_start_may_help(
    monkeypatch: pytest.MonkeyPatch, code: int, seen: int
) -> None:
    monkeypatch.setattr(service_entry, "main", lambda argv: code if argv == ["--repo", "/r", "run"] else 99)
    assert service_entry.run_kept("/r") == seen


def test_no_two_repositories_share_a_name() -> None:
    names = [a_service(root).name for root in ("/a/x y", "/b/x y", "/a/x-y", "/a/" + "é" * 90, "/a/" + "e" * 200)]
    assert len(set(names)) == len(names)
    assert all(name.startswith("parallel-loop-") and len(name) < 70 and name.isascii() for name in names)
    assert names[0].startswith("parallel-loop-x-y-")


def test_stopping_may_last_as_long_as_the_longest_work(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "r")
    (root / "parallel-loop.yaml").write_text(
        "limits: {time: 10m}\nroles: {slow: {timeout: 2h}}\nchecks: [a, b]\ncheck_timeout: 1m\n"
    )
    assert Service.of(Project.open(root), sys.executable).stop_seconds == 2 * 3600 + 2 * 2 * 60 + 300


# --- what is said to the managers -----------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def cli(root: Path, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    return CommandLine(capsys, monkeypatch, root)


Fake = Callable[[str, str], Callable[[], list[str]]]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Put a program on PATH, first of all, that notes how it was called; `body` is the rest of it, in the shell."""
    folder = tmp_path / "fakes"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def put(name: str, body: str) -> Callable[[], list[str]]:
        calls = tmp_path / f"{name}.calls"
        (folder / name).write_text(f'#!/bin/sh\necho "$*" >> {calls}\n{body}\n')
        (folder / name).chmod(0o755)
        return lambda: calls.read_text().splitlines() if calls.exists() else []

    return put


def on_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    there = os.uname_result(("Darwin", "mac", "24.0", "Darwin Kernel", "arm64"))
    monkeypatch.setattr("parallel_loop.coordinator.service.os.uname", lambda: there)


def test_install_status_restart_and_uninstall_by_systemd(root: Path, home: Path, cli: CommandLine, fake: Fake) -> None:
    told = fake(
        "systemctl", 'case "$*" in *show*.service*) printf "MainPID=42\\nActiveState=active\\nStatusText=\\n";; esac'
    )
    fake("loginctl", "echo Linger=no")
    unit = f"{a_service(root).name}.service"
    file = home / ".config/systemd/user" / unit

    installed = cli("service", "install")
    assert installed.code == 0, installed
    assert "it ends when you log out; `loginctl enable-linger`" in installed.out
    assert f'"--repo" "{root}" "run"' in file.read_text()
    assert f"PATH={os.environ['PATH']}" in file.read_text()
    status = cli("service", "status")
    assert (status.code, status.out) == (0, f"{file}\nActiveState: active\npid: 42\n")
    assert cli("service", "restart").code == 0
    (file.parent / "mine.service").touch()
    assert cli("service", "uninstall").code == 0
    assert [path.name for path in file.parent.iterdir()] == ["mine.service"]
    assert [call for call in told() if "show" not in call] == [
        "--user daemon-reload",
        f"--user enable --now {unit}",
        f"--user restart {unit}",
        f"--user disable --now {unit}",
        f"--user reset-failed {unit}",
        "--user daemon-reload",
    ]
    assert cli("service", "uninstall").code == 1


def test_nothing_is_said_of_logging_out_where_services_outlive_it(cli: CommandLine, fake: Fake) -> None:
    fake("systemctl", "")
    fake("loginctl", "echo Linger=yes")
    assert "linger" not in cli("service", "install").out


def test_print_shows_the_unit_and_installs_nothing(home: Path, cli: CommandLine, fake: Fake) -> None:
    told = fake("systemctl", "")
    printed = cli("service", "install", "--print")
    assert (printed.code, "[Install]" in printed.out, told(), list(home.iterdir())) == (0, True, [], [])
    assert cli("service", "status", "--print").code == 2


@pytest.mark.parametrize("there", ["none", "no session"])
def test_without_a_manager_it_is_said_what_to_do_instead(
    home: Path, cli: CommandLine, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    if there == "none":
        git = tmp_path / "bin"
        git.mkdir()
        (git / "git").symlink_to(shutil.which("git") or "")
        monkeypatch.setenv("PATH", str(git))
    else:
        fake("systemctl", "echo Failed to connect to bus: No medium found >&2; exit 1")
    answer = cli("service", "install")
    assert answer.code == 4
    assert "start the coordinator with `parallel-loop start` instead" in answer.line
    assert (there == "none") == ("there is no systemctl on this machine" in answer.line)
    assert list(home.iterdir()) == []


def test_a_unit_that_does_not_start_stays_and_is_explained(root: Path, cli: CommandLine, fake: Fake) -> None:
    fake("systemctl", 'case "$*" in *enable*) echo "Job failed." >&2; exit 1;; esac')
    answer = cli("service", "install")
    assert answer.code == 4
    assert f"Job failed.; it is installed, and `journalctl --user -u {a_service(root).name}.service`" in answer.line


@pytest.mark.skipif(
    not Path("/sys/kernel").exists(), reason="needs /sys/kernel of Linux, where not even root can make a folder"
)
def test_a_home_that_cannot_be_written_is_said_with_its_path(
    cli: CommandLine, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake("systemctl", "")
    monkeypatch.setenv("HOME", "/sys/kernel")
    answer = cli("service", "install")
    assert (answer.code, answer.line.startswith("cannot use /sys/kernel/.config")) == (4, True)


def test_without_home_the_user_database_says_where_it_is(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    manager = find_manager(Project.open(root))
    assert manager.file.is_relative_to(pwd.getpwuid(os.getuid()).pw_dir)


def test_beside_a_coordinator_of_another_kind_nothing_is_installed(
    root: Path, home: Path, cli: CommandLine, fake: Fake
) -> None:
    fake("systemctl", "")
    project = Project.open(root)
    project.state.create()
    lock = CoordinatorLock(project.state.coordinator_lock, *own_identity())
    assert cli("service", "install").code == 3
    lock.close()
    assert list(home.iterdir()) == []


def test_restart_leaves_a_coordinator_that_a_service_keeps_to_it(root: Path, cli: CommandLine, fake: Fake) -> None:
    project = Project.open(root)
    project.state.create()
    fake("systemctl", f"echo MainPID={os.getpid()}")
    assert cli("service", "install").code == 0
    lock = CoordinatorLock(project.state.coordinator_lock, *own_identity())
    answer = cli("restart")
    again = cli("service", "install")
    lock.close()
    assert (answer.code, "`parallel-loop service restart`" in answer.line) == (1, True)
    assert (again.code, "starts it with what is new" in again.out) == (0, False)


def test_install_and_uninstall_by_launchd(
    root: Path, home: Path, cli: CommandLine, fake: Fake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    on_macos(monkeypatch)
    loaded, runs = tmp_path / "loaded", tmp_path / "runs"
    told = fake(
        "launchctl",
        f'case "$1" in bootstrap) touch {loaded} {runs};; bootout) rm {loaded};; '
        f"kill) rm {runs};; kickstart) touch {runs};; "
        f'print) test -e {loaded} || exit 113; printf "\\tstate = running\\n"; '
        f'test ! -e {runs} || printf "\\tpid = 42\\n\\t\\tstate = 1\\n";; esac',
    )
    label = a_service(root).name
    file = home / "Library/LaunchAgents" / f"{label}.plist"
    target = f"gui/{os.getuid()}/{label}"

    assert cli("service", "install").code == 0
    assert plistlib.loads(file.read_bytes())["Label"] == label
    assert cli("service", "status").out == f"{file}\nstate: running\npid: 42\n"
    for action in ("install", "restart", "stop", "stop", "start", "uninstall"):
        assert cli("service", action).code == 0
    assert not file.exists()
    assert [call for call in told() if not call.startswith("print")] == [
        f"bootstrap gui/{os.getuid()} {file}",
        *(f"bootout {target}", f"bootstrap gui/{os.getuid()} {file}"),
        *(f"kill SIGTERM {target}", f"kickstart {target}"),
        f"kill SIGTERM {target}",
        f"kickstart {target}",
        f"bootout {target}",
    ]


def test_each_kind_of_machine_has_its_manager(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project.open(root)
    assert isinstance(find_manager(project), Systemd if sys.platform == "linux" else Launchd)
    on_macos(monkeypatch)
    assert isinstance(find_manager(project), Launchd)


# --- make -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("installed", [True, False])
def test_make_speaks_to_the_service_where_one_is_installed(tmp_path: Path, fake: Fake, installed: bool) -> None:
    told = fake("parallel-loop", f'case "$*" in *service*) exit {int(not installed)};; esac')
    for action in ("start", "stop", "restart", "status"):
        subprocess.run(
            ["make", "-s", "-o", ".venv/installed", f"agents-{action}", "REPO=a b", f"BIN={tmp_path}/fakes"],
            cwd=Path(__file__).parent.parent,
            check=True,
        )
    asked = [call.removeprefix("--repo a b ") for call in told()]
    by = "service " if installed else ""
    assert [call for call in asked if call != "service status"] == [f"{by}start", f"{by}stop", f"{by}restart", "status"]
