"""What the soak's program "scribbles" does: makes work of every kind in its worktree, and writes down what it closed.

Run inside misbehave.py, whose ITEM, ATTEMPT and OUTSIDE it uses. A line "have" is written after a file was closed (or
git said that it has it), a line "gone" before the program itself writes over it: what is had and not gone when the
program is killed must be found again.
"""

import hashlib
import os
import random
import subprocess
import time

chance = random.Random(f"{ITEM}/{ATTEMPT}")  # noqa: F821
folder = f"scribbles/{ITEM}"  # noqa: F821
had = {}


def note(what, name, blob):
    line = f"{what} {ITEM} {ATTEMPT} {name} {blob}\n"  # noqa: F821
    descriptor = os.open(f"{OUTSIDE}/written", os.O_WRONLY | os.O_APPEND | os.O_CREAT)  # noqa: F821
    os.write(descriptor, line.encode())
    os.close(descriptor)


def text():
    return f"{ITEM} {ATTEMPT} {time.monotonic_ns()} {chance.random()}\n" * chance.randint(1, 50)  # noqa: F821


def blob_of(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def write(name, *, is_noted=True):
    """Write a new version of a file; the one before is gone then."""
    forget(name)
    data = text().encode()
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/{name}", "wb") as file:
        file.write(data)
    if is_noted:
        have(name, blob_of(data))
    return blob_of(data)


def have(name, blob):
    had[name] = blob
    note("have", name, blob)


def forget(name):
    if name in had:
        note("gone", name, had.pop(name))


def git(*argv):
    quiet = subprocess.DEVNULL
    done = subprocess.run(["git", *argv], stdin=quiet, stdout=quiet, stderr=quiet, check=False)
    return done.returncode == 0


def hash_of(revision):
    return subprocess.run(["git", "rev-parse", revision], capture_output=True, check=True).stdout.decode().strip()


def untracked():
    write(f"untracked-{time.monotonic_ns()}")


def tracked():
    write("tracked")
    git("add", folder)
    git("commit", "--quiet", "-m", "tracked")
    write("tracked")


def staged():
    """A version that only the index has, and another in the file."""
    blob = write("staged")
    forget("staged in the index")
    if git("add", f"{folder}/staged"):
        have("staged in the index", blob)
    write("staged")


def detached():
    git("checkout", "--quiet", "--detach")
    for _ in range(2):
        write(f"detached-{time.monotonic_ns()}")
        git("add", folder)
        git("commit", "--quiet", "-m", "detached")


def merge():
    """Two sides that conflict, one of which no branch has; the merge is begun, and left as it is."""
    if os.path.exists(git_path("MERGE_HEAD")):
        return
    commit_all("before")
    here = hash_of("HEAD")
    git("checkout", "--quiet", "--detach")
    theirs = write("merged", is_noted=False)
    commit_all("theirs")
    side = hash_of("HEAD")
    git("checkout", "--quiet", "--detach", here)
    ours = write("merged", is_noted=False)
    commit_all("ours")
    have("ours", ours)
    git("merge", "--quiet", side)
    if os.path.exists(git_path("MERGE_HEAD")):
        have("theirs", theirs)


def git_path(name):
    done = subprocess.run(["git", "rev-parse", "--git-path", name], capture_output=True, check=True)
    return done.stdout.decode().strip()


def commit_all(message):
    forget("staged in the index")  # it is replaced by what is in the file
    git("add", folder)
    git("commit", "--quiet", "--allow-empty", "-m", message)


for _ in range(chance.randint(2, 8)):
    step = chance.choice([untracked, untracked, tracked, staged, detached, merge])
    if step in (tracked, detached):
        forget("staged in the index")
    step()
    time.sleep(0.02)
forget("staged in the index")  # who ends asks for what is in the files
