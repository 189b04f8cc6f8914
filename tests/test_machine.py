"""What is kept about the machine comes back, and nothing breaks where it cannot be kept."""

from torchcrux import machine


def test_what_was_found_out_is_found_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    first, second = tmp_path / "first", tmp_path / "second"
    machine.recall(first)
    assert not first.exists()
    (first / "ab").mkdir(parents=True)
    (first / "ab" / "probe.so").write_bytes(b"built")
    (first / "locks").mkdir()
    (first / "locks" / "probe.lock").write_bytes(b"")
    machine.keep(first)
    machine.keep(first)
    second.mkdir()
    machine.recall(second)
    files = [file for file in second.rglob("*") if file.is_file()]
    assert [(file.name, file.read_bytes()) for file in files] == [("probe.so", b"built")]


def test_a_home_that_is_no_folder_keeps_nothing(tmp_path, monkeypatch):
    (tmp_path / "home").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "probe.so").write_bytes(b"built")
    machine.keep(tmp_path / "cache")
    machine.recall(tmp_path / "cache")
    assert (tmp_path / "cache" / "probe.so").exists()
    assert (tmp_path / "home").read_text() == ""
