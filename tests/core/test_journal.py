"""Nothing that was answered is asked again, whatever happened in between."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchcrux.core import journal as module
from torchcrux.core.journal import CaseInUse, Journal, JournalError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "case" / "journal.jsonl"


def fill(path, count):
    with Journal(path) as journal:
        for number in range(count):
            journal.record(f"key {number}", {"status": "same", "number": number})


def test_a_verdict_is_there_after_a_restart(path):
    fill(path, 3)
    with Journal(path) as journal:
        assert journal.get("key 1") == {"status": "same", "number": 1}
        assert journal.get("key 9") is None
        assert len(journal) == 3


def test_a_verdict_is_there_after_a_kill(path):
    code = (
        "import os, signal, sys\n"
        "from torchcrux.core.journal import Journal\n"
        "journal = Journal(sys.argv[1])\n"
        "journal.record('a', {'status': 'same'})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    source = Path(module.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, path], env={**os.environ, "PYTHONPATH": str(source)}
    )
    assert done.returncode == -signal.SIGKILL
    with Journal(path) as journal:
        assert journal.get("a") == {"status": "same"}


def test_a_verdict_is_on_the_disk_before_record_returns(path, monkeypatch):
    synced = []
    monkeypatch.setattr(module.os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
    with Journal(path) as journal:
        for number in range(3):
            journal.record(f"key {number}", {})
            assert synced[-1] == path.stat().st_size
    assert synced[-1] > 0


def test_a_torn_last_line_is_cut_off(path):
    fill(path, 3)
    whole = path.read_bytes()
    for cut in range(1, len(whole.splitlines(keepends=True)[-1])):
        path.write_bytes(whole[:-cut])
        Journal(path).close()
        assert path.read_bytes() == b"".join(whole.splitlines(keepends=True)[:2])
        path.write_bytes(whole[:-cut])
        with Journal(path) as journal:
            assert len(journal) == 2
            journal.record("key 2", {"status": "same", "number": 2})
        assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b'"text"', b'{"key":1,"verdict":{}}', b'{"key":"a"}', b"\xff\x00"]
)
def test_any_other_damage_is_an_error_that_names_the_line(path, line):
    fill(path, 3)
    lines = path.read_bytes().split(b"\n")
    lines[1] = line
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(JournalError, match="line 2"):
        Journal(path)


def test_after_an_error_the_folder_is_free_again(path):
    path.parent.mkdir()
    path.write_bytes(b"damaged\n")
    with pytest.raises(JournalError):
        Journal(path)
    path.unlink()
    fill(path, 1)


def test_a_second_run_on_the_same_case_stops(path):
    with Journal(path), pytest.raises(CaseInUse, match=str(os.getpid())):
        Journal(path)
    fill(path, 1)


def test_a_child_that_is_still_there_does_not_hold_the_lock(path):
    with Journal(path):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        fill(path, 1)
    finally:
        child.communicate(b"\n")


def test_a_later_verdict_for_the_same_key_counts(path):
    with Journal(path) as journal:
        journal.record("a", {"status": "passes"})
        journal.record("a", {"status": "same"})
    with Journal(path) as journal:
        assert journal.get("a") == {"status": "same"}


def test_a_full_disk_is_one_clear_error_and_loses_nothing(path, monkeypatch):
    write = os.write

    def full(file, data):
        if len(data) > 20:
            return write(file, data[:20])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Journal(path) as journal:
        journal.record("a", {"status": "same"})
        with monkeypatch.context() as patch:
            patch.setattr(module.os, "write", full)
            with pytest.raises(JournalError, match="No space left"):
                journal.record("b", {"status": "same"})
        assert journal.get("b") is None
        journal.record("c", {"status": "passes"})
    with Journal(path) as journal:
        assert (journal.get("a"), journal.get("b")) == ({"status": "same"}, None)
        assert journal.get("c") == {"status": "passes"}


def test_a_folder_that_cannot_be_written_is_the_same_clear_error(tmp_path):
    (tmp_path / "case").write_text("a file, not a folder")
    with pytest.raises(JournalError, match="case"):
        Journal(tmp_path / "case" / "journal.jsonl")


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.dictionaries(st.text(), st.text() | st.integers())))
def test_any_text_survives(tmp_path_factory, verdicts):
    path = tmp_path_factory.mktemp("any") / "journal.jsonl"
    with Journal(path) as journal:
        for key, verdict in verdicts.items():
            journal.record(key, verdict)
    with Journal(path) as journal:
        assert {key: journal.get(key) for key in verdicts} == verdicts
