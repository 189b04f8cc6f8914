"""How faithful a candidate is to what was captured: the plainest form that fails is reduced.

Most failures need neither the modes of the script nor its values, and few need that the compiled
function is called more than once; so that is asked last.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum

from torchcrux.emit.modules import owns
from torchcrux.oracle.failure import Failure, Kind, Stage
from torchcrux.passes import Draft, Edit
from torchcrux.passes.context import PlainContext
from torchcrux.passes.inputs import has_subclasses, without_gradients, without_subclasses
from torchcrux.passes.sharing import apart
from torchcrux.program.context import Context
from torchcrux.program.earlier import Sizes
from torchcrux.program.ir import Program, Value
from torchcrux.program.recompiled import fixed
from torchcrux.program.spec import Number, Tensor

CALLS_BEFORE_A_DEATH = 4
"""How often a process had called what then killed it is not known."""


class Form(Enum):
    PLAIN = "plain context, random values"
    PLAIN_STORED = "plain context, eager's values"
    FAITHFUL = "captured context, random values"
    FAITHFUL_STORED = "captured context, eager's values"
    LATER = "called with other sizes before"
    THIRD = "called with two other sizes before"
    RECOMPILED = "compiled for other sizes before"
    MARKED = "dimensions marked as dynamic one by one"
    CALLED_AGAIN = "called again"
    CALLED_ANEW = "called again, with new random values at each call"
    COMPILED_AGAIN = "compiled again"
    MODULE = "parameters and buffers of a module"
    UPDATED = "a module that is updated between two calls"

    @property
    def stored(self) -> bool:
        """Whether the inputs have the values that eager computed."""
        return self in (
            Form.PLAIN_STORED,
            Form.FAITHFUL_STORED,
            Form.LATER,
            Form.THIRD,
            Form.RECOMPILED,
            Form.CALLED_AGAIN,
            Form.MODULE,
            Form.UPDATED,
        )

    @property
    def plain(self) -> bool:
        return self in (Form.PLAIN, Form.PLAIN_STORED)


def forms(failure: Failure, captured: Draft, *, unkept: bool = False) -> tuple[Form, ...]:
    """Those that may fail, plainest first. Where the values of the inputs are `unkept`, and can
    be had, only those that say whether they are needed."""
    context = captured.context
    found = _of_one_call(failure)
    if unkept and failure.kind is Kind.RUNTIME_ERROR:
        found = (Form.PLAIN, Form.FAITHFUL)
    if Form.PLAIN not in found and has_subclasses(captured.program):
        found = (Form.PLAIN, *found)
    again = (Form.COMPILED_AGAIN,) if context.compilations > 1 else ()
    if failure.kind is Kind.COMPILE_ERROR:
        found += again  # then no sizes are what matters
    if context.earlier:
        found += (Form.LATER,) if context.dynamic is False else (Form.LATER, Form.THIRD)
    if context.earlier and context.dynamic is None:
        found += (Form.RECOMPILED,)
    if unkept:
        return tuple(form for form in found if not form.stored)
    if context.dynamic is None and _is_symbolic(captured.program):
        found += (Form.MARKED,)
    compiles = failure.kind in (Kind.COMPILE_ERROR, Kind.SLOW_COMPILE, Kind.MEMORY, Kind.HANG)
    if _calls(context, failure) > 1 and not compiles:
        found += (Form.CALLED_AGAIN, Form.CALLED_ANEW)
    if failure.kind is Kind.RUNTIME_ERROR:
        found += again
    if owns(captured.program):
        found += (Form.MODULE,) if compiles else (Form.MODULE, Form.UPDATED)
    return found


def most_faithful(failure: Failure) -> Form:
    """The form that comes nearest to the script's own first call."""
    return _of_one_call(failure)[-1]


def formed(draft: Draft, form: Form, failure: Failure) -> Draft:
    """`draft`, as captured, in one of its forms."""
    context = draft.context
    calls, compilations = _calls(context, failure), context.compilations
    again = form in (Form.CALLED_AGAIN, Form.CALLED_ANEW)
    context = replace(
        context,
        marked=form is Form.MARKED,
        calls=calls if again else 1,
        anew=form is Form.CALLED_ANEW,
        earlier=_earlier(context, form),
        compilations=compilations if form is Form.COMPILED_AGAIN else 1,
        module=form in (Form.MODULE, Form.UPDATED),
        updated=form is Form.UPDATED,
        equal_nan=failure.kind is Kind.ACCURACY,
        changes=failure.kind is Kind.ACCURACY,
    )
    automatic = context.marked or form in (Form.THIRD, Form.RECOMPILED)
    if context.dynamic is False and not context.earlier:
        draft = replace(draft, program=fixed(draft.program))
    if context.dynamic is None and not automatic and _is_symbolic(draft.program):
        context = replace(context, dynamic=True)
    if failure.stage is Stage.BACKWARD and form is Form.FAITHFUL_STORED:
        context = replace(context, weighted=True)
    draft = replace(draft, context=context)
    if form.plain:
        draft = apart(draft)
        if not form.stored:
            draft = without_subclasses(draft)
        if failure.stage is not Stage.BACKWARD:
            draft = without_gradients(draft)
        for edit in PlainContext().edits(draft):
            if _is_ambient(edit):
                draft = edit.apply(draft)
    if form.stored:
        nodes = tuple(replace(node, value=Value.STORED) for node in draft.program.inputs)
        draft = replace(
            draft, program=Program((*nodes, *draft.program.calls), draft.program.outputs)
        )
    return draft


def _of_one_call(failure: Failure) -> tuple[Form, ...]:
    if (
        failure.kind in (Kind.COMPILE_ERROR, Kind.SLOW_COMPILE, Kind.MEMORY)
        and failure.stage is not Stage.BACKWARD
    ):
        return (Form.PLAIN, Form.FAITHFUL, Form.FAITHFUL_STORED)
    if failure.kind in (Kind.CRASH, Kind.HANG):  # no values may have been kept
        if (failure.metric or {}).get("during") == "compile":
            return (Form.PLAIN, Form.FAITHFUL, Form.FAITHFUL_STORED)
        return (Form.PLAIN, Form.PLAIN_STORED, Form.FAITHFUL, Form.FAITHFUL_STORED)
    return (Form.PLAIN_STORED, Form.FAITHFUL_STORED)


def _earlier(context: Context, form: Form) -> tuple[Sizes, ...]:
    """The sizes that the compiler took for hints; before them, where it finds out by itself which
    sizes change, any others."""
    if form is Form.THIRD:
        last = context.earlier[-1]
        return (tuple((symbol, size + 1) for symbol, size in last), last)
    return context.earlier if form in (Form.LATER, Form.RECOMPILED) else ()


def _calls(context: Context, failure: Failure) -> int:
    during = (failure.metric or {}).get("during")
    if failure.kind is Kind.CRASH and during != "compile":
        return max(context.calls, CALLS_BEFORE_A_DEATH)
    return context.calls


def _is_symbolic(program: Program) -> bool:
    """Whether the compiler saw sizes that are not numbers, however the user asked for that."""
    return any(
        isinstance(node.spec, (Number, Tensor))
        and bool(node.spec.symbol if isinstance(node.spec, Number) else node.spec.symbols)
        for node in program.inputs
    )


def _is_ambient(edit: Edit) -> bool:
    """Modes that seldom matter; what the compiler was told to do stays at first."""
    return getattr(edit, "field", "") in ("grad", "inference", "fullgraph")
