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
