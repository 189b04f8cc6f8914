"""Tables of a source do without the functions that are never called."""

from torchcrux.emit.entries import without_entries

TABLE = """
import types


def used(x):
    return x


def never(x): ...


def lower(x): ...


kernels = types.SimpleNamespace(used=used, never=never, lower=lower)
TABLE = {
    "used": (kernels.used, lower),  # both
    "never": (kernels.never, lower),
    "empty": (),
    "word": {"no": never, "it's": 1, "yes": used},
}


def setup(where):
    where["lower"] = lower
    where.add("lower", lower)
    where.add("used", used)
    where["used"] = used


def only():
    # nothing but this
    TABLE["never"] = never


run({**TABLE, "last": lower}, kernels.lower)
"""
LEFT = """
import types


def used(x):
    return x


def never(x): ...


def lower(x): ...


kernels = types.SimpleNamespace(used=used, lower=lower)
TABLE = {"used": (kernels.used, lower), "empty": (), "word": {"it's": 1, "yes": used}}


def setup(where):
    where.add("used", used)
    where["used"] = used


def only():
    pass


run({**TABLE}, kernels.lower)
"""


def test_items_that_are_stubs_go():
    left = without_entries(TABLE)
    assert " ".join(left.split()) == " ".join(LEFT.split())
    assert without_entries(left) == left


def test_what_names_no_stub_stays_as_it_is():
    text = "def f(): ...\n\n\nTABLE = {'f':  g, 'empty': ()}  # as written\nf()\n"
    assert without_entries(text) == text
