"""What real exceptions of the compiler look like as failures."""

import json
import traceback

import pytest
import torch
from torch._dynamo.backends.common import aot_autograd

from torchcrux.oracle.failure import Failure, Kind, Stage, from_exception
from torchcrux.oracle.printed import as_in_one_process, raised


class NoScheduleError(RuntimeError):
    pass


def deeper(gm, text):
    for node in gm.graph.nodes:
        if node.target is torch.relu:
            raise NoScheduleError(text)


def rejects(gm, inputs):
    deeper(gm, "relu has no schedule\n  target: relu\n  args: (l_x_,)")
    return gm.forward


def asserts(gm, inputs):
    raise AssertionError


def wraps(gm, inputs):
    try:
        {}["k"]
    except KeyError as error:
        raise NoScheduleError("wrapped") from error


def breaks_when_run(gm, inputs):
    def kernel(*args):
        raise NoScheduleError("kernel broke")

    return kernel


def boxed(function):
    function._boxed_call = True
    return function


def aot(when):
    def forward(gm, inputs):
        if when == "forward":
            raise NoScheduleError("no forward")
        return boxed(lambda args: gm.forward(*args))

    def backward(gm, inputs):
        if when == "backward":
            raise NoScheduleError("no backward")

        def kernel(args):
            raise NoScheduleError("backward broke")

        return boxed(kernel)

    return aot_autograd(fw_compiler=forward, bw_compiler=backward)


def model(x):
    return torch.relu(x).sin()


def caught(action, **how):
    torch._dynamo.reset()
    try:
        action()
    except Exception as error:
        return from_exception(error, **how)
    raise AssertionError("nothing failed")


def compiled(backend, *, grad=False, function=model, **how):
    how = how or {"compiling": True}
    return caught(
        lambda: torch.compile(function, backend=backend)(torch.ones(2, 3, requires_grad=grad)),
        **how,
    )


def test_an_error_of_a_backend_is_the_error_it_raised():
    failure = compiled(rejects)
    assert (failure.kind, failure.stage) == (Kind.COMPILE_ERROR, Stage.BACKEND)
    assert [name.rpartition(".")[2] for name, _ in failure.exceptions] == [
        "BackendCompilerFailed",
        "NoScheduleError",
    ]
    assert failure.exception == "NoScheduleError"
    assert failure.message == "relu has no schedule\ntarget: relu"
    assert failure.frames[-2:] == ("test_failure.py:rejects", "test_failure.py:deeper")
    assert "TORCHDYNAMO_VERBOSE" not in failure.text
    assert failure.traceback.startswith("Traceback (most recent call last):")


def test_the_users_frames_are_not_the_compilers():
    assert not any("compiled" in frame or "<lambda>" in frame for frame in compiled(rejects).frames)


def test_a_failure_without_words_has_frames():
    failure = compiled(asserts)
    assert (failure.exception, failure.message) == ("AssertionError", "")
    assert failure.frames[-1] == "test_failure.py:asserts"


def test_an_explicit_cause_belongs_to_the_chain():
    failure = compiled(wraps)
    assert [name.rpartition(".")[2] for name, _ in failure.exceptions][1:] == [
        "NoScheduleError",
        "KeyError",
    ]
    assert failure.exception == "NoScheduleError"


def test_what_the_user_was_handling_does_not_belong_to_the_chain():
    def action():
        try:
            raise LookupError("the user's own")
        except LookupError:
            torch.compile(model, backend=breaks_when_run)(torch.ones(3))

    failure = caught(action, compiling=False)
    assert len(failure.exceptions) == 1
    assert (failure.kind, failure.stage) == (Kind.RUNTIME_ERROR, Stage.RUN)
    assert failure.frames[-1] == "test_failure.py:kernel"
    assert not any(frame.endswith(":model") for frame in failure.frames)


@pytest.mark.parametrize(
    ("when", "kind", "stage", "message"),
    [
        ("forward", Kind.COMPILE_ERROR, Stage.BACKEND, "no forward"),
        ("backward", Kind.COMPILE_ERROR, Stage.BACKWARD, "no backward"),
        ("run", Kind.RUNTIME_ERROR, Stage.BACKWARD, "backward broke"),
    ],
)
def test_forward_and_backward_of_a_training_step(when, kind, stage, message):
    def action():
        torch.compile(model, backend=aot(when))(torch.ones(3, requires_grad=True)).sum().backward()

    failure = caught(action, compiling=False)
    assert (failure.kind, failure.stage, failure.message) == (kind, stage, message)
    assert failure.exception == "NoScheduleError"


