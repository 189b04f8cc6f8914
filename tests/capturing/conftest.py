"""Small user scripts, run under observation in a process of their own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from torchcrux.capturing.script import Caught, run_script


class Scripts:
    """Writes scripts into a folder and runs them there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = 0

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def run(
        self, text: str, *args: str, name: str = "user_script.py", check: str = "error"
    ) -> Caught:
        return self.run_file(str(self.write(name, text)), *args, check=check)

    def run_file(
        self, target: str, *args: str, module: bool = False, check: str = "error"
    ) -> Caught:
        self.runs += 1
        folder = self.folder / f"cases-{self.runs}"
        return run_script(target, args, module=module, check=check, folder=folder)

    def plain(self, path: Path, *args: str) -> subprocess.CompletedProcess[str]:
        """The same script without us."""
        return subprocess.run(
            [sys.executable, str(path), *args], capture_output=True, text=True, check=False
        )


@pytest.fixture
def scripts(tmp_path: Path) -> Scripts:
    return Scripts(tmp_path)


@pytest.fixture(scope="module")
def shared_scripts(tmp_path_factory: pytest.TempPathFactory) -> Scripts:
    """For what one script shows to several tests."""
    return Scripts(tmp_path_factory.mktemp("shared"))


FORKS = """
import os, runpy, sys
import torch._dynamo

for path in map(str.strip, sys.stdin):
    if os.fork() == 0:
        said = os.open(path + ".said", os.O_WRONLY | os.O_CREAT)
        os.dup2(said, 1)
        os.dup2(said, 2)
        runpy.run_path(path, run_name="__main__")
        sys.exit()
    os.wait()
    print(flush=True)
"""


@pytest.fixture(scope="module")
def said_alone(tmp_path_factory):
    """What a backend says whose source runs in a process that knows torch and nothing else."""
    folder = tmp_path_factory.mktemp("alone")
    start = [sys.executable, "-I", "-c", FORKS]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(start, **pipes) as forks:

        def said(backend):
            text = (
                f"{backend.source}\n"
                "import torch\n"
                "try:\n"
                f"    torch.compile(lambda x: x + 1, backend={backend.name})(torch.ones(2))\n"
                "except Exception as e:\n"
                "    print(e)\n"
            )
            path = folder / f"{len(list(folder.iterdir()))}.py"
            path.write_text(text)
            print(path, file=forks.stdin, flush=True)
            assert forks.stdout.readline() == "\n"
            return path.with_name(f"{path.name}.said").read_text()

        yield said
