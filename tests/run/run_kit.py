"""What the tests of this folder share. (A `conftest` cannot be imported by name.)"""

import time
from pathlib import Path

from torchcrux.run import Task

HERE = str(Path(__file__).parent)


def task(name, timeout=30.0, reuse=False, **payload):
    return Task(f"tasks_of_tests:{name}", payload, timeout, reuse)


def is_dead(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def eventually(condition, seconds=60.0):
    """Whether `condition` becomes true; only a failure takes the time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def descriptors(pid="self"):
    return sorted(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir())
