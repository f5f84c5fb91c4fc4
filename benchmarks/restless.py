"""A program to be supervised: starts helpers in one of many ways and stays until it is told to end, or is killed.

Arguments: how the helpers behave, a socket. Each run of it is one connection there, which all of its helpers share: the
other side sees the connection close when the last of them has ended, whatever became of their parents.
"""

import os
import signal
import socket
import sys
import time

HELPER_SECONDS = 30.0  # they end by themselves some time: not every supervisor ends them
connection = socket.socket(socket.AF_UNIX)


def stay():
    time.sleep(HELPER_SECONDS)
    os._exit(0)


def ignore():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def helper(*preparations):
    if not os.fork():
        for prepare in preparations:
            prepare()
        stay()


def orphan():
    """Become nobody's child."""
    if os.fork():
        os._exit(0)


def scrub():
    """Go on as another program with an empty environment that has nothing open but the connection."""
    descriptor = connection.fileno()
    os.set_inheritable(descriptor, True)
    os.closerange(0, 3)
    os.chdir("/")
    sleep = f"import time; time.sleep({HELPER_SECONDS})"
    os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", sleep, connection.getpeername()], {})


def hop():
    """Move on to a new process each millisecond."""
    end = time.monotonic() + HELPER_SECONDS
    while time.monotonic() < end:
        time.sleep(0.001)
        if os.fork():
            os._exit(0)
    os._exit(0)


KINDS = {
    "no helpers": (),
    "children": ((), (), ()),
    "own process group": ((lambda: os.setpgid(0, 0),),),
    "own session": ((os.setsid,),),
    "double fork": ((orphan,),),
    "daemon, empty environment": ((os.setsid, orphan, ignore, scrub),),
    "ignores SIGTERM": ((os.setsid, ignore),),
    "forks and exits each ms": ((os.setsid, hop),),
}
LOUD = "forks and exits each ms"  # it takes half a core
ALL = [helpers for name in KINDS if name != LOUD for helpers in KINDS[name]]


def main(kind, address):
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    connection.connect(address)
    for preparations in ALL if kind == "all" else KINDS[kind]:
        helper(*preparations)
    connection.sendall(f"{os.getpid()}\n".encode())
    connection.recv(1)
    descriptor = os.open("work", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, b"done\n")  # for us to commit


if __name__ == "__main__":
    main(*sys.argv[1:3])
