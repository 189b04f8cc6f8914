"""Objects of the script's own classes, which come along with the state that they had."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torchcrux.emit.instances import (
    aot_arguments,
    constructed,
    from_state,
    without_aot_argument,
)
from torchcrux.passes.base import Draft, Edit


@dataclass(frozen=True, slots=True)
class Construct:
    """Make an object by a call of its class: with what has no default only, if `plain`."""

    name: str
    plain: bool

    def apply(self, draft: Draft) -> Draft:
        backend = draft.context.backend
        source = self._changed(backend.source)
        config = tuple(map(self._changed, draft.context.config))
        context = replace(draft.context, backend=replace(backend, source=source), config=config)
        return replace(draft, context=context)

    def _changed(self, source: str) -> str:
        if f"vars({self.name}).update(" not in source:
            return source
        return constructed(source, self.name, plain=self.plain) or source

    def __str__(self) -> str:
        words = f"{self.name} as its class makes it"
        return words if self.plain else f"{words}, given what it holds"


@dataclass(frozen=True, slots=True)
class DropAotArgument:
    name: str
    argument: str

    def apply(self, draft: Draft) -> Draft:
        backend = draft.context.backend
        source = without_aot_argument(backend.source, self.name, self.argument)
        context = replace(draft.context, backend=replace(backend, source=source))
        return replace(draft, context=context)

    def __str__(self) -> str:
        return f"without {self.argument} of {self.name}"


class AotArguments:
    """What a backend gives to AOTAutograd besides its compiler."""

    name = "aot-arguments"
    summary = "aot_autograd is called without decompositions, or a backward compiler"
    example = "aot_autograd(fw_compiler=f, decompositions=d)  ->  aot_autograd(fw_compiler=f)"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        source = draft.context.backend.source
        if "aot_autograd(" in source:
            for name, argument in aot_arguments(source):
                yield DropAotArgument(name, argument)


class Instances:
    """A backend, or what it holds, may have no other state than that of a new one."""

    name = "instances"
    summary = "an object of the script's is made by its class, not from its state"
    example = "b = B.__new__(B); vars(b).update({'n': 1})  ->  b = B()"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for source in (draft.context.backend.source, *draft.context.config):
            for name in reversed(from_state(source)) if ".__new__(" in source else ():
                for plain in (True, False):
                    edit = Construct(name, plain)
                    if edit.apply(draft) != draft:
                        yield edit
