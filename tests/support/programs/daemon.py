"""Becomes a daemon by the book: two forks, a session of its own, no open file. Then writes its id and stays."""

import os
import signal
import sys
from pathlib import Path

if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
os.chdir("/")
os.closerange(0, 256)
draft = Path(sys.argv[1] + ".draft")
draft.write_text(str(os.getpid()))
draft.rename(sys.argv[1])
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    signal.pause()
