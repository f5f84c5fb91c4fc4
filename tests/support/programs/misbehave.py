"""A program of the soak: does the work of its item and misbehaves in one of many ways.

Arguments: TOKEN:ITEM:ATTEMPT, how to misbehave, a folder outside of the repository. Every process of it can be told by
its arguments, which neither a fork nor closed files nor an emptied environment take away; and one that moves on to a
new process before anybody has read these, by a lock that it keeps.
"""

import fcntl
import os
import signal
import sys
import time

MARK, KIND, OUTSIDE = sys.argv[1:4]
TOKEN, ITEM, ATTEMPT = MARK.split(":")
LIFE_SECONDS = 300.0  # of a helper; who is there for so long was overlooked


def tell(what):
    """One line in the journal; short ones that are appended do not mix."""
    line = f"{what} {ITEM} {ATTEMPT} {os.getpid()} {time.monotonic():.4f}\n"
    descriptor = os.open(f"{OUTSIDE}/journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def look_for_others():
    """Nobody else may be at this item: no other process of this attempt, and nothing of any other."""
    held = os.open(f"{OUTSIDE}/held/{ITEM}", os.O_RDWR | os.O_CREAT)
    os.set_inheritable(held, True)  # so that it is held as long as any helper lives that keeps its files open
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        tell("double")
    os.ftruncate(held, 0)
    os.write(held, ATTEMPT.encode())
    if ATTEMPT == "1":
        return
    ours, other = MARK.encode(), f"{TOKEN}:{ITEM}:".encode()
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                arguments = file.read().split(b"\0")
        except OSError:
            continue
        if ours not in arguments and any(argument.startswith(other) for argument in arguments):
            tell("survivor")


def stay():
    time.sleep(LIFE_SECONDS)
    tell("overlooked")
    os._exit(1)


def ignore():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)


def helper(*preparations):
    if not os.fork():
        for prepare in preparations:
            prepare()
        stay()


def plain():
    pass


def tools():
    helper(lambda: os.setpgid(0, 0))
    helper(os.setsid)
    helper(os.setsid, lambda: os.fork() and os._exit(0))


def daemon():
    """By the book, and more: another session, two forks, no open file, another directory, an empty environment."""
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    os.closerange(0, 256)
    os.execve(sys.executable, [sys.executable, "-I", "-S", __file__, MARK, "stay-daemon", OUTSIDE], {})


def stay_daemon():
    ignore()
    stay()


def stubborn():
    helper(os.setsid, ignore)
    helper(ignore)


def leaker():
    for _ in range(5):
        helper()


def tree():
    if os.fork():
        return
    for _ in range(2):
        os.fork()
        os.fork()
    stay()


def hopper():
    """Moves on to a new process each millisecond, so that whoever lists processes comes too late."""
    if os.fork():
        return
    os.setsid()
    end = time.monotonic() + LIFE_SECONDS / 10
    while time.monotonic() < end:
        time.sleep(0.001)
        if os.fork():
            os._exit(0)
    tell("overlooked")
    os._exit(1)


def slow():
    for _ in range(15):
        time.sleep(0.1)
        with open("slow.txt", "a") as file:
            file.write(".")
    os.unlink("slow.txt")


def hangs():
    ignore()
    helper(os.setsid)
    stay()


def fails():
    leaker()
    sys.exit(3)


def scribbles():
    """Makes work of every kind, and writes down which."""
    import runpy

    here = {"ITEM": ITEM, "ATTEMPT": ATTEMPT, "OUTSIDE": OUTSIDE}
    runpy.run_path(os.path.join(os.path.dirname(__file__), "scribble.py"), here)


def work():
    for part in (1, 2, 3):
        with open(f"{ITEM}.txt", "a") as file:
            file.write(f"{part}\n")
        time.sleep(0.02)


KINDS = {
    "plain": plain,
    "tools": tools,
    "daemon": daemon,
    "stay-daemon": stay_daemon,
    "stubborn": stubborn,
    "leaker": leaker,
    "tree": tree,
    "hopper": hopper,
    "slow": slow,
    "hangs": hangs,
    "fails": fails,
    "scribbles": scribbles,
}

if KIND != "stay-daemon":
    tell("start")
    look_for_others()
KINDS[KIND]()
work()
tell("end")
