"""The same failing programs through torchcrux and through PyTorch's own minifier.

    python bench/side_by_side.py [SCRIPT ...] [--limit 300] [--repeat 1] [--out bench/side_by_side]

Without scripts: those of examples/. Each tool gets each program as its documentation says; they
take turns, on the same machine in the same run. A number for a tool is the whole wall time from the
start of the failing script to a repro that was run once more (by torchcrux: three times), in
processes of its own. PyTorch's minifier is three commands, each under the limit:

    TORCHDYNAMO_REPRO_AFTER=... TORCHDYNAMO_REPRO_LEVEL=... python SCRIPT
    python torch_compile_debug/.../minifier_launcher.py minify
    python repro.py

It must be told what to look for beforehand: level 4 for wrong numbers, 3 for a crash, 2 otherwise;
after AOTAutograd for a compile error with Inductor, after Dynamo otherwise. It is told so by what
torchcrux has caught. Writes OUT.json, OUT.md and OUT.svg.
"""

from __future__ import annotations

import argparse
import ast
import getpass
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
TICK = 0.25
HEADERS = "precompiled_headers"
COMPILE_ERROR, CRASH, ACCURACY = 2, 3, 4


@dataclass
class Measured:
    tool: str
    program: str
    outcome: str = ""
    seconds: float = 0.0
    script_seconds: float = 0.0
    search_seconds: float | None = None
    verified_seconds: float | None = None
    queries: int | None = None
    memory_mib: int = 0
    operations: int | None = None
    elements: int | None = None
    lines: int | None = None
    curve: list[tuple[float, int]] = field(default_factory=list)


class Clock:
    """Runs commands one after the other; the time, the memory, and the repro while it shrinks."""

    def __init__(self, measured: Measured, repro, limit: float) -> None:
        self.measured, self.repro, self.limit = measured, repro, limit
        self.started = time.monotonic()
        self._text = ""

    def run(self, command, folder: Path, **env: str):
        log = tempfile.TemporaryFile()  # noqa: SIM115
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        until = time.monotonic() + self.limit
        while process.poll() is None and time.monotonic() < until:
            self._look(process.pid)
            time.sleep(TICK)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        self._look(process.pid)
        self.measured.seconds = time.monotonic() - self.started
        log.seek(0)
        return code, log.read().decode(errors="replace")

    def _look(self, pid: int) -> None:
        self.measured.memory_mib = max(self.measured.memory_mib, memory(pid))
        file = self.repro()
        try:
            text = "" if file is None else file.read_text(encoding="utf-8")
        except OSError:
            return
        if text and text != self._text:
            self._text = text
            size = operations(text)
            if size is not None:
                self.measured.curve.append((time.monotonic() - self.started, size))


def memory(root: int) -> int:
    """MiB of a process and all below it, shared pages by their share."""
    total, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += next(int(line.split()[1]) for line in rollup.splitlines() if "Pss:" in line)
            for thread in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (thread / "children").read_text().split())
        except (OSError, StopIteration, ValueError):
            continue
    return total // 1024


def operations(text: str) -> int | None:
    """Calls and arithmetic in the function that is compiled: `f`, or `forward` of a module."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name in ("f", "forward"):
            found = [one for line in node.body for one in ast.walk(line)]
            return sum(isinstance(one, (ast.Call, ast.BinOp, ast.UnaryOp)) for one in found)
    return None


def elements(text: str) -> int:
    """Elements of the inputs that the minifier's `load_args` reads."""
    shapes = re.findall(r"reader\.tensor\(\w+, \(([\d, ]*)\)", text)
    return sum(math.prod(int(n) for n in shape.split(",") if n.strip()) for shape in shapes)


def cold(folder: Path) -> dict[str, str]:
    """A cache without kernels, or whoever comes second would find what the first has compiled, and
    the script would be quicker than when it failed; but with the precompiled headers of this
    machine, which one makes once."""
    cache = folder / "cache"
    cache.mkdir(exist_ok=True)
    headers = Path(tempfile.gettempdir(), f"torchinductor_{getpass.getuser()}", HEADERS)
    if headers.exists() and not (cache / HEADERS).exists():
        (cache / HEADERS).symlink_to(headers)
    return {"TORCHINDUCTOR_CACHE_DIR": str(cache)}


