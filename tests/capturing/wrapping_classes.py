"""Tensor subclasses with a layout of their own, as a user's module has them."""

import enum

import torch
from torch.utils._pytree import tree_map_only

HANDLED = {}
UNUSED = 1


def implements(operator):
    def decorator(function):
        HANDLED[operator] = function
        return function

    return decorator


class Rounding(enum.Enum):
    DOWN = 1


class Scaled(torch.Tensor):
    @staticmethod
    def __new__(cls, data, scale, *rest):
        return torch.Tensor._make_wrapper_subclass(cls, data.shape, dtype=scale.dtype)

    def __init__(self, data, scale, rounding, sizes):
        self.data_, self.scale, self.rounding, self.sizes = data, scale, rounding, sizes

    def __tensor_flatten__(self):
        return ["data_", "scale"], (self.rounding, self.sizes, {"dtype": self.dtype})

    @staticmethod
    def __tensor_unflatten__(inner, state, size, stride):
        return Scaled(inner["data_"], inner["scale"], *state[:2])

    @classmethod
    def __torch_dispatch__(cls, function, types, args, kwargs=None):
        if function in HANDLED:
            return HANDLED[function](*args)
        args = tree_map_only(Scaled, lambda x: x.data_ * x.scale, args)
        return function(*args, **(kwargs or {}))


@implements(torch.ops.aten.neg.default)
def negated(x):
    return Scaled(-x.data_, x.scale, x.rounding, x.sizes)


def unrelated(x):
    return UNUSED


class Forgetful(Scaled):
    """Its way back from its parts leaves out what it was made with, which its constructor takes."""

    @staticmethod
    def __new__(cls, data, scale, *rest, **more):
        return Scaled.__new__(cls, data, scale)

    def __init__(self, data, scale, shift=0):
        self.data_, self.scale, self.shift = data, scale, shift

    def __tensor_flatten__(self):
        return ["data_", "scale"], {"shift": self.shift}

    @staticmethod
    def __tensor_unflatten__(inner, state, size, stride):
        return Forgetful(inner["data_"], inner["scale"])


class Amnesic(Forgetful):
    """Nothing makes it again."""

    def __init__(self, data, scale):
        self.data_, self.scale, self.shift = data, scale, 0
