"""Tensors written out: all their numbers, or the few that differ from the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from torchcrux.emit.calls import argument, number

MOST_WRITTEN = 128
"""Numbers of one tensor; more of them are not for a person to read, and stay in a file."""

_LONG = 8
"""Equal elements that nobody would write one by one."""

Number = int | float | bool | complex | str


def literal(elements: Sequence[Number], shape: tuple[int, ...], options: list[str]) -> str:
    """The expression for a tensor of row-major `elements`."""
    sizes = argument(shape, {})
    steps = ramp(elements)
    if steps is not None:
        made = f"torch.arange({', '.join([steps, *options])})"
        return made if len(shape) == 1 else f"{made}.view({sizes[1:-1]})"
    places = written(elements)
    if len(elements) < _LONG or len(places) * 4 > len(elements):
        return f"torch.tensor({', '.join([_nested(elements, shape), *options])})"
    rest = Counter(map(str, elements)).most_common(1)[0][0]
    filler = next(value for value in elements if str(value) == rest)
    plain = sizes[1:-1].rstrip(",")
    if filler is not True and filler is not False and str(filler) in ("0.0", "1.0") and shape:
        text = f"torch.{'ones' if filler else 'zeros'}({', '.join([plain, *options])})"
    else:
        text = f"torch.full({', '.join([sizes, _one(filler), *options])})"
    if not places:
        return text
    values = [elements[place] for place in places]
    put: tuple[Sequence[Number], Sequence[Number]] = places, values
    where, what = (
        _one(each[0]) if len(places) == 1 else f"[{', '.join(map(_one, each))}]" for each in put
    )
    given = ", ".join([what, *(one for one in options if not one.startswith("requires_grad"))])
    grad = "".join(".requires_grad_()" for one in options if one.startswith("requires_grad"))
    base = text.replace(", requires_grad=True", "")
    return f"{base}.put(torch.tensor({where}), torch.tensor({given})){grad}"


def written(elements: Sequence[Number]) -> list[int]:
    """The places of what is not the most frequent element."""
    texts = [*map(str, elements)]
    rest = Counter(texts).most_common(1)[0][0] if texts else ""
    return [place for place, text in enumerate(texts) if text != rest]


def ramp(elements: Sequence[Number]) -> str | None:
    """The arguments of ``torch.arange``, if `elements` are integers one after the other."""
    count = len(elements)
    if count < 4 or any(type(value) is not int for value in elements[:2]):
        return None
    if elements[0] == 0 and all(value == i for i, value in enumerate(elements)):
        return str(count)
    if elements[-1] == 0 and all(value == count - 1 - i for i, value in enumerate(elements)):
        return f"{count - 1}, -1, -1"
    return None


def _nested(elements: Sequence[Number], sizes: tuple[int, ...]) -> str:
    if not sizes:
        return _one(elements[0])
    step = len(elements) // sizes[0] if sizes[0] else 0
    rows = (_nested(elements[i * step : (i + 1) * step], sizes[1:]) for i in range(sizes[0]))
    return "[" + ", ".join(rows) + "]"


def _one(value: Number) -> str:
    return number(value) if isinstance(value, float) else argument(value, {})