def ours(script: Path, folder: Path, limit: float) -> tuple[Measured, dict]:
    measured = Measured("torchcrux", script.stem)
    out = folder / "out"
    clock = Clock(measured, lambda: out / "repro.py", 3 * limit)  # it is all three commands in one
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-m", "torchcrux", "run", "--out", out, script]
    code, log = clock.run(command, folder, **cold(folder), PYTHONPATH=path)
    try:
        result = json.loads((out / "result.json").read_text())
    except (OSError, ValueError):
        measured.outcome = f"status {code}: {log.strip().splitlines()[-1:]}"
        return measured, {}
    measured.outcome = "verified" if code == 0 else f"status {code}: {result['status']}"
    measured.queries = result["queries"]
    measured.script_seconds = measured.seconds - result["seconds"]
    measured.search_seconds = result["search_seconds"]
    measured.verified_seconds = result["verified_seconds"]
    if result["verified_runs"]:
        measured.operations = result["operations"]["final"]
        measured.elements = result["elements"]["final"]
        measured.lines = result["lines"]
    return measured, result["failure"]


def theirs(script: Path, folder: Path, limit: float, failure: dict) -> Measured:
    measured = Measured("PyTorch minifier", script.stem)
    level = {"accuracy": ACCURACY, "crash": CRASH}.get(failure.get("kind", ""), COMPILE_ERROR)
    inductor = failure.get("stage") in ("lowering", "codegen", "backward")
    after = "aot" if inductor and level == COMPILE_ERROR else "dynamo"

    def launcher() -> Path | None:
        found = folder.glob("torch_compile_debug/*/minifier/minifier_launcher.py")
        return max(found, key=lambda file: file.stat().st_mtime, default=None)

    def repro() -> Path | None:
        found = launcher()
        return None if found is None else found.with_name("repro.py")

    clock = Clock(measured, repro, limit)
    settings = {"TORCHDYNAMO_REPRO_AFTER": after, "TORCHDYNAMO_REPRO_LEVEL": str(level)}
    cache = cold(folder)
    clock.run([sys.executable, script], folder, **cache, **settings)
    measured.script_seconds = measured.seconds
    start = launcher()
    if start is None:
        measured.outcome = "nothing captured"
        return measured
    _, log = clock.run([sys.executable, start, "minify"], start.parent, **cache)
    made = re.findall(r"Made (\d+) queries", log)
    measured.queries = int(made[-1]) if made else None
    file = start.with_name("repro.py")
    if not file.exists():
        measured.outcome = "no repro"
        return measured
    text = file.read_text(encoding="utf-8")
    measured.operations, measured.elements = operations(text), elements(text)
    measured.lines = len(text.splitlines())
    code, log = clock.run([sys.executable, file], start.parent, **cache)
    name = failure.get("exception", "")
    if code == 0:
        measured.outcome = "the repro does not fail"
    elif name and name not in log and measured.outcome != "AccuracyError":
        measured.outcome = f"fails otherwise: {log.strip().splitlines()[-1][:60]}"
    else:
        measured.outcome = "fails" if made else "fails; stopped at the limit"
    if failure.get("kind") == "accuracy" and code != 0:
        measured.outcome = "fails" if "ccuracy" in log or "close" in log else measured.outcome
    return measured


def until_repro(row: Measured, limit: float) -> float:
    """Seconds from the script's failure to a repro that fails alike; `limit` where there is none,
    which is less than it would have been. What torchcrux does after that, explaining, is not
    counted here, but in the wall time."""
    reached = row.outcome == "verified" or row.outcome in ("fails", "fails; stopped at the limit")
    if not reached:
        return limit
    return row.verified_seconds or max(row.seconds - row.script_seconds, 0.1)


