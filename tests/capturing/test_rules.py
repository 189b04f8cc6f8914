"""What a script makes operators come down to is part of what it compiles with."""

from __future__ import annotations

import importlib
import sys
import textwrap

import pytest
import torch
import torch._inductor.lowering

from torchcrux import _torch
from torchcrux.capturing.rules import changed_rules
from torchcrux.oracle._torch import keep_state

HEAD = """
import torch
from torch._inductor.decomposition import decompositions, register_decomposition
from torch._inductor import lowering

SCALE = 2.0
unused = 1


def helper(x):
    return x * SCALE
"""


@pytest.fixture
def registering(tmp_path, monkeypatch):
    """The texts, and the notes, for the rules of a module with this source."""
    before = [(table, dict(table)) for table in _torch.rule_tables()]
    monkeypatch.syspath_prepend(tmp_path)

    def rules(source):
        (tmp_path / "rules_of_mine.py").write_text(HEAD + textwrap.dedent(source))
        importlib.import_module("rules_of_mine")
        notes = []
        return changed_rules(notes), notes

    yield rules
    sys.modules.pop("rules_of_mine", None)
    for table, entries in before:
        table.clear()
        table.update(entries)


WAYS = {
    "an entry": """
        def mine(a, b):
            return helper(a) + b
        decompositions[torch.ops.aten.logaddexp.default] = mine
        """,
    "a method": """
        def mine(a, b):
            return helper(a) + b
        decompositions.update({torch.ops.aten.logaddexp.default: mine})
        """,
    "a decorator": """
        @register_decomposition([torch.ops.aten.hypot])
        def mine(a, b):
            return helper(a) + b
        """,
    "a lowering": """
        @lowering.register_lowering(torch.ops.aten.logaddexp2, type_promotion_kind=None)
        def mine(a, b):
            return lowering.ops.add(helper(a), b)
        """,
    "a function": """
        def mine(a, b):
            return helper(a) + b
        def install():
            decompositions[torch.ops.aten.logaddexp.default] = mine
        install()
        """,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_rule_comes_along_with_what_it_needs(way, registering):
    (text,), notes = registering(WAYS[way])
    assert not notes
    assert "def mine" in text and "def helper" in text and "SCALE = 2.0" in text
    assert "unused" not in text
    tables = _torch.rule_tables()
    for table in tables:
        for operator in [key for key, rule in table.items() if _is_mine(rule)]:
            del table[operator]
    exec(compile(text, "text", "exec"), {"__name__": "another"})  # registers it by itself
    assert any(_is_mine(rule) for table in tables for rule in table.values())


def _is_mine(rule):
    return getattr(rule, "__name__", "") == "mine"


def test_where_there_is_no_text_the_user_is_told(registering):
    texts, notes = registering(
        """
        def install():
            def mine(a, b):
                return a + b
            return mine
        exec("decompositions[torch.ops.aten.logaddexp.default] = install()")
        """
    )
    assert not texts
    assert "mine" in notes[0] and "cannot be written down" in notes[0]


def test_torch_has_no_rules_of_its_own_in_this_sense():
    notes = []
    assert changed_rules(notes) == () and notes == []


def test_a_child_that_stays_forgets_the_rules_of_a_script():
    operator = torch.ops.aten.logaddexp.default
    decompositions = torch._inductor.decomposition.decompositions
    before = decompositions.get(operator)
    put_back = keep_state()
    decompositions[operator] = lambda a, b: a
    put_back()
    assert decompositions.get(operator) is before
