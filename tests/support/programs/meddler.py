"""Does what it can to its keeper's descriptors: opens each through /proc, writes words into it, reads what is in it.

What opens is read from for as long as possible, by a child that is left behind. Ends with 3.
"""

import os
import sys
from pathlib import Path

opened = []
for path in Path(f"/proc/{os.getppid()}/fd").iterdir():
    if path.readlink().name.startswith(("pipe:", "socket:")):
        try:
            opened.append(os.open(path, os.O_RDWR | os.O_NONBLOCK))
        except OSError:
            continue
for descriptor in opened:
    os.write(descriptor, b"exit 0\ngone 0\nend 600\n")
if not os.fork():
    for descriptor in opened:
        os.set_blocking(descriptor, True)
    while opened:
        os.read(opened[0], 4096)
sys.exit(3)