def table(rows: list[Measured], limit: float) -> str:
    head = "program|tool|outcome|seconds|the script|search|queries|MiB|operations|elements|lines"
    lines = [f"| {' | '.join(head.split('|'))} |", "|" + " --- |" * 11]
    for row in rows:
        values = (
            row.program,
            row.tool,
            row.outcome,
            f"{row.seconds:.1f}",
            f"{row.script_seconds:.1f}",
            None if row.search_seconds is None else f"{row.search_seconds:.1f}",
            *(row.queries, row.memory_mib, row.operations, row.elements, row.lines),
        )
        lines.append(f"| {' | '.join('-' if v is None else str(v) for v in values)} |")
    pairs = paired(rows)
    if pairs:
        whole = [b.seconds / a.seconds for a, b in pairs]
        after = [
            (b.seconds - b.script_seconds) / max(a.seconds - a.script_seconds, 0.1)
            for a, b in pairs
            if b.operations is not None
        ]
        lines += ["", f"Wall time, minifier by torchcrux: median {median(whole):.1f}, "]
        lines[-1] += "each " + ", ".join(
            f"{a.program} {r:.1f}" for (a, _), r in zip(pairs, whole, strict=True)
        )
        if after:
            lines.append(f"After the script has failed: median {median(after):.1f}.")
        until = [until_repro(b, limit) / until_repro(a, limit) for a, b in pairs]
        lines.append(
            f"From there to a repro that fails alike, {limit:g} s if there is none: median "
            f"{median(until):.1f}, each {', '.join(f'{ratio:.1f}' for ratio in until)}."
        )
        quick = sum(a.search_seconds <= a.script_seconds for a, _ in pairs)
        lines.append(f"The search took no longer than the script in {quick} of {len(pairs)}.")
    return "\n".join(lines) + "\n"


def paired(rows: list[Measured]) -> list[tuple[Measured, Measured]]:
    mine = [row for row in rows if row.tool == "torchcrux"]
    other = [row for row in rows if row.tool != "torchcrux"]
    return list(zip(mine, other, strict=True))


def plot(rows: list[Measured]) -> str:
    """Operations in the best repro over time, both logarithmic; a panel for each program."""
    width, height, pad = 300, 170, 30
    pairs = paired(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width * 2}" font-family="sans-serif"'
        f' font-size="10" height="{height * math.ceil(len(pairs) / 2)}">'
    ]
    for i, pair in enumerate(pairs):
        left, top = width * (i % 2), height * (i // 2)
        last = max(row.seconds for row in pair)
        most = max([2, *(size for row in pair for _, size in row.curve)])

        def x(seconds, left=left, last=last):
            return left + pad + (width - 2 * pad) * math.log1p(seconds) / math.log1p(last)

        def y(size, top=top, most=most):
            return top + height - pad - (height - 2 * pad) * math.log(max(size, 1)) / math.log(most)

        parts.append(f'<text x="{left + pad}" y="{top + 14}">{pair[0].program}</text>')
        parts.append(f'<text x="{left + 4}" y="{y(most) + 4:.0f}">{most}</text>')
        parts.append(f'<text x="{x(last) - 20:.0f}" y="{top + height - 12}">{last:.0f} s</text>')
        for row, colour in zip(pair, ("#0a7", "#c40"), strict=True):
            points, before = [], None
            for seconds, size in row.curve:
                if before is not None:
                    points.append((seconds, before))
                points.append((seconds, size))
                before = size
            if before is not None:
                points.append((row.seconds, before))
            drawn = " ".join(f"{x(seconds):.1f},{y(size):.1f}" for seconds, size in points)
            parts.append(f'<polyline fill="none" stroke="{colour}" points="{drawn}"/>')
    parts.append('<text x="200" y="14" fill="#0a7">torchcrux</text>')
    parts.append('<text x="255" y="14" fill="#c40">minifier</text></svg>')
    return "\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scripts", nargs="*", type=Path)
    parser.add_argument("--limit", type=float, default=300.0, help="seconds, for each command")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "side_by_side")
    options = parser.parse_args()
    rows: list[Measured] = []
    scripts = options.scripts or sorted((ROOT / "examples").glob("*.py"))
    for script in scripts * options.repeat:
        with tempfile.TemporaryDirectory(prefix="side-by-side-") as name:
            folders = [Path(name) / tool for tool in ("ours", "theirs")]
            for folder in folders:
                folder.mkdir()
            mine, failure = ours(script.resolve(), folders[0], options.limit)
            other = theirs(script.resolve(), folders[1], options.limit, failure)
        rows += [mine, other]
        for row in rows[-2:]:
            print(f"{row.program:32} {row.tool:18} {row.seconds:6.1f} s  {row.outcome}", flush=True)
        options.out.with_suffix(".json").write_text(
            json.dumps([asdict(row) for row in rows], indent=1) + "\n"
        )
        options.out.with_suffix(".md").write_text(table(rows, options.limit))
        options.out.with_suffix(".svg").write_text(plot(rows))
    print(table(rows, options.limit))


if __name__ == "__main__":
    main()
