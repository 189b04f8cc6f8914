"""A global name is changed wherever it is meant, and nowhere else."""

from __future__ import annotations

import pytest

from torchcrux.capturing.renaming import Fixed, renamed

SOURCE = """
log = get_logger("log")
def f(x, y=log, *a: log):
    # log here
    log.info("é log %s", x)
    z = [log for log in x] + [log.x for i in log]
    def g(log):
        return log
    def h():
        log = 3
        return log
    def k():
        return log, (lambda log=log: log), lambda q: log
    return "é", log
class C(log):
    a: log = log.b
    def m(self):
        return self.log(log)
@log.deco
def logger(): return log
def log_it(): log.x(log=log)
"""

EXPECTED = """
m_log = get_logger("log")
def f(x, y=m_log, *a: m_log):
    # log here
    m_log.info("é log %s", x)
    z = [log for log in x] + [m_log.x for i in m_log]
    def g(log):
        return log
    def h():
        log = 3
        return log
    def k():
        return m_log, (lambda log=m_log: log), lambda q: m_log
    return "é", m_log
class C(m_log):
    a: m_log = m_log.b
    def m(self):
        return self.log(m_log)
@m_log.deco
def logger(): return m_log
def log_it(): m_log.x(log=m_log)
"""


def test_what_is_meant_is_changed():
    assert renamed(SOURCE, {"log": "m_log"}) == EXPECTED


def test_definitions_are_changed_with_their_uses():
    source = "async def  run(): return run\nclass Run: pass\nx = Run, run\n"
    changed = "async def  a_run(): return a_run\nclass B: pass\nx = B, a_run\n"
    assert renamed(source, {"run": "a_run", "Run": "B"}) == changed


@pytest.mark.parametrize(
    "source",
    [
        "class C:\n    log = 1\n    def f(self): return log\n",
        "def f():\n    global log\n    log = 1\n",
        "import log\n",
        "from x import y as log\n",
        "def f(): return f'{log}'\n",
    ],
)
def test_where_that_is_not_told_apart_it_stays(source):
    with pytest.raises(Fixed):
        renamed(source, {"log": "m_log"})
