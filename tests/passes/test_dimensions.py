"""Sizes and literals by place."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchcrux.program.dimensions import Follow, assigned, below, reshaped, sizes
from torchcrux.program.ir import Node, Op, Program, Ref, Slice, Value
from torchcrux.program.literals import (
    Place,
    at,
    literals,
    substituted,
    tidied,
    with_argument,
    without_argument,
)
from torchcrux.program.spec import Number, Tensor, contiguous_strides, is_contiguous

shapes = st.lists(st.integers(1, 6), min_size=1, max_size=4)


def program(*nodes):
    return Program(nodes, (nodes[-1].name,))


def call(*args, **kwargs):
    return Node("y", Op.FUNCTION, "torch.f", args, tuple(kwargs.items()))


X = Node("x", Op.INPUT, spec=Tensor((4, 6)))


def test_sizes_are_those_of_inputs_and_integers_in_calls():
    made = program(X, call(Ref("x"), (4, 1), True, 2.0, Slice(None, 3, None), dim=5))
    assert sizes(made) == {
        Place("x", ("shape", 0)): 4,
        Place("x", ("shape", 1)): 6,
        Place("y", ("args", 1, 0)): 4,
        Place("y", ("args", 4, "stop")): 3,
        Place("y", ("kwargs", "dim")): 5,
    }


def test_stored_data_has_no_sizes_to_change():
    stored = Node("x", Op.INPUT, spec=Tensor((4, 6)), value=Value.STORED)
    assert sizes(program(stored, call(Ref("x")))) == {}


@given(shapes, st.data())
def test_assigned_sizes_are_read_back(shape, data):
    made = program(Node("x", Op.INPUT, spec=Tensor(tuple(shape))), call(Ref("x"), *shape))
    have = sizes(made)
    changes = {place: data.draw(st.integers(2, size)) for place, size in have.items()}
    assert sizes(assigned(made, changes)) == {**have, **changes}


@given(shapes, st.permutations(range(4)), st.data())
def test_a_reshaped_tensor_is_laid_out_as_before(shape, order, data):
    order = [d for d in order if d < len(shape)]
    tensor = torch.empty(shape).permute(order)
    spec = Tensor(tuple(tensor.shape), strides=tuple(tensor.stride()))
    smaller = tuple(data.draw(st.integers(1, size)) for size in spec.shape)
    made = reshaped(spec, smaller)
    assert made.shape == smaller
    if spec.is_contiguous:
        assert made.is_contiguous
        return
    assert made.strides is not None
    torch.empty_strided(smaller, made.strides)
    extent = 1 + sum((n - 1) * step for n, step in zip(smaller, made.strides, strict=True))
    assert extent == made.elements
    same = reshaped(spec, spec.shape)
    assert is_contiguous(spec.shape, same.strides) == spec.is_contiguous


def test_expanded_dimensions_stay_expanded():
    made = reshaped(Tensor((4, 6), strides=(0, 1)), (2, 3))
    assert made.strides == (0, 1)


def test_a_literal_keeps_its_corner():
    literal = Node(
        "x", Op.INPUT, spec=Tensor((2, 3)), value=Value.LITERAL, elements=(1, 2, 3, 4, 5, 6)
    )
    changes = {Place("x", ("shape", 1)): 2}
    (node,) = assigned(program(literal, call(Ref("x"))), changes).inputs
    assert node.spec.shape == (2, 2)
    assert node.elements == (1, 2, 4, 5)


def test_a_number_that_is_an_input_is_a_size():
    number = Node("n", Op.INPUT, spec=Number(7, "s0"))
    place = Place("n", ("value",))
    made = program(number, call(Ref("n")))
    assert sizes(made) == {place: 7}
    assert assigned(made, {place: 2}).inputs[0].spec == Number(2, "s0")


def test_random_integers_are_clipped_to_the_size():
    index = Node("i", Op.INPUT, spec=Tensor((3,), "int64", low=5, high=99))
    (node,) = below(program(index, call(Ref("i"))), 4).inputs
    assert (node.spec.low, node.spec.high) == (3, 3)


@pytest.mark.parametrize(
    ("have", "wanted", "expected"),
    [
        ({"a": 8, "b": 8}, 2, {"a": 2, "b": 2}),
        ({"a": 8, "b": 24}, 2, {"a": 2, "b": 6}),
        ({"a": 8, "b": 64}, 2, {"a": 2, "b": 4}),
        ({"a": 3, "b": 8}, 1, {"a": 1, "b": 6}),
        ({"a": 5, "b": 7, "c": 12}, 1, {"a": 1, "c": 8}),
    ],
)
def test_proposals_hold_equal_sizes_products_powers_and_sums(have, wanted, expected):
    def places(sizes):
        return {Place(name, ("shape", 0)): size for name, size in sizes.items()}

    follow = Follow(places(have), Place("a", ("shape", 0)))
    assert places(expected) in list(follow.proposals(wanted))


@given(
    st.recursive(
        st.integers(0, 9),
        lambda inner: st.lists(inner, min_size=1) | st.builds(tuple, st.lists(inner, min_size=1)),
        max_leaves=8,
    )
)
def test_each_literal_is_found_and_replaced_where_it_stands(arg):
    node = call(Ref("x"), arg, key=arg)
    for path, value in literals(node):
        assert at(node, path) == value
        changed = with_argument(node, path, None)
        assert at(changed, path) is None
        assert with_argument(changed, path, value) == node


def test_an_item_of_a_list_is_left_out_and_the_rest_is_a_list():
    node = call(Ref("x"), [1, 2, 3], (4, 5))
    assert without_argument(node, ("args", 1, 0)).args[1] == [2, 3]
    assert without_argument(node, ("args", 2, 1)).args[2] == (4,)
    assert without_argument(node, ("args", 1)).args == (Ref("x"), (4, 5))


def test_a_value_is_replaced_inside_lists_and_outputs_and_inputs_go_with_it():
    z = Node("z", Op.INPUT, spec=Tensor((4, 6)))
    made = Program((X, z, call([Ref("x"), Ref("z")])), ("y", "z"))
    one = tidied(substituted(made, {"z": "x"}))
    assert [node.name for node in one.nodes] == ["x", "y"]
    assert one.calls[0].args == ([Ref("x"), Ref("x")],)
    assert one.outputs == ("y", "x")


def test_contiguous_strides_of_a_scalar():
    assert contiguous_strides(()) == ()
