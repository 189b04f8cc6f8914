"""A disk that takes nothing more is told, and leaves neither halves nor a traceback of ours."""

from __future__ import annotations

import resource
from contextlib import contextmanager

import pytest

from torchcrux import cli
from torchcrux.command import CommandError, _move
from torchcrux.report.result import write_atomically


@contextmanager
def room_for(size):
    """No file may become longer than `size` bytes: writing fails as on a full disk."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    file = tmp_path / "repro.py"
    write_atomically(file, "old")
    with room_for(100), pytest.raises(OSError, match=r"repro\.py"):
        write_atomically(file, "new" * 100)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_case_is_moved_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    folder, place = tmp_path / "caught", tmp_path / "out" / "case"
    folder.mkdir()
    place.parent.mkdir()
    (folder / "case.json").write_text("{}")
    (folder / "inputs.safetensors").write_bytes(bytes(1000))
    monkeypatch.setattr("os.rename", _across_devices)
    with room_for(100), pytest.raises(CommandError, match="1,002 bytes") as raised:
        _move(folder, place)
    assert raised.value.status == cli.NO_REPRO
    assert not place.exists() and (folder / "inputs.safetensors").exists()
    _move(folder, place)
    assert (place / "inputs.safetensors").stat().st_size == 1000


def test_a_command_says_that_there_is_no_room(tmp_path, capsys):
    def command(ui):
        with room_for(100):
            write_atomically(tmp_path / "result.json", "text" * 100)

    with pytest.raises(SystemExit) as ended:
        cli._end(command, {"quiet": False, "verbose": False})
    assert ended.value.code == cli.NO_REPRO
    said = capsys.readouterr().err
    assert "result.json could not be written" in said and "bug of torchcrux" not in said


def _across_devices(*args):
    raise OSError("invalid cross-device link")
