"""The page about a reduced failure."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from torchcrux.oracle.failure import Failure, Kind, Stage
from torchcrux.program.ir import Origin
from torchcrux.report.html import html, points, with_html
from torchcrux.report.result import Find, Result, Sizes


def result(**changes):
    error = (("ValueError", "no kernel for <lambda> & co"),)
    plain = {
        "status": "reduced",
        "failure": Failure(Kind.COMPILE_ERROR, Stage.BACKEND, error, ()),
        "layer": "inductor",
        "layers": (("eager", "passes"), ("aot_eager", "passes"), ("inductor", "same")),
        "operations": Sizes(366, 1),
        "elements": Sizes(9000, 1),
        "text": "import torch\nassert 1 < 2\n",
        "queries": 20,
        "seconds": 9.8,
        "jobs": 4,
        "verified_runs": 3,
        "minimal": True,
        "necessary": (("x: float32 → float64", "passes"), ("x all ones", "different")),
        "workarounds": ("torch.compile(…, dynamic=False)",),
        "finds": (Find("KeyError", "buf<1>", "finds/1.py"),),
        "origin": (("gelu", Origin("model.py", 31, "F.gelu(x)", "blocks.5.mlp")),),
        "steps": ((4, 20), (9, 1)),
    }
    return Result(**{**plain, **changes})


class Page(HTMLParser):
    """Tags that were opened and not closed, and all text."""

    VOID = frozenset({"meta", "polyline"})

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.links = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.links += [value for key, value in attrs if key in ("href", "src")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_is_whole_and_says_what_is_known():
    page = Page(html(result()))
    assert page.open == []
    text = " ".join(" ".join(page.words).split())
    for said in (
        "ValueError: no kernel for <lambda> & co",
        "366 captured, 1 left",
        "assert 1 < 2",
        "model.py:31",
        "x: float32 → float64 it passes",
        "x all ones it fails in another way",
        "inductor fails in the same way",
        "torch.compile(…, dynamic=False)",
        "KeyError: buf<1>",
    ):
        assert said in text, said


def test_it_needs_no_network():
    text = html(result())
    assert Page(text).links == ["finds/1.py"]
    assert not re.search(r"https?://|@import|url\(", text)


def test_what_is_not_known_has_no_heading():
    empty = {
        "necessary": (),
        "workarounds": (),
        "finds": (),
        "origin": (),
        "layers": (),
        "steps": (),
    }
    headings = re.findall("<h2>(.*)</h2>", html(result(**empty)))
    assert headings == ["Repro", "The error", "Versions"]


def test_the_line_goes_down_in_steps():
    assert points(((5, 2), (10, 1)), 10, 4) == (
        "0.0,2.0 0.0,2.0 50.0,2.0 50.0,51.0 100.0,51.0 100.0,75.5 100.0,75.5 100.0,75.5"
    )
    assert points((), 10, 4) == ""


def test_a_page_is_written_only_about_what_was_verified(tmp_path):
    written = with_html(result(folder=tmp_path))
    assert written.files["report"] == "report.html"
    assert (tmp_path / "report.html").exists()
    assert with_html(result(folder=tmp_path, verified_runs=0)).files == {}
    assert not (tmp_path / "report.html").exists()
