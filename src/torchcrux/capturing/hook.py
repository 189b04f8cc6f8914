"""Watches each graph that Dynamo hands to its compiler, from there to the last call of the result.

The compiler gets the very objects it would get anyway. Whatever goes wrong in here is noted as
ours and never reaches the script.
"""

from __future__ import annotations

import functools
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from torchcrux.capturing import _torch
from torchcrux.capturing.arguments import held, versions, with_arguments
from torchcrux.capturing.context import surroundings
from torchcrux.capturing.device import DeviceChecker, out_of_reach, wait
from torchcrux.capturing.lower import lower
from torchcrux.capturing.marks import chain, described, is_marked, mark, marked_with
from torchcrux.capturing.records import Records
from torchcrux.capturing.spelling import Spelling
from torchcrux.capturing.standby import Standby, left_inputs
from torchcrux.capturing.watched import Checker, CheckFailed, Graph, NotCompared, Stopped, checked
from torchcrux.oracle.cost import Bound
from torchcrux.oracle.failure import Failure, Kind, Stage
from torchcrux.oracle.fatal import During
from torchcrux.program import spec as specs
from torchcrux.program.context import Context
from torchcrux.program.earlier import other_sizes
from torchcrux.program.ir import Program, defined
from torchcrux.program.recompiled import Before
from torchcrux.program.source import operators_in

_MOST_TURNS = 16


