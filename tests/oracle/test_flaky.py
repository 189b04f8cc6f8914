"""How often a failure is repeated until its script fails as good as always."""

from torchcrux.core.journal import Journal
from torchcrux.oracle.flaky import Frequencies
from torchcrux.oracle.frequency import Frequency


class Oracle:
    """Repetitions fail as often as it was told; `settings` are (in a loop, tries) as set."""

    def __init__(self, *failed):
        self.failed = list(failed)
        self.settings = []

    def repeat(self, draft, count):
        return Frequency(self.failed.pop(0), count)

    def try_often(self, frequency, looped):
        self.settings.append((looped, frequency.tries))


def measured(tmp_path, *failed, seen=None):
    oracle = Oracle(*failed)
    with Journal(tmp_path / "journal.jsonl") as journal:
        frequencies = Frequencies(oracle, journal)
        found = frequencies.measure(None, seen)
        again = Frequencies(Oracle(), journal)
        again.resume()
    assert not oracle.failed
    assert again.found == frequencies.found
    assert again.oracle.settings == oracle.settings[-1:]
    return found, frequencies, oracle.settings


def test_what_always_or_never_comes_is_not_flaky(tmp_path):
    for failed in (0, 10):
        found, frequencies, settings = measured(tmp_path, failed)
        assert (found, frequencies.found, settings) == (False, None, [])


def test_a_loop_that_always_fails_is_taken(tmp_path):
    found, frequencies, settings = measured(tmp_path, 5, 4)
    assert found
    assert frequencies.found == Frequency(5, 10)
    assert settings == [(True, 8), (True, 8)]


def test_a_loop_that_fails_at_times_had_too_few_tries(tmp_path):
    found, frequencies, settings = measured(tmp_path, 9, 3, 3, 4)
    assert found
    assert frequencies.found == Frequency(12, 20)
    assert frequencies.asked == 20
    assert settings == [(True, 3), (False, 3), (True, 6), (True, 6)]


def test_what_fails_in_no_loop_is_asked_in_many_processes(tmp_path):
    _, _, settings = measured(tmp_path, 3, 0, seen=Frequency(2, 3))
    assert settings == [(True, 11), (False, 11)]


def test_a_loop_that_never_fails_always_is_not_taken(tmp_path):
    _, frequencies, settings = measured(tmp_path, 5, 3, 5, 3, 5, 3, 5, 3)
    assert settings[-1][0] is False
    assert frequencies.asked == 40
