"""Takes as much memory as it is told, in pieces of so many bytes, as fast as it can; then waits."""

import signal
import sys

wanted, piece = int(sys.argv[1]), int(sys.argv[2])
kept = []
while sum(map(len, kept)) < wanted:
    kept.append(b"x" * piece)
signal.pause()
