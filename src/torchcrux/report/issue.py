"""`issue.md`: what a maintainer of the compiler needs, ready to paste."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torchcrux.explain.note import note, passing, shortened
from torchcrux.report.result import Result, versions, write_atomically

_LISTED = 8
_TITLE = 120
_PRINTED = 40
_WARNING = re.compile(r":\d+: warning: ")
_WAY = re.compile(
    r"^In file included from |^ +from \S+[,:]$|: In instantiation of |:\d+:   required (from|by) "
)
OUTCOME = {
    "accuracy": "Eager is right; what is compiled computes something else.",
    "compile_error": "Eager runs; compiling raises an exception.",
    "runtime_error": "Eager runs; what is compiled raises an exception.",
    "crash": "Eager runs; the process dies with `torch.compile`.",
    "hang": "Eager runs; with `torch.compile` it does not end.",
    "slow_compile": "Eager runs; compiling takes too long.",
    "memory": "Eager runs; with `torch.compile` there is not enough memory.",
    "": "Eager runs; with `torch.compile` it fails.",
}
"""What a reader wants to know first, by the kind of the failure."""
_SYMPTOM = {
    "accuracy": "Wrong numbers",
    "crash": "The process dies",
    "hang": "It does not end",
    "slow_compile": "Compiling takes too long",
    "memory": "Too much memory",
}
"""How a title begins, of failures whose message does not tell one from another."""
_NAMED = 3
"""Operators that a title names at most."""


def with_issue(result: Result) -> Result:
    """The result with its issue.md written beside it, if there is a repro that was verified."""
    if result.folder is None:
        return result
    path = result.folder / "issue.md"
    if not (result.text and result.failure and result.verified_runs):
        path.unlink(missing_ok=True)
        return result
    write_atomically(path, issue(result))
    return replace(result, files={**result.files, "issue": path.name})


def issue(result: Result) -> str:
    """Markdown, without paths of this machine. The result must have a failure and a text."""
    assert result.failure is not None
    parts = [
        f"# {title_of(result)}",
        OUTCOME.get(result.failure.kind.value, OUTCOME[""]),
        _fenced(result.text, "python"),
        f"Layer: `{result.layer}`." + _others(result),
    ]
    if result.omission:
        parts.append(f"Left out of the script: {result.omission}.")
    if result.named_files:
        names = ", ".join(f"`{Path(name).name}`" for name in result.named_files)
        parts.append(f"The script needs files of the reporter, or what lies beside them: {names}.")
    if result.frequency:
        parts.append(f"It does not fail always: {result.frequency} times.")
    changes = passing(result.necessary)
    if changes:
        parts.append(_listed("It passes with any one of these changes:", changes))
    if result.workarounds:
        parts.append(_listed("Workarounds, tried on this script:", result.workarounds))
    printed = without_warnings(shortened(result.printed.strip()).splitlines())
    if printed:
        more = "…\n" * (len(printed) > _PRINTED)
        whole = _fenced(more + "\n".join(printed[-_PRINTED:]))
        parts.append(f"<details><summary>What it prints</summary>\n\n{whole}\n\n</details>")
    used = ", ".join(f"{name} {version}" for name, version in versions().items())
    parts.append(f"Versions: {used}.")
    return "\n\n".join(parts) + "\n"


def without_warnings(lines: Sequence[str]) -> list[str]:
    """What a C++ compiler printed without its warnings, and without how it came upon them."""
    kept: list[str] = []
    skipping = False
    for line in lines:
        if _WARNING.search(line):
            skipping = True
        elif _WAY.search(line):
            continue
        elif not line.startswith(" "):
            skipping = False
        if not skipping:
            kept.append(line)
    return kept


def title_of(result: Result) -> str:
    """In a line: what goes wrong. The result must have a failure."""
    assert result.failure is not None
    symptom = _SYMPTOM.get(result.failure.kind.value)
    if symptom is None or result.program is None:
        line = note(result.failure).splitlines()[0]
    else:
        targets = dict.fromkeys(node.target for node in result.program.calls)
        names = [target.removeprefix("operator.") for target in targets]
        what = ", ".join(names) if len(names) <= _NAMED else f"{len(names)} operators"
        line = f"{symptom}: {what} with backend {result.layer}"
    return line if len(line) <= _TITLE else line[: _TITLE - 2].rstrip() + " …"


def _fenced(text: str, language: str = "") -> str:
    """In a fence longer than any in `text`."""
    longest = max((len(ticks) for ticks in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _code(text: str) -> str:
    longest = max((len(ticks) for ticks in re.findall("`+", text)), default=0)
    ticks = "`" * (longest + 1)
    return f"{ticks} {text} {ticks}" if longest else f"`{text}`"


def _listed(heading: str, items: Sequence[str]) -> str:
    lines = [_code(" ".join(item.split())) for item in items[:_LISTED]]
    return "\n".join([heading, "", *(f"- {line}" for line in lines)])


def _others(result: Result) -> str:
    """What each backend below the default one does; the layer itself is named before."""
    said = {"passes": "passes", "same": "fails in the same way", "different": "fails otherwise"}
    told = [
        f"`{name}` {said[verdict]}"
        for name, verdict in result.layers
        if verdict in said and name != result.layer
    ]
    return f" Of the other backends {', '.join(told)}." if told else ""
