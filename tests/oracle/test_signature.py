"""The same failure stays the same when the program shrinks, and two bugs stay two."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchcrux.oracle.failure import Failure, Kind, Stage
from torchcrux.oracle.signature import normalised, same, signature, why_different

VERBOSE = (
    "\n\nSet TORCHDYNAMO_VERBOSE=1 for the internal stack trace (please do this especially if "
    "you're reporting a bug to PyTorch). For even more developer context, set "
    'TORCH_LOGS="+dynamo"\n'
)
BUG = "Please report this with the graph dump to https://bugs.invalid/new and attach the logs."
BACKEND = ("torch/_dynamo/repro/after_dynamo.py:__call__", "torch/__init__.py:__call__")
SCHEDULER = (
    "torch/_inductor/graph.py:codegen",
    "torch/_inductor/scheduler.py:codegen",
    "torch/_inductor/codegen/cpp.py:codegen_node",
    "torch/_inductor/loop_body.py:get_read_expr",
)


def failed(text, *, type="mine.ZooError", frames=(*BACKEND, "b.py:mine", "b.py:check"), **other):
    return Failure(Kind.COMPILE_ERROR, Stage.BACKEND, ((type, text),), frames, **other)


def wrapped(text, type="mine.ZooError", name="mine"):
    short = type.rpartition(".")[2]
    outer = f"backend='{name}' raised:\n{short}: {text}{VERBOSE}"
    return Failure(
        Kind.COMPILE_ERROR,
        Stage.BACKEND,
        (("torch._dynamo.exc.BackendCompilerFailed", outer), (type, text)),
        (*BACKEND, "b.py:mine", "b.py:check"),
    )


def lowering(message, target="aten.sin.default", size="4, 8", buffer="arg0_1"):
    dump = (
        f"{message}\n  target: {target}\n  args[0]: TensorBox(StorageBox(\n    Pointwise(\n"
        f"      'cpu',\n      torch.float32,\n      def inner_fn(index):\n"
        f"          tmp0 = ops.load({buffer}, i1 + 8 * i0)\n      ranges=[{size}],\n    )\n  ))"
    )
    return Failure(
        Kind.COMPILE_ERROR,
        Stage.LOWERING,
        (
            ("torch._inductor.exc.InductorError", f"LoweringException: {dump}{VERBOSE}"),
            ("torch._inductor.exc.LoweringException", dump),
            tuple(message.split(": ", 1)),
        ),
        ("torch/_inductor/graph.py:call_function", "torch/_inductor/lowering.py:wrapped"),
    )


def cpp(file, *errors, quoted="auto tmp1 = compile error!;"):
    lines = [f"{file}: In function ‘void kernel(const float*, float*)’:"]
    for line, error in enumerate(errors, 15):
        lines += [f"{file}:{line}:33: error: {error}", f"   {line} |   {quoted}", "      |   ^~~~"]
    lines += [
        "In file included from /opt/venv/include/ATen/cpu/vec/vec.h:5,",
        "  from x.h:1: warning: no",
    ]
    text = f"C++ compile error\n\nCommand:\ng++ {file} -D ERRORS -O3 -o {file}.so\n\nOutput:\n"
    text += "\n".join(lines)
    return Failure(
        Kind.COMPILE_ERROR,
        Stage.CODEGEN,
        (
            ("torch._inductor.exc.InductorError", f"CppCompileError: {text}{VERBOSE}"),
            ("torch._inductor.exc.CppCompileError", text),
            ("subprocess.CalledProcessError", f"Command '['g++', '{file}']' returned 1."),
        ),
        ("torch/_inductor/cpp_builder.py:build", "torch/_inductor/cpp_builder.py:_run_compile_cmd"),
    )


def ptxas(number, what):
    text = "Internal Triton PTX codegen error\n`ptxas` stderr:\n"
    text += f"ptxas /tmp/tmp{number}.ptx, line {number}; error   : {what}\n"
    text += "ptxas fatal   : Ptx assembly aborted due to errors"
    return failed(text, type="triton.runtime.errors.PTXASError", frames=())


def triton(line, source, error):
    head = f"at {line}:11:\ndef triton_poi_fused_relu_0(in_ptr0, xnumel):\n"
    text = f"{head}    {source}\n           ^\n{error}"
    return failed(text, type="triton.compiler.errors.CompilationError", frames=())


HASH = "cv27ayyj7xlrsylm5gbtrufsaqlluztyixpxrqfkncphjnnzychu"
OTHER = "chbtdyznqck6nsmdbtbfqcrl3f5jxeonptnlciw5jhdx3ho7qh5c"

SAME = {
    "note of torch": (failed("no way" + VERBOSE), failed("no way")),
    "wrapper": (wrapped("no lowering for gelu"), wrapped("no lowering for gelu", name="other")),
    "shape": (failed("kernel not for shape (3, 4)"), failed("kernel not for shape (2,)")),
    "no dimension": (failed("kernel not for shape (3, 4)"), failed("kernel not for shape ()")),
    "Size": (failed("got torch.Size([3, 4]) here"), failed("got torch.Size([]) here")),
    "symbols": (failed("size 64*s77 by [s0, 3]"), failed("size 4 by [2]")),
    "times": (failed("tile 4x8x16 refused"), failed("tile 2x2 refused")),
    "dim": (
        failed("negative dim while fusing (dim=-2)"),
        failed("negative dim while fusing (dim=-1)"),
    ),
    "float": (failed("limit 1.5e-05 passed"), failed("limit 3 passed")),
    "address": (failed("<fn at 0x7f3a12bc> fails"), failed("<fn at 0x55aa> fails")),
    "path": (failed("cannot open /tmp/ab/c.so:3 now"), failed("cannot open /home/me/x/y/z.so now")),
    "uuid": (
        failed("job 123e4567-e89b-12d3-a456-426614174000 lost"),
        failed("job 00000000-e89b-12d3-a456-426614174999 lost"),
    ),
    "memory": (failed("Tried to allocate 20.00 MiB"), failed("Tried to allocate 2.5 GiB")),
    "duration": (failed("gave up after 12.5 s there"), failed("gave up after 900 ms there")),
    "device": (failed("not on cuda:1 please"), failed("not on cuda:0 please")),
    "buffer": (failed("KeyError: 'buf12'"), failed("KeyError: 'buf3'")),
    "temporary": (failed("tmp3 undefined in %7"), failed("tmp14 undefined in %12")),
    "numbered": (failed("node relu_12 is odd"), failed("node relu is odd")),
    "module path": (
        failed("l_self_modules_layers_modules_3_weight_ is odd"),
        failed("l_self_modules_layers_modules_0_weight_ is odd"),
    ),
    "dump": (
        failed("no way\n  target: gelu\n  args: (x, y)\n  kwargs: {'a': 1}"),
        failed("no way\n  target: gelu\n  args: (add_4,)\n  kwargs: {}"),
    ),
    "interpreter": (
        failed("odd\n\nWhile executing %relu : [num_users=1] = call_function[target=torch.relu]"),
        failed("odd\n\nWhile executing %h_3 : [num_users=2] = call_method[target=relu]"),
    ),
    "one clause for each dimension": (
        failed(
            "expected size 3==4, stride 1==4 at dim=0; expected size 4==4, stride 3==1 at dim=1"
        ),
        failed("expected size 2==1, stride 1==1 at dim=0"),
    ),
    "arguments": (
        failed("call x(*(FakeTensor(..., size=(3, 4)), FakeTensor(..., size=(), grad_fn=True)))"),
        failed("call x(*(FakeTensor(..., size=(1,)),))"),
    ),
    "lowering": (
        lowering("AssertionError: bad size [4, 8]"),
        lowering("AssertionError: bad size [1]", size="1", buffer="buf7"),
    ),
    "C++": (
        cpp(f"/tmp/a/v2/{HASH}.main.cpp", "‘compile’ was not declared in this scope"),
        cpp(f"/var/b/hb/{OTHER}.main.cpp", "‘compile’ was not declared in this scope", quoted="z"),
    ),
    "C++, fewer of one sort": (
        cpp(
            "/tmp/a/b.cpp",
            "‘tmp3’ was not declared in this scope",
            "‘tmp9’ was not declared in this scope",
        ),
        cpp("/tmp/a/c.cpp", "‘tmp1’ was not declared in this scope"),
    ),
    "ptxas": (
        ptxas(12, "Feature '.bf16' requires sm_90"),
        ptxas(7, "Feature '.bf16' requires sm_90"),
    ),
    "Triton": (
        triton(12, "tmp3 = tl.dot(a, b)", "TypeError('no dot')"),
        triton(3, "tmp0 = tl.dot(c, c)", "TypeError('no dot')"),
    ),
    "file of the backend": (
        failed("", frames=(*BACKEND, "train.py:mine", "train.py:check")),
        failed("", frames=(*BACKEND, "repro.py:mine", "repro.py:check")),
    ),
    "nothing said": (failed("", frames=SCHEDULER), failed("", frames=SCHEDULER[1:])),
}

DIFFERENT = {
    "boilerplate": (
        failed(
            "InternalCompilerError: failed to lower node `softmax`: attention epilogue "
            f"softmax->dropout->matmul has no schedule. {BUG}"
        ),
        failed(
            "InternalCompilerError: failed to lower node `layer_norm`: welford reduction needs a "
            f"persistent buffer. {BUG}"
        ),
    ),
    "one word": (failed("no lowering for softmax"), failed("no lowering for layer_norm")),
    "dtype": (failed("no support for float16"), failed("no support for int8")),
    "type": (failed("x", type="a.ZooError"), failed("x", type="a.KeyError")),
    "target": (
        lowering("AssertionError: bad size [4, 8]"),
        lowering("AssertionError: bad size [4, 8]", target="aten.cos.default"),
    ),
    "target of a backend": (
        failed("no way\n  target: gelu\n  args: (x,)"),
        failed("no way\n  target: relu\n  args: (x,)"),
    ),
    "wrapped": (lowering("AssertionError: no"), lowering("KeyError: no")),
    "C++": (
        cpp("/tmp/a/b.cpp", "‘compile’ was not declared in this scope"),
        cpp("/tmp/a/b.cpp", "no matching function for call to ‘blend’"),
    ),
    "C++, another one too": (
        cpp("/tmp/a/b.cpp", "‘compile’ was not declared in this scope"),
        cpp("/tmp/a/b.cpp", "‘compile’ was not declared in this scope", "expected ‘;’"),
    ),
    "ptxas": (ptxas(12, "Feature '.bf16' requires sm_90"), ptxas(12, "Unknown symbol")),
    "Triton": (
        triton(12, "x", "TypeError('no dot')"),
        triton(12, "x", "ValueError('not a power of two')"),
    ),
    "place, when nothing is said": (
        failed("", frames=(*BACKEND, "b.py:mine", "b.py:check")),
        failed("", frames=(*BACKEND, "b.py:mine", "b.py:other")),
    ),
    "place, when only a buffer is named": (
        failed("KeyError: 'buf1'", frames=SCHEDULER),
        failed("KeyError: 'buf1'", frames=SCHEDULER[:2]),
    ),
    "less said": (failed("no lowering for gelu"), failed("no lowering")),
}


@pytest.mark.parametrize("case", SAME)
def test_what_a_reduction_changes_does_not_matter(case):
    a, b = SAME[case]
    assert why_different(a, (), b, ()) is None
    assert same(b, (), a, ())


@pytest.mark.parametrize("case", DIFFERENT)
@pytest.mark.parametrize("names", [(), ("softmax", "layer_norm", "x", "gelu")])
def test_another_bug_is_another_bug(case, names):
    a, b = DIFFERENT[case]
    assert why_different(a, names, b, names)
    assert not same(b, names, a, names)


NAMED = [
    # names before, names after, node named before and after, the same?
    (("hidden", "add"), ("relu", "x"), "hidden", "relu", True),
    (("hidden_3", "add"), ("relu_1", "x"), "hidden_3", "relu_1", True),
    (("l_x_",), ("x",), "l_x_", "x", True),
    (("softmax", "layer_norm"), ("layer_norm", "x"), "softmax", "layer_norm", False),
    (("softmax",), ("softmax", "layer_norm"), "softmax", "layer_norm", False),
    (("hidden",), ("x",), "hidden", "relu", False),
    ((), (), "hidden", "relu", False),
]


@pytest.mark.parametrize(("a_names", "b_names", "a", "b", "expected"), NAMED)
def test_names_of_values_may_change_but_not_those_of_operations(a_names, b_names, a, b, expected):
    one, two = (
        failed(f"cannot place {a}: {a} has no home"),
        failed(f"cannot place {b}: {b} has no home"),
    )
    assert same(one, a_names, two, b_names) == expected
    assert same(two, b_names, one, a_names) == expected


def test_a_name_changes_in_one_way():
    one, two = failed("a1a meets a1a at last"), failed("b1b meets c1c at last")
    assert not same(one, ["a1a"], two, ["b1b", "c1c"])
    assert not same(two, ["b1b", "c1c"], one, ["a1a"])


def accuracy(attribute, text):
    return Failure(
        Kind.ACCURACY, Stage.RUN, (("AssertionError", text),), (), metric={"attribute": attribute}
    )


def test_for_wrong_numbers_only_what_differs_counts():
    a = accuracy("values", "Tensor-likes are not close! Greatest difference: 3.1 at (0, 3)")
    b = accuracy("values", "Scalars are not close!")
    assert same(a, (), b, ())
    assert "dtype" in why_different(a, (), accuracy("dtype", "bfloat16"), ())


def test_a_crash_is_its_signal():
    segv, again, abort = (Failure(Kind.CRASH, Stage.RUN, (), (), signal=n) for n in (11, 11, 6))
    assert same(segv, (), again, ())
    assert "6" in why_different(segv, (), abort, ())


def test_the_kind_counts_first():
    a = failed("x")
    b = Failure(Kind.RUNTIME_ERROR, Stage.RUN, a.exceptions, a.frames)
    assert "runtime_error" in why_different(a, (), b, ())


def test_a_users_pattern_replaces_the_comparison_of_messages():
    a, b = failed("no lowering for gelu"), failed("out of registers")
    assert same(a, (), b, (), match=re.compile("registers"))
    assert "'gelu'" in why_different(a, (), b, (), match=re.compile("gelu"))


def test_grad_mode_and_the_way_in_do_not_matter():
    inference = (*BACKEND, "torch/_functorch/_aot_autograd/graph_compile.py:a", "b.py:lower")
    training = ("torch/_functorch/_aot_autograd/graph_compile.py:b", "b.py:lower")
    assert same(failed("", frames=inference), (), failed("", frames=training), ())


WORDS = st.sampled_from(
    ["lowering", "softmax", "matmul", "failed", "buffer", "has", "no", "float32"]
)
MESSAGE = st.lists(
    WORDS
    | st.integers(-99, 99).map(str)
    | st.sampled_from(["(2, 3)", "[4]", "buf7", "/a/b/c.py", ";"]),
    max_size=12,
).map(" ".join)
FAILURE = st.builds(
    failed,
    MESSAGE,
    type=st.sampled_from(["a.ZooError", "KeyError"]),
    frames=st.lists(st.sampled_from(SCHEDULER), max_size=3).map(tuple),
)
NAMES = st.lists(st.sampled_from(["softmax", "matmul_3", "x", "buffer"]), max_size=3)


@settings(max_examples=200, deadline=None)
@given(FAILURE, NAMES)
def test_a_failure_is_the_same_as_itself(failure, names):
    assert same(failure, names, failure, names)
    assert signature(failure, names) == signature(Failure.from_json(failure.to_json()), names)


@settings(max_examples=200, deadline=None)
@given(FAILURE, NAMES, FAILURE, NAMES)
def test_being_the_same_is_symmetric(a, a_names, b, b_names):
    assert same(a, a_names, b, b_names) == same(b, b_names, a, a_names)


@settings(max_examples=200, deadline=None)
@given(MESSAGE, st.integers(0, 10**6), NAMES)
def test_renumbering_changes_nothing(message, number, names):
    text = f"relu_3 in buf3 of size 3 and (3, 3) {message}"
    renumbered = re.sub(r"(?<![a-z\d])\d+|(?<=buf)\d+", str(number), text)
    assert normalised(text) == normalised(renumbered)
    assert same(failed(text), names, failed(renumbered), names)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_any_text_has_words(text):
    assert all(word.strip() for word in normalised(text))


def named(message):
    pair = ("backends.LoweringFailed", message)
    return Failure(Kind.COMPILE_ERROR, Stage.BACKEND, (pair,), ("compiler.py:lower_node",))


def test_a_value_that_has_another_name_in_the_script_is_the_same_value():
    captured = named("cannot schedule relative_position_if_large_1 for this target")
    reduced = named("cannot schedule min_1 for this target")
    names = ["relative_position_if_large_1", "x"]
    assert why_different(captured, names, reduced, ["x"]) is not None
    pairs = [("out", "relative_position_if_large_1"), ("min", "relative_position_if_large_1")]
    assert why_different(captured, names, reduced, ["out"], renamed=pairs) is None
    other = [("min", "another")]
    assert why_different(captured, names, reduced, ["out"], renamed=other) is not None


def test_a_backtrace_of_cpp_says_nothing():
    def message(*frames):
        lines = [
            f"frame #{i}: {frame} (0x7f71a1f79b8d in libc10.so)" for i, frame in enumerate(frames)
        ]
        return "\n".join(
            [
                "non-tensor input",
                "Exception raised from data_ptr at guards.cpp:7283 (most recent call first):",
                *lines,
            ]
        )

    one, other = failed(message("c10::Error", "call")), failed(message("c10::Error", "run", "call"))
    assert why_different(one, (), other, ()) is None
    assert why_different(one, (), failed("no input"), ()) is not None
    assert one.message == "non-tensor input"


def test_the_operands_of_a_node_that_is_dumped_do_not_count():
    dumped = (
        "cannot lower %flip : [num_users=1] = call_function[target=aten.flip](args = ({}, [1]))"
    )
    one, other = dumped.format("%scatter_add_1"), dumped.format("%expand")
    assert normalised(one) == normalised(other)
    assert normalised(one) != normalised(one.replace("%flip", "%sin"))
    assert normalised("100 %full") != normalised("100 %empty")
