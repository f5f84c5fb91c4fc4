"""Moves on to a new process again and again, faster than anybody can look; the old ones end.

Not for ever, since the machine has only so many process ids: after its last hop it says that nobody caught it.
"""

import os
import sys
from pathlib import Path

Path(sys.argv[1]).write_text("ready")
for _ in range(6000):
    if os.fork():
        os._exit(0)
    if "sessions" in sys.argv:
        os.setsid()
Path(sys.argv[1]).write_text("nobody caught me")