@dataclass
class Watcher:
    """`install` patches the modules it names once they are there; `undo` takes that back.

    With `bound` a compilation that takes more seconds is a failure.
    """

    records: Records
    checker: Checker | None = None
    standby: Standby | None = None
    bound: Bound | None = None
    _spelling: Spelling | None = None
    _local: threading.local = field(default_factory=threading.local)
    _by_class: weakref.WeakKeyDictionary[type, Graph] = field(
        default_factory=weakref.WeakKeyDictionary
    )
    _before: Before = field(default_factory=Before)
    _undo: list[_torch.Undo] = field(default_factory=list)

    def watch_graphs(self) -> None:
        self._undo.append(_torch.on_compiler_call(self._compile, self._installed))

    def watch_frames(self) -> None:
        self._undo.append(_torch.on_inference_mode_left(self._left_inference_mode))

    def watch_backward(self) -> None:
        self._undo.append(_torch.on_backward_error(self._backward_failed))

    def undo(self) -> None:
        while self._undo:
            self._undo.pop()()

    def case_of(self, error: BaseException) -> str:
        """The record that an exception belongs to; one is made for an error of Dynamo itself and
        for one of a backward. Empty if it has nothing to do with a compiler."""
        for link in chain(error):
            name = marked_with(link)
            if name:
                return name
        if isinstance(error, Exception):
            self._backward_failed(error)
            if not is_marked(error) and _torch.is_frontend_error(error):
                self._ours(self._frontend_failed, error)
        return marked_with(error)

    def _left_inference_mode(self, enabled: bool) -> None:
        self._local.inference = enabled

    def _compile(
        self, original: Callable[..., Any], output_graph: Any, gm: torch.fx.GraphModule, inputs: Any
    ) -> Any:
        found = self._ours(self._note, output_graph, gm, inputs)
        around: AbstractContextManager[Any] = nullcontext()
        if found is not None and self.checker is not None:
            around = self.checker.compiling(gm)
        before = None if found is None else self._ours(self._begin_compile, *found)
        started = time.perf_counter()
        try:
            with around:
                compiled = original(output_graph, gm, inputs)
        except Exception as error:
            if found is not None:
                graph, tensors = found
                self._ours(self._compile_failed, graph, tensors, error)
            raise
        finally:
            self._end(before)
        if found is not None:
            output_graph.__torchcrux_graph__ = found[0]
            graph, tensors = found
            seconds = time.perf_counter() - started
            if self._ours(self._took, graph.program, graph.context, tensors, graph.notes, seconds):
                raise Stopped
        return compiled

    def _took(
        self,
        program: Program,
        context: Context,
        tensors: Mapping[str, torch.Tensor],
        notes: Sequence[str],
        seconds: float,
    ) -> bool:
        """Whether that compilation took too long, and the script is to end."""
        status = self.records.status
        status.slowest = max(status.slowest, seconds)
        too_long = self.bound is not None and seconds > self.bound.most
        if self.bound is not None and too_long:
            failure = self.bound.exceeded(seconds)
            self.records.add(program, context, failure, tensors, notes=tuple(notes))
            status.stopped = True
        self.records.save()
        return too_long

    def _backward_took(self, graph: Graph, seconds: float) -> bool:
        program, tensors = with_arguments(graph, [held() for held in graph.last])
        context = replace(_context(graph, program), backward=True)
        return self._took(program, context, tensors, graph.notes, seconds)

    def _note(
        self, output_graph: Any, gm: torch.fx.GraphModule, inputs: Sequence[Any]
    ) -> tuple[Graph, Mapping[str, torch.Tensor]]:
        if self._spelling is None:
            self._spelling = Spelling()
        lowered = lower(gm, inputs, self._spelling)
        slots = tuple(n.name for n in gm.graph.nodes if n.op == "placeholder")
        around = surroundings(output_graph, inference=getattr(self._local, "inference", False))
        used = defined(lowered.program, lowered.program.nodes)
        named = operators_in([around.context.backend.source, *around.context.config])
        notes = [*around.notes, *self._spelling.learn(named)]
        operators = self._spelling.operators.used_by(used | named)
        tensors = lowered.tensors.items()
        static = around.context.dynamic is False
        program, earlier = self._before.resized(lowered.program, static=static)
        context = replace(
            around.context,
            operators=operators,
            earlier=earlier,
            compilations=min(self.records.status.graphs + 1, _MOST_TURNS),
            synchronized=isinstance(self.checker, DeviceChecker),
        )
        graph = Graph(
            program=program,
            slots=slots,
            constants={k: v for k, v in tensors if k.partition(".")[0] not in slots},
            context=context,
            notes=tuple(notes),
            check=None if self.checker is None else self.checker.of(gm),
        )
        self.records.status.graphs += 1
        self.records.save()
        if self.standby is not None:
            context = self.records.with_variables(graph.context)
            graph.number = self.standby.graph(graph.program, context, graph.notes)
        return graph, lowered.tensors

    def _begin_compile(self, graph: Graph, tensors: Mapping[str, torch.Tensor]) -> bytes | None:
        standby = self.standby
        if standby is None:
            return None
        if standby.keeps(graph.number):
            standby.keep_inputs(graph.number, graph.program, tensors)
        return standby.begin(graph.number, During.COMPILE, graph.program.operations)

    def _begin_call(self, graph: Graph, args: Sequence[Any]) -> bytes | None:
        standby = self.standby
        if standby is None:
            return None
        if standby.keeps(graph.number):
            standby.keep_inputs(graph.number, *with_arguments(graph, args))
        return standby.begin(graph.number, During.RUN)

    def _begin_backward(self, graph: Graph) -> bytes | None:
        if self.standby is None:
            return None
        return self.standby.begin(graph.number, During.BACKWARD, graph.program.operations)

    def _end(self, before: bytes | None) -> None:
        if before is not None and self.standby is not None:
            self.standby.end(before)

    def _compile_failed(
        self, graph: Graph, tensors: Mapping[str, torch.Tensor], error: Exception
    ) -> None:
        if _torch.is_control_flow(error) or is_marked(error):
            return
        failure = described(error, compiling=True)
        maybe = _torch.is_graph_break(error)
        name = self.records.add(
            graph.program, graph.context, failure, tensors, notes=graph.notes, maybe=maybe
        )
        mark(error, name)

    def _installed(self, output_graph: Any, compiled: Callable[..., Any]) -> Callable[..., Any]:
        graph = getattr(output_graph, "__torchcrux_graph__", None)
        if graph is None:
            return compiled

        def called(*args: Any) -> Any:
            graph.calls += 1
            return compiled(*args)

        def watched(*args: Any) -> Any:
            before = versions(args)
            busy = self._ours(self._begin_call, graph, args)
            try:
                if graph.check is None:
                    result = called(*args)
                else:
                    result = self._checked(graph, called, args)
            except Exception as error:
                self._ours(self._run_failed, graph, args, before, error)
                raise
            finally:
                self._end(busy)
            if torch.is_grad_enabled():
                self._ours(self._remember, graph, args, result)
            return result

        functools.update_wrapper(watched, compiled, updated=())
        watched.__dict__.update(
            (key, value)
            for key, value in vars(compiled).items()
            if not key.startswith("_torchdynamo")
        )
        vars(watched).pop("__wrapped__", None)
        return _torch.undisturbed(watched)

    def _checked(self, graph: Graph, compiled: Callable[..., Any], args: Sequence[Any]) -> Any:
        assert graph.check is not None
        try:
            result = checked(graph.check, compiled, args, broken=self.records.broken)
        except CheckFailed as found:
            program, tensors = with_arguments(graph, found.inputs)
            if self._ours(self._wrong, graph, program, tensors, found) is None:
                return found.result
            raise Stopped from None
        except NotCompared as refused:
            self._ours(self.records.not_compared, refused.reason)
            return refused.result
        return result

    def _wrong(
        self, graph: Graph, program: Program, tensors: Mapping[str, Any], found: CheckFailed
    ) -> str:
        context = replace(_context(graph, program), writes=found.writes)
        if found.failure.stage is Stage.BACKWARD:
            context = replace(context, backward=True, weighted=True)
        name = self.records.add(program, context, found.failure, tensors, notes=graph.notes)
        self.records.status.stopped = True
        self.records.save()
        return name

    def _run_failed(
        self, graph: Graph, args: Sequence[Any], before: Sequence[int], error: Exception
    ) -> None:
        if _torch.is_control_flow(error) or is_marked(error):
            return
        failure = described(error, compiling=False)
        program, tensors = with_arguments(graph, args)
        notes = list(graph.notes)
        changed = [
            name
            for name, then, now in zip(graph.slots, before, versions(args), strict=False)
            if then != now
        ]
        if changed:
            notes.append(
                f"The failing call had already changed {', '.join(changed)} in place; the stored"
                " values are those after the change."
            )
        mark(error, self._add(graph, program, _context(graph, program), failure, tensors, notes))

    def _add(
        self,
        graph: Graph,
        program: Program,
        context: Context,
        failure: Failure,
        tensors: Mapping[str, torch.Tensor],
        notes: Sequence[str],
    ) -> str:
        """Record the failure of a call. Where its inputs can no longer be read, those count that
        were laid on disk before the call; if there are none, another run can keep them."""
        if self.standby is None or not out_of_reach(list(tensors.values())):
            return self.records.add(program, context, failure, tensors, notes=tuple(notes))
        stored = left_inputs(self.standby.folder, graph.number)
        kept = tensors if stored else {}
        name = self.records.add(program, context, failure, kept, notes=tuple(notes), stored=stored)
        if stored is None:
            self.records.status.lost[name] = str(self.standby.here(graph.number))
            self.records.save()
        return name

    def _remember(self, graph: Graph, args: Sequence[Any], result: Any) -> None:
        """Note the arguments of a call whose outputs have a compiled backward."""
        if not graph.has_backward:
            items = result if isinstance(result, (tuple, list)) else (result,)
            for item in items:
                if isinstance(item, torch.Tensor) and item.requires_grad:
                    cls = _torch.compiled_function_class(item)
                    if cls is not None:
                        self._by_class[cls] = graph
                        if self.standby is not None:
                            self._watch_backward_of(cls, graph)
                        graph.has_backward = True
                        break
        if graph.has_backward:
            graph.last = tuple(held(value) for value in args)

    def _watch_backward_of(self, cls: Any, graph: Graph) -> None:
        """`cls` is the `autograd.Function` of one compiled graph."""
        original = cls.backward

        @functools.wraps(original)
        def watched(*args: Any) -> Any:
            before = _torch.backward_compilation_seconds()
            busy = self._ours(self._begin_backward, graph)
            try:
                result = original(*args)
                if isinstance(self.checker, DeviceChecker):
                    self._wait_for(graph)
            finally:
                self._end(busy)
            seconds = _torch.backward_compilation_seconds() - before
            if seconds > 0 and self._ours(self._backward_took, graph, seconds):
                raise Stopped
            return result

        cls.backward = staticmethod(watched)

    def _backward_failed(self, error: Exception) -> None:
        if not is_marked(error):
            self._ours(self._note_backward, error)

    def _note_backward(self, error: Exception) -> None:
        found = _torch.backward_of(error.__traceback__)
        graph = None if found is None else self._by_class.get(found[0])
        if found is None or graph is None:
            return
        self._add_backward(graph, error, compiling=found[1])

    def _wait_for(self, graph: Graph) -> None:
        """Wait for what the backward of a graph has started."""
        try:
            wait()
        except RuntimeError as error:
            self._ours(partial(self._add_backward, graph, error, compiling=False))
            raise

    def _add_backward(self, graph: Graph, error: Exception, *, compiling: bool) -> None:
        failure = described(error, compiling=compiling, backward=True)
        args = [held() for held in graph.last]
        program, tensors = with_arguments(graph, args)
        lost = [
            node.name
            for node in program.inputs
            if not tensors.keys() >= {*specs.stored_under(node.name, node.spec)}
        ]
        notes = list(graph.notes)
        if lost:
            notes.append(f"When backward failed, the values of {', '.join(lost)} were gone.")
        context = replace(_context(graph, program), backward=True)
        mark(error, self._add(graph, program, context, failure, tensors, notes))

    def _frontend_failed(self, error: Exception) -> None:
        failure = described(error, compiling=True)
        failure = replace(failure, kind=Kind.FRONTEND, stage=Stage.DYNAMO)
        mark(error, self.records.add(None, None, failure, {}))

    def _ours(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run code of ours; what goes wrong in it is noted, and None returned."""
        try:
            return function(*args)
        except Exception:
            self.records.broken()
            return None


def _context(graph: Graph, program: Program) -> Context:
    """The context of one call of a graph, whose arguments `program` has."""
    calls = max(1, min(graph.calls, _MOST_TURNS))
    earlier = other_sizes(graph.program, program) or graph.context.earlier
    return replace(graph.context, calls=calls, earlier=earlier)
