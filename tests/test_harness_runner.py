"""Programs that misbehave: how each ends is told, and nothing that it started is alive afterwards."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from parallel_loop.harness import logs, runner
from parallel_loop.harness.job import Job
from parallel_loop.harness.logs import bound_log, output_tail, plain
from parallel_loop.harness.runner import run
from support.harness import Bench, bench_in, program
from support.waiting import eventually


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with bench_in(tmp_path, monkeypatch) as bench:
        yield bench


def test_the_exit_code_is_told(bench: Bench) -> None:
    assert bench.shell("exit 0").ok
    assert bench.shell("exit 7").describe("the program") == "the program ended with exit code 7"
    for command, words in (("no-such-command", "127 (command not found)"), ("/", "126 (a command in it cannot be")):
        assert f"ended with exit code {words}" in bench.shell(command).describe("the program")
    assert bench.shell("kill -9 $$").describe("the program") == "the program was ended by signal 9"


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (("no-such-program",), "no-such-program is not on PATH"),
        (("./none",), "./none does not exist, or the interpreter"),
        (("./script",), "./script does not exist, or the interpreter"),
        (("./data",), "Permission denied: ./data"),
        (("./garbage",), "Exec format error: ./garbage"),
        (("echo", "x" * 200_000), "too long for the system (echo); give the prompt with"),
        (("echo", "a\0b"), "holds a NUL character; give the prompt with"),
        (("echo", "\ud800"), "cannot be encoded"),
    ],
)
def test_what_cannot_be_started_says_why(bench: Bench, argv: tuple[str, ...], why: str) -> None:
    for name, text, mode in (
        ("script", "#!/no/such/interpreter\n", 0o755),
        ("data", "", 0o644),
        ("garbage", "\x7fELF", 0o755),
    ):
        (bench.folder / name).write_text(text)
        (bench.folder / name).chmod(mode)
    ended = bench.run(*argv)
    assert ended.ended == "not-started"
    assert why in ended.describe("the program")


def test_a_directory_that_is_gone_is_named(bench: Bench) -> None:
    gone = bench.folder / "gone"
    ended = run(Job(("true",), gone, {"PATH": "/usr/bin:/bin"}, bench.log, 1.0), bench.orders, lambda _watch: True)
    assert ended.describe("x") == f"x could not be started: No such file or directory: {gone}"


def test_a_log_that_cannot_be_written_is_named(bench: Bench) -> None:
    bench.log.mkdir()
    assert bench.shell("true").describe("x") == f"x could not be started: is not a regular file: {bench.log}"


def test_a_full_disk_behind_the_log_stops_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("ab") as full:
        monkeypatch.setattr("parallel_loop.harness.keeping.kept.open_log", lambda _: full)
        assert bench.shell("echo lost; exit 3").returncode == 3


def test_the_time_limit_ends_a_program_that_ignores_the_request(bench: Bench) -> None:
    ended = bench.run(*program("stubborn", bench.folder / "up"), timeout_seconds=0.2)
    assert re.fullmatch("it was stopped after [0-9.]+ m?s, its time limit", ended.describe("it"))
    assert ended.returncode is None


def test_a_program_that_ends_when_asked_is_not_killed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SHORT_SECONDS", 30.0)
    said = bench.folder / "said"

    def until_ready() -> bool:
        return not (said.exists() and said.read_text() == "ready")

    assert bench.run(*program("polite", said), pulse=until_ready).ended == "fenced"
    assert said.read_text() == "SIGTERM"


def test_an_order_to_stop_ends_it_at_once(bench: Bench) -> None:
    up = bench.folder / "up"

    def tell() -> None:
        eventually(up.exists)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    bench.orders.obey_terminate()
    teller = threading.Thread(target=tell)
    teller.start()
    try:
        assert bench.run(*program("stubborn", up)).ended == "stopped"
    finally:
        teller.join()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


def test_nothing_is_started_for_who_was_told_to_stop_or_lost_the_claim(bench: Bench) -> None:
    assert bench.shell("touch started", pulse=lambda: False).ended == "fenced"
    bench.orders.stop()
    assert bench.shell("touch started").ended == "stopped"
    assert not (bench.folder / "started").exists()


def test_a_lost_claim_ends_the_program(bench: Bench) -> None:
    up = bench.folder / "up"
    ended = bench.run(*program("stubborn", up), pulse=lambda: not up.exists())
    assert ended.ended == "fenced"
    assert "cancelled or taken back" in ended.describe("it")


def test_a_pulse_that_fails_leaves_nothing_running(bench: Bench) -> None:
    up = bench.folder / "up"

    def pulse() -> bool:
        if up.exists() and not failed:
            failed.append(True)
            raise RuntimeError
        return True

    failed: list[bool] = []
    with pytest.raises(RuntimeError):
        bench.run(*program("stubborn", up), pulse=pulse)
    assert bench.mark.living() == []


def test_it_goes_on_beating_while_it_waits_for_a_stubborn_program(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    up = bench.folder / "up"
    pulses: list[bool] = []

    def pulse() -> bool:
        pulses.append(up.exists())
        return not up.exists()

    monkeypatch.setattr(runner, "_LOOK_SECONDS", 0.05)
    bench.run(*program("stubborn", up), pulse=pulse)
    assert pulses.count(True) > 2


def test_children_in_the_background_end_with_the_program(bench: Bench) -> None:
    assert bench.run(*program("parent")).ok


def test_a_daemon_ends_with_the_program(bench: Bench) -> None:
    pid = bench.folder / "pid"
    assert bench.shell(f"{' '.join(program('daemon', pid))}; until [ -e {pid} ]; do :; done").ok
    assert not Path(f"/proc/{pid.read_text()}").exists()


def test_a_program_that_hops_from_process_to_process_is_caught(bench: Bench) -> None:
    said = bench.folder / "said"
    bench.run(*program("hopper", said, "sessions"))
    assert said.read_text() != "nobody caught me"


def test_a_child_that_cleared_its_environment_ends_too(bench: Bench) -> None:
    assert bench.shell("env -i sleep 600 & echo $! > pid").ok
    assert not Path(f"/proc/{(bench.folder / 'pid').read_text().strip()}").exists()


def test_a_program_gets_the_signals_of_the_terminal_as_any_other(bench: Bench) -> None:
    """A worker ignores SIGINT; had it set that to `ignored`, all that it starts would inherit it."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    bench.orders.obey_terminate()
    try:
        os.kill(os.getpid(), signal.SIGINT)
        assert not bench.orders.finishing
        bench.shell("grep SigIgn /proc/self/status")
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
    ignored = int(bench.log.read_text().split()[1], 16)
    assert not ignored & (1 << (signal.SIGINT - 1))


