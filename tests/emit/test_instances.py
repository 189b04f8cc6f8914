"""An object that comes along with its state is written as a call of its class, if that fails too."""

from __future__ import annotations

import pytest

from torchcrux.emit.instances import constructed, from_state
from torchcrux.passes.base import Draft
from torchcrux.passes.instances import AotArguments, Instances
from torchcrux.program.context import Backend, Context
from torchcrux.program.ir import Program

SOURCE = """\
from dataclasses import dataclass

LIMIT = 3


@dataclass(frozen=True)
class Options:
    name: str
    sizes: tuple = (1, 2)


class Base:
    def __init__(self, options, limit=LIMIT, *, strict=False):
        self.options = options
        self._strict = strict


class Backend(Base):
    def __call__(self, gm, inputs):
        return gm


def helper():
    return 1


options = Options.__new__(Options)
vars(options).update({'name': "it's", 'sizes': (1, 2)})


backend = Backend.__new__(Backend)


hook = helper


vars(backend).update({'options': options, '_strict': True, 'hook': hook, 'self': backend})
"""


def made(source):
    namespace = {}
    exec(source, namespace)
    return namespace


def test_the_objects_of_a_source():
    assert from_state(SOURCE) == ["options", "backend"]
    assert from_state("a = B()\nvars(a).update({'x': 1})") == []
    assert from_state("a = B.__new__(B)\na.update({'x': 1})") == []


def test_arguments_are_what_the_attributes_hold_and_the_rest_goes():
    text = constructed(SOURCE, "backend", plain=False)
    assert "backend = Backend(options=options, strict=True)\n" in text
    assert "hook" not in text and "helper" not in text and "__new__(Options)" in text
    found = made(text)["backend"]
    assert found.options.name == "it's" and found._strict


def test_defaults_stay_defaults():
    text = constructed(SOURCE, "backend", plain=True)
    assert "backend = Backend(options=options)\n" in text
    text = constructed(text, "options", plain=False)
    assert 'options = Options(name="it\'s")\n' in text
    assert made(text)["backend"].options.sizes == (1, 2)


@pytest.mark.parametrize(
    "source",
    [
        "class A:\n    def __init__(self, n):\n        self.m = n\n",
        "class A:\n    def __init__(self, own):\n        self.own = own\n",
        "from elsewhere import A\n",
    ],
    ids=["another name", "itself", "not to be seen"],
)
def test_what_no_argument_can_be_made_of(source):
    source += "a = A.__new__(A)\nvars(a).update({'m': 1, 'own': [a]})\n"
    assert constructed(source, "a", plain=True) is None


def test_long_calls_are_broken():
    fields = "".join(f"    field_{i}: str\n" for i in range(9))
    state = ", ".join(f"'field_{i}': 'value'" for i in range(9))
    source = f"from dataclasses import dataclass\n\n\n@dataclass\nclass A:\n{fields}\n\n"
    source += f"a = A.__new__(A)\nvars(a).update({{{state}}})\n"
    text = constructed(source, "a", plain=False)
    assert max(map(len, text.splitlines())) <= 88
    assert made(text)["a"].field_8 == "value"


def test_the_edits_of_a_draft():
    setting = SOURCE + "\n\ntorch._inductor.config.post_grad_custom_post_pass = backend"
    draft = Draft(Program((), ()), Context(Backend("backend", source=SOURCE), config=(setting,)))
    edits = [*Instances().edits(draft)]
    words = "backend as its class makes it"
    assert [str(edit) for edit in edits[:2]] == [words, f"{words}, given what it holds"]
    for edit in edits:
        draft = edit.apply(draft)
    assert "__new__" not in draft.context.backend.source
    assert "backend = Backend(options=options)\n" in draft.context.backend.source
    assert draft.context.config[0].splitlines()[-1].endswith("post_pass = backend")
    assert [*Instances().edits(draft)] == []


AOT = """\
import functools
from torch._dynamo.backends.common import aot_autograd


def lower(gm, inputs, phase=""):
    return gm


def table():
    return {}


def lower_backward(gm, inputs):
    return lower(gm, inputs)


compiler_fn = aot_autograd(
    fw_compiler=functools.partial(lower, phase='a'),
    bw_compiler=lower_backward,
    decompositions=table(),
)
"""


def test_arguments_that_a_backend_gives_to_aot_autograd():
    draft = Draft(Program((), ()), Context(Backend("compiler_fn", source=AOT)))
    edits = [*AotArguments().edits(draft)]
    assert [edit.argument for edit in edits] == ["bw_compiler", "decompositions"]
    assert str(edits[1]) == "without decompositions of compiler_fn"
    plainer = edits[1].apply(draft).context.backend.source
    assert "table" not in plainer and "bw_compiler=lower_backward" in plainer
    plainest = edits[0].apply(edits[1].apply(draft)).context.backend.source
    assert plainest.endswith(
        'compiler_fn = aot_autograd(fw_compiler=functools.partial(lower, phase="a"))\n'
    )
    assert "lower_backward" not in plainest and "def lower(" in plainest


def test_what_a_decorator_may_have_registered_stays():
    source = AOT.replace("def lower_backward", "@functools.cache\ndef lower_backward")
    draft = Draft(Program((), ()), Context(Backend("compiler_fn", source=source)))
    (edit, _) = AotArguments().edits(draft)
    plainer = edit.apply(draft).context.backend.source
    assert "bw_compiler" not in plainer and "def lower_backward" in plainer
