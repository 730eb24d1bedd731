"""What a process does to a folder, seen by Python's audit hooks."""

import os
import sys
from contextlib import contextmanager
from pathlib import Path

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
LOGS = {"metrics.jsonl", "log.txt"}  # which grow under their own names: `files.append`
WATCHED = []


class Writes:
    """Operations on a folder: (event, path), and which files took their name by a rename."""

    def __init__(self, folder):
        self.folder = folder.resolve()
        self.seen = []

    def see(self, event, path, descriptor=-1):
        path = Path(os.fsdecode(path))
        if not path.is_absolute() and descriptor is not None and descriptor >= 0:
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}")) / path
        path = path.absolute()
        if self.folder in path.parents:
            self.seen.append((event, path.relative_to(self.folder)))

    def wrong(self):
        """What was done to a file or folder under its real name, and not by a rename."""
        named = {path for event, path in self.seen if event == "renamed to"}
        named |= {path for event, path in self.seen if event == "append"}
        found = [
            f"{event} {path}"
            for event, path in self.seen
            if event in ("open", "remove", "rmdir", "truncate")
            or event == "append"
            and path.name not in LOGS
            if not any(part.startswith(".") for part in path.parts)
        ]
        for path in self.folder.rglob("*"):
            inside = path.relative_to(self.folder)
            if any(part.startswith(".") for part in inside.parts):
                found.append(f"left behind {inside}")
            elif path.is_file() and not {inside, *inside.parents} & named:
                found.append(f"never renamed {inside}")  # C code tells no hook
        return found


def _hook(event, arguments):
    for writes in WATCHED:
        if event == "open":
            path, _, flags = arguments
            if not isinstance(path, int) and (flags or 0) & WRITING:
                writes.see("append" if flags & os.O_APPEND else "open", path)
        elif event == "os.rename":
            writes.see("renamed from", arguments[0], arguments[2])
            writes.see("renamed to", arguments[1], arguments[3])
        elif event in ("os.remove", "os.rmdir"):
            writes.see(event.removeprefix("os."), *arguments)
        elif event == "os.truncate" and not isinstance(arguments[0], int):
            writes.see("truncate", arguments[0])


@contextmanager
def watched(folder):
    """The `Writes` of this process to a folder."""
    if not hasattr(sys, "_markovbridge_writes"):
        sys.addaudithook(_hook)  # for good: there is no way back
        sys._markovbridge_writes = True
    writes = Writes(folder)
    WATCHED.append(writes)
    try:
        yield writes
    finally:
        WATCHED.remove(writes)
