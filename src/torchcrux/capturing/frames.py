"""Tracebacks as they would be if nothing of this package had been on the stack."""

from __future__ import annotations

import types

from torchcrux.torch_modules import EVAL_FRAME

_OURS = ("torchcrux.capturing.", "torchcrux._torch")


def strip(error: BaseException | None) -> None:
    """Take our frames out of the tracebacks of an exception and of those it came from."""
    seen: list[BaseException] = []
    while error is not None and all(error is not other for other in seen):
        seen.append(error)
        error.__traceback__ = without_our_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def without_our_frames(traceback: types.TracebackType | None) -> types.TracebackType | None:
    """`traceback` itself if none of its frames is ours, else a copy without them."""
    kept: list[types.TracebackType] = []
    entry = traceback
    ours = False
    while entry is not None:
        if str(entry.tb_frame.f_globals.get("__name__", "")).startswith(_OURS):
            ours = True
            # What calls us there is what keeps Dynamo off our code.
            if kept and kept[-1].tb_frame.f_globals.get("__name__") == EVAL_FRAME:
                kept.pop()
        else:
            kept.append(entry)
        entry = entry.tb_next
    if not ours:
        return traceback
    result: types.TracebackType | None = None
    for entry in reversed(kept):
        result = types.TracebackType(result, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return result
