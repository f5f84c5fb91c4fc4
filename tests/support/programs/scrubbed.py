"""As a daemon does, with an environment of its own: nothing tells where it came from."""

import os
import sys
from pathlib import Path

daemon = str(Path(__file__).with_name("daemon.py"))
os.execve(sys.executable, [sys.executable, "-I", "-S", daemon, sys.argv[1]], {})
