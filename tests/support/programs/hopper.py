"""Moves on to a new process again and again, faster than anybody can look; the old ones end."""

import os
import sys
from pathlib import Path

Path(sys.argv[1]).write_text("ready")
while True:
    if os.fork():
        os._exit(0)
    if "sessions" in sys.argv:
        os.setsid()