def test_what_dynamo_cannot_trace_is_of_the_frontend():
    def breaks(x):
        torch._dynamo.graph_break()
        return x + 1

    failure = caught(
        lambda: torch.compile(breaks, fullgraph=True, backend="eager")(torch.ones(2)),
        compiling=False,
    )
    assert (failure.kind, failure.stage) == (Kind.FRONTEND, Stage.DYNAMO)
    assert failure.exception == "Unsupported"
    assert "from user code" not in failure.message


def test_what_fails_in_functionalisation_is_of_aot():
    def overlaps(x):
        return x.unfold(0, 3, 1).abs_()

    failure = caught(
        lambda: torch.compile(overlaps, backend="aot_eager")(torch.ones(6)), compiling=True
    )
    assert (failure.kind, failure.stage) == (Kind.COMPILE_ERROR, Stage.AOT)
    assert failure.exception == "RuntimeError"


def failing_lowering(monkeypatch, error):
    from torch._inductor import lowering

    def lower(*args, **kwargs):
        raise error

    monkeypatch.setitem(lowering.lowerings, torch.ops.aten.sin.default, lower)


def test_a_lowering_that_raises(monkeypatch):
    failing_lowering(monkeypatch, AssertionError("bad size [2, 3]"))
    failure = compiled("inductor")
    assert (failure.kind, failure.stage) == (Kind.COMPILE_ERROR, Stage.LOWERING)
    assert failure.exceptions[0][0] == "torch._inductor.exc.InductorError"
    assert failure.exceptions[-1] == ("AssertionError", "bad size [2, 3]")
    assert failure.exception == "LoweringException"
    assert failure.message == "AssertionError: bad size [2, 3]\ntarget: aten.sin.default"


def test_out_of_memory_is_of_its_own_kind(monkeypatch):
    failing_lowering(monkeypatch, MemoryError("no more"))
    assert compiled("inductor").kind is Kind.MEMORY


@pytest.mark.real
def test_a_compile_error_of_the_cpp_compiler_is_its_error_line():
    from torch._inductor import config

    with config.patch({"cpp.inject_relu_bug_TESTING_ONLY": "compile_error"}):
        failure = compiled("inductor")
    assert (failure.kind, failure.stage) == (Kind.COMPILE_ERROR, Stage.CODEGEN)
    assert failure.exception == "CppCompileError"
    assert "was not declared in this scope" in failure.message and len(failure.message) < 200


def test_json_keeps_everything():
    failure = compiled(rejects)
    assert Failure.from_json(json.loads(json.dumps(failure.to_json()))) == failure
    other = Failure(Kind.CRASH, Stage.RUN, (), (), signal=11, metric={"attribute": "values"})
    assert Failure.from_json(json.loads(json.dumps(other.to_json()))) == other
    assert (other.exception, other.message, other.text) == ("", "", "")


def test_data_of_another_kind_is_refused():
    with pytest.raises(ValueError):
        Failure.from_json({"kind": "no such", "stage": "run", "exceptions": [], "frames": []})
    with pytest.raises(KeyError):
        Failure.from_json({})


WORKER = """Traceback (most recent call last):
  File "/env/lib/site-packages/torch/_inductor/compile_worker/subproc_pool.py", line 393, in do_job
    result = job()
  File "/env/lib/python3.12/site-packages/triton/compiler/code_generator.py", line 12, in visit
    raise CompilationError(node)
ValueError: no such type

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/env/lib/python3.12/site-packages/triton/compiler/code_generator.py", line 30, in visit_Call
    raise CompilationError(node) from e
triton.compiler.errors.CompilationError: at 3:4:
no such type
"""


class SubprocException(Exception):
    """As the pool of a compiler's worker processes raises it."""

    def __init__(self, name):
        super().__init__(f"An exception occurred in a subprocess:\n\nName={name}\n{WORKER}")


def of_worker(name):
    try:
        try:
            raise SubprocException("<unknown>")
        except SubprocException as error:
            raise SubprocException(name) from error
    except SubprocException as error:
        raise NoScheduleError(f"{type(error).__name__}: {error}") from error


def test_an_exception_of_a_worker_process_reads_as_one_of_this_process():
    failure = caught(lambda: of_worker("triton_poi_relu_0"), compiling=True)
    assert [name.rpartition(".")[2] for name, _ in failure.exceptions] == [
        "NoScheduleError",
        "CompilationError",
        "ValueError",
    ]
    assert failure.exceptions[0][1] == "CompilationError: at 3:4:\nno such type"
    assert failure.frames[-1] == "triton/compiler/code_generator.py:visit_Call"


def test_the_end_of_a_worker_process_is_found_behind_the_output_of_an_interpreter():
    with pytest.raises(NoScheduleError) as error:
        of_worker("triton_poi_relu_0")
    stderr = "".join(traceback.format_exception(error.value))
    name, message = raised(as_in_one_process(stderr))
    assert name.endswith("NoScheduleError")
    assert message == "CompilationError: at 3:4:\nno such type"
