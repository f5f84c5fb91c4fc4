"""Prints as many megabytes as it is told, or for ever, between a first and a last line."""

import sys

out = sys.stdout.buffer
out.write(b"the very first line\n")
line = bytes(range(256)) * 4096
left = int(sys.argv[1])
while left:
    out.write(line)
    out.flush()
    left -= 1
out.write(b"\nthe very last line\n")