def test_standard_input_is_the_file_or_empty(bench: Bench) -> None:
    prompt = bench.folder / "prompt"
    prompt.write_bytes("ü".encode() * 500_000)
    assert bench.shell("cat", stdin=prompt).ok
    assert bench.log.read_bytes() == prompt.read_bytes()
    assert bench.shell("read -r line; test $? = 1").ok, "it is at its end"


def test_a_program_that_believes_pwd_works_where_it_is_started(bench: Bench) -> None:
    """As opencode does: with that of whoever started the coordinator it works, and commits, on the user's checkout."""
    job = bench.job("env")
    told = replace(job, environ={**job.environ, "PWD": "/", "OLDPWD": "/"})
    assert run(told, bench.orders, lambda _watch: True).ok
    lines = bench.log.read_text().splitlines()
    assert f"PWD={bench.folder}" in lines
    assert not any(line.startswith("OLDPWD=") for line in lines)


def test_a_program_that_closes_its_output_is_waited_for(bench: Bench) -> None:
    assert bench.shell("exec >&- 2>&-; while [ ! -e go ]; do [ -e up ] || touch up; done; exit 5", pulse=go_on(bench))
    assert (bench.folder / "up").exists()


def go_on(bench: Bench) -> Callable[[], bool]:
    """A pulse that lets the program end after it was seen to run."""

    def pulse() -> bool:
        if (bench.folder / "up").exists():
            (bench.folder / "go").touch()
        return True

    return pulse


def test_a_hundred_megabytes_are_cut_to_their_begin_and_end(bench: Bench) -> None:
    before = psutil.Process().memory_info().rss
    assert bench.run(*program("loud", 100)).ok
    assert bench.log.stat().st_size <= logs.MAX_LOG_BYTES
    text = bench.log.read_bytes()
    assert text.startswith(b"the very first line\n")
    assert text.endswith(b"\nthe very last line\n")
    assert b"left out here by parallel-loop" in text
    assert psutil.Process().memory_info().rss - before < 60_000_000
    assert output_tail(bench.log).endswith("the very last line")


def test_endless_output_is_bounded_while_it_comes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_LOG_BYTES", 100_000)
    monkeypatch.setattr(runner, "_LOOK_SECONDS", 0.01)
    sizes: list[int] = []

    def pulse() -> bool:
        size = bench.log.stat().st_size if bench.log.exists() else 0
        if sizes and size < sizes[-1]:
            return False
        sizes.append(size)
        return True

    assert bench.shell("while :; do echo $$ is still here; done", pulse=pulse).ended == "fenced"
    assert bench.log.stat().st_size <= 100_000
    assert output_tail(bench.log).endswith("is still here")


def test_a_log_is_cut_as_often_as_it_grows_and_keeps_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MAX_LOG_BYTES", 1000)
    log = tmp_path / "log"
    log.write_bytes(b"first" + b"." * 900)
    bound_log(log)
    assert log.stat().st_size == 905
    for number in range(5):
        with log.open("ab") as file:
            file.write(b"-" * 900 + b"%d" % number)
        bound_log(log)
        assert log.stat().st_size < 1000
    assert log.read_bytes().startswith(b"first")
    assert log.read_bytes().endswith(b"-4")
    assert log.read_bytes().count(b"left out") == 1
    bound_log(tmp_path / "none")


def test_the_tail_is_what_came_last_and_safe_to_print(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert output_tail(log) == ""
    log.write_bytes(
        b"before\n\x1b[31mred\x1b[0m \x1b]0;title\x07\x9b\xff\x00bytes\tend\r\n 10%\r 55%\r100%\n\n\x1b[2J\x1b[H\n"
    )
    assert output_tail(log, len("before\n")) == "red ��bytes\tend\n100%"
    assert output_tail(log).startswith("before\nred")
    assert output_tail(log, 10**9).startswith("before"), "the log was cut: better too much than nothing"
    assert output_tail(log, log.stat().st_size) == ""


def test_the_tail_has_few_lines_of_bounded_length() -> None:
    assert plain("\n".join(map(str, range(100)))).split("\n") == [str(number) for number in range(80, 100)]
    assert plain("a\u202eb\u2028c\x85d") == "abcd", "nothing that turns the line round or breaks it"


def test_the_tail_of_a_huge_log_is_read_from_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file:
        file.truncate(50_000_000_000)
        file.seek(0, os.SEEK_END)
        file.write(b"\nthe end\n")
    assert output_tail(log) == "the end"
    assert sys.getsizeof(output_tail(log)) < 1000
