"""Every operator that PyTorch tests, through the whole chain of `tests/emit/roundtrip.py`.

    python bench/opinfo.py [--samples 2] [--dtypes float32,int64,bool,complex64] [--jobs 2]
                           [--only REGEX] [--json bench/opinfo.json] [--verbose]

Prints how many of the samples that run under ``torch.compile(backend="eager")`` come back with the
same graph and the same result, and every other one by name with the reason.
"""

from __future__ import annotations

import argparse
import collections
import json
import re
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "emit")]

DTYPES = ("float32", "int64", "bool", "complex64")


def variants(op):
    """The ways of calling an operator: as a function, a method, in place, by a dunder."""
    for name in ("op", "method_variant", "inplace_variant", "operator_variant"):
        function = getattr(op, name, None)
        if callable(function):
            yield {"op": "function"}.get(name, name.removesuffix("_variant")), function


def names(only):
    from torch.testing._internal.common_methods_invocations import op_db

    pattern = re.compile(only)
    return sorted(
        i for i, op in enumerate(op_db) if pattern.search(f"{op.name} {op.variant_test_name}")
    )


def measure(task):
    """Outcomes of one operator: (name, outcome, reason) of each sample."""
    index, dtypes, count = task
    import roundtrip
    import torch
    from torch.testing._internal.common_methods_invocations import op_db

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    op = op_db[index]
    label = ".".join(filter(None, (op.name, op.variant_test_name)))
    found = []
    for dtype in dtypes:
        if getattr(torch, dtype) not in op.supported_dtypes("cpu"):
            continue
        for kind, function in variants(op):
            try:
                taken = list(roundtrip.samples(op, getattr(torch, dtype), count))
            except Exception as error:
                found.append((f"{label} {dtype} {kind}", "no sample", str(error)))
                continue
            if kind != "function":
                taken = taken[:1] if dtype == "float32" else []
            for i, (args, kwargs) in enumerate(taken):
                name = f"{label} {dtype} {kind} {i}"
                found.append((name, *outcome(roundtrip, function, args, kwargs)))
    return found


def outcome(roundtrip, function, args, kwargs):
    def called(*args, **kwargs):
        return function(*args, **kwargs)

    try:
        scripts = roundtrip.round_trip(called, *args, spelling=spelling(), **kwargs)
    except roundtrip.DoesNotCompile as error:
        return "does not compile", str(error).strip().splitlines()[0]
    except roundtrip.Obstacle as error:
        return "obstacle", str(error)
    except roundtrip.Differs as error:
        return "differs", str(error)
    except Exception as error:
        return "error", f"{type(error).__name__}: {error}"
    return ("same" if scripts else "no graph"), ""


_SPELLING = []


def spelling():
    from torchcrux.capturing.spelling import Spelling

    if not _SPELLING:
        _SPELLING.append(Spelling())
    return _SPELLING[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--dtypes", default=",".join(DTYPES))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--verbose", action="store_true", help="print scripts that differ")
    options = parser.parse_args()
    dtypes = options.dtypes.split(",")
    tasks = [(i, dtypes, options.samples) for i in names(options.only)]
    found = []
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        for i, rows in enumerate(pool.map(measure, tasks, chunksize=4)):
            found += rows
            if sys.stderr.isatty():
                print(f"\r{i + 1}/{len(tasks)}", end="", file=sys.stderr)
    counts = collections.Counter(result for _, result, _ in found)
    tested = sum(counts[key] for key in ("same", "obstacle", "differs", "error"))
    for name, result, reason in found:
        if result in ("obstacle", "differs", "error", "no sample"):
            text = reason if options.verbose else reason.partition("\n")[0]
            print(f"{result:9} {name}: {text[:4000]}")
    share = 100 * counts["same"] / max(tested, 1)
    print(", ".join(f"{count} {key}" for key, count in counts.most_common()))
    print(f"{counts['same']} of {tested} samples come back the same: {share:.1f} %")
    if options.json:
        rows = [
            {"sample": name, "outcome": r, "reason": why.partition("\n")[0]}
            for name, r, why in found
        ]
        summary = {
            "counts": dict(counts),
            "percent": round(share, 2),
            "samples": [r for r in rows if r["outcome"] != "same"],
        }
        options.json.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
