"""What an error message says, without what only this program, machine or run put into it."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from itertools import groupby

_NOTE = re.compile(
    r"""^[ ]*(?:
      Set\ TORCHDYNAMO_VERBOSE=1 | Set\ TORCH_LOGS | You\ can\ suppress\ this\ exception
    | While\ executing\ %\w+\ :\ \[ | Original\ traceback: | Use\ tlparse\ to\ see
    | from\ user\ code: | Found\ from\ : | For\ more\ details\ about\ this\ graph\ break
    | Search\ for\ `\w+'\ in\ https?:// | (?:CUDA|HIP|XPU)\ kernel\ errors\ might\ be
    | For\ debugging\ consider\ passing | Compile\ with\ `TORCH_USE_
    | Exception\ raised\ from\ \S+\ at\  | C\+\+\ CapturedTraceback:
    )""",
    re.MULTILINE | re.VERBOSE,
)
_TARGET = re.compile(r"^\s*target: (.*)$", re.MULTILINE)
_DUMP = re.compile(
    r"^\s*(?:k?w?args(?:\[\d+\])?: |graph\(\):|class GraphModule\(|def forward\(self)", re.MULTILINE
)
_ERROR = re.compile(
    r"^(?:[^\n]*[\s;:])?(?:fatal )?error\s*: (.+)$"
    r"|^ptxas fatal\s*: (.+)$|^[^\n]*: (undefined reference to .+)$",
    re.MULTILINE,
)
_COMPILER = re.compile(
    r"^\S+:\d+(?::\d+)?: (?:fatal )?error\s*: |^ptxas |: undefined reference to |^Output:$",
    re.MULTILINE,
)
_TRITON = re.compile(r"\Aat \d+:\d+:\n(?:.*\n)*?[ ]*\^[ ]*\n", re.MULTILINE)
_LENGTH = 500
_READ = 20_000
"""Characters of a message that are compared: enough for any sentence, and never slow."""


def without_notes(message: str) -> str:
    """`message` up to the advice and the stack traces that torch appends."""
    found = _NOTE.search(message)
    return (message[: found.start()] if found else message).rstrip()


def essence(message: str) -> str:
    """The lines that say what is wrong: of compiler output the errors, each once and in
    alphabetical order; of a dump its target."""
    text = without_notes(message)
    output = _COMPILER.search(text)
    if output is not None:
        errors = sorted({_plain(next(filter(None, match))) for match in _ERROR.findall(text)})
        if errors:
            return "\n".join([text.splitlines()[0], *errors] if output.start() else errors)
    text = _TRITON.sub("", text)
    target = _TARGET.search(text)
    said = statement(text)
    return said if target is None else f"{said}\ntarget: {target.group(1)}"


def statement(message: str) -> str:
    """`message` up to the dump of an operation or a graph."""
    text = without_notes(message)
    ends = [found.start() for found in (_TARGET.search(text), _DUMP.search(text)) if found]
    return text[: min(ends)].strip() if ends else text.strip()


def gist(message: str) -> str:
    """The same for a person to read: at most 500 characters."""
    text = essence(message).strip()
    return text if len(text) <= _LENGTH else text[: _LENGTH - 2].rstrip() + " …"


def normalised(message: str) -> tuple[str, ...]:
    """The words of `message`; numbers, shapes, sizes and addresses are ``#``, paths and hashes
    ``<path>`` and ``<hash>``, and numbered names lose their number."""
    words: list[str] = []
    last: tuple[str, ...] = ()
    for clause in re.split(r"[;\n]", _plain(message[:_READ])):
        tokens = tuple(_tokens(clause))
        if tokens and tokens != last:  # one clause for each dimension counts once
            words.extend(tokens)
            last = tokens
    return tuple(word for word, _ in groupby(words))  # as many arguments as there happen to be


_SUBSTITUTIONS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), by)
    for pattern, by in (
        (r"https?://\S+", " <url> "),
        (r"(?<=[(\[,=\s])%\w+(?=\s*[,)\]])", " % "),  # an operand in the dump of a node
        (r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", " <hash> "),
        (r'File "[^"]*", line \d+(?:, in \S+)?', " <path> "),
        (r"(?<![\w.)\]])(?:~|\.{1,2})?(?:/[\w.+@~=-]+){2,}/?(?::\d+)*", " <path> "),
        (
            r"(?<![\w/.+-])(?:[\w.+-]+/)*[\w.+-]+\.(?:py|cpp|cc|cu|h|hpp|so|o|ptx|ll|ttir)\b(?::\d+)*",
            " <path> ",
        ),
        (r"\b[a-z2-7]{40,}\b", " <hash> "),
        (r"\b0x[0-9a-fA-F]+\b", " # "),
        (r"\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,}\b", " <hash> "),
        (r"\b(cuda|cpu|xpu|mps|hpu|meta|privateuseone):\d+\b", r"\1"),
        (r"\b(?:\d+\s?x\s?)+\d+\b", " # "),
        (r"\b(?:s|u|zf|zuf|ps|ks)\d+\b", " # "),
        (r"(?<![\w.)\]])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w])", " # "),
        (r"\b\d+(?:\.\d+)?\s?(?=(?:[KMGT]i?B|ms|us|ns|s)\b)", " # "),
        (r"#\s*(?:bytes?|[KMGT]i?B|ms|us|µs|ns|s|sec|secs|seconds?|minutes?)\b", "# "),
    )
)
_SIZES = tuple(
    (re.compile(pattern), by)
    for pattern, by in (
        (r"#\s*(?:\*\*|//|[*+/-])\s*(?=#)", ""),
        (r"#(?:\s*#)+", "#"),
        (r"[\[(]\s*#\s*(?:,\s*#\s*)*,?\s*[\])]", " # "),
        (r"\[\s*\]|(?<!\w)\(\s*\)", " # "),
        (r"(?:torch\.)?Size\s*\(?\s*#\s*\)?", " # "),
        (r"FakeTensor\([^()]*\)", "FakeTensor"),
    )
)
_TOKEN = re.compile(r"<(?:path|hash|url)>|#|[^\W\d]\w*|[+*/<>=!&|^~-]+")
_GENERATED = re.compile(
    r"(buf|tmp|arg|primals|tangents|op|i|r|x|y|z|c|d|getitem|in_ptr|out_ptr|in_out_ptr|view|p|m)\d+"
)
_NUMBERED = re.compile(r"(?<=[A-Za-z_])(?:_\d+)+(?=_|$)")


@functools.lru_cache(maxsize=2**16)
def stem(name: str) -> str:
    """A variable's or node's name without its numbers: ``relu_3`` and ``relu`` are ``relu``,
    ``buf12`` and ``buf3`` are ``buf``."""
    short = _NUMBERED.sub("", name)
    generated = _GENERATED.fullmatch(short)
    return generated.group(1) if generated else short


def _plain(text: str) -> str:
    for pattern, by in _SUBSTITUTIONS:
        text = pattern.sub(by, text)
    before = ""
    while before != text:
        before = text
        for pattern, by in _SIZES:
            text = pattern.sub(by, text)
    return re.sub(r"[ \t]+", " ", text)


def _tokens(clause: str) -> Iterator[str]:
    for word in _TOKEN.findall(clause):
        yield stem(word)
