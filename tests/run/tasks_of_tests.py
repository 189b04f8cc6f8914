"""What the tests have children do. Imported in the children, by the name in a task."""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

STATE = []


def echo(payload):
    return payload


def gets_ready(payload):
    STATE.append(os.getpid())


def exits_at_once(payload):
    os._exit(3)


def says_whether_ready(payload):
    return {"ready": STATE, "pid": os.getpid()}


def notes_and_exits(payload):
    with open(payload["path"], "a") as file:
        file.write("ready\n" if STATE else "cold\n")
    os._exit(3)


def raises(payload):
    raise ValueError(payload["text"])


def not_json(payload):
    return object()


def exits(payload):
    os._exit(payload["status"])


def sys_exits(payload):
    sys.exit(payload["status"])


def signals_itself(payload):
    os.kill(os.getpid(), payload["signal"])
    time.sleep(60)


def reads_null(payload):
    ctypes.string_at(0)


def a_function_that_hangs(payload):
    while True:
        time.sleep(0.01)


def sleeps(payload):
    time.sleep(payload["seconds"])
    return payload


def prints(payload):
    print(payload["text"])
    print(payload["text"], file=sys.stderr)


def prints_by_libc(payload):
    ctypes.CDLL(None).printf(b"by libc")


def floods(payload):
    for number in range(payload["lines"]):
        os.write(1, b"x" * 1000 + b"\n")
    os.write(1, b"the end\n")
    return "flooded"


def closes_all_descriptors(payload):
    os.closerange(0, 2**16)
    with open("other", "wb"), open("another", "wb"):
        return "unheard"


def closes_the_usual_descriptors(payload):
    os.closerange(0, 1024)
    return "heard"


def closes_and_reopens(payload):
    os.closerange(0, 2**16)
    keep = [os.open("file", os.O_CREAT | os.O_RDWR)]
    while keep[-1] < 4200:
        keep.append(os.dup(keep[0]))
    return "unheard"


def loses_its_directory(payload):
    os.rmdir(os.getcwd())
    os.chdir("/")
    return "done"


def locks_its_directory(payload):
    os.makedirs("a/b")
    open("a/b/c", "w").close()
    os.chmod("a/b", 0)
    os.chmod("a", 0)
    return "done"


def changes_the_process(payload):
    os.environ["LEAK"] = "yes"
    os.environ.pop("KEPT", None)
    sys.path.append("/leak")
    sys.argv.append("leak")
    os.chdir("/")
    STATE.append("leak")
    return os.getpid()


def shows_the_process(payload):
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "leak": os.environ.get("LEAK"),
        "kept": os.environ.get("KEPT"),
        "path": "/leak" in sys.path,
        "argv": "leak" in sys.argv,
        "state": list(STATE),
        "empty": os.listdir(),
        "temporary": os.path.relpath(os.path.realpath(tempfile.gettempdir())),
        "stdin": sys.stdin.read(),
        "session": os.getsid(0) == os.getpid(),
        "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "terminate": signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "descriptors": len(os.listdir("/proc/self/fd")) - 1,
    }


def leaves_a_sleeper(payload):
    sleeper = subprocess.Popen(["sleep", "600"], start_new_session=payload["session"])
    return sleeper.pid


def leaves_a_daemon(payload):
    """Forks twice, with a session of its own, and holds the output open."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        pid = os.fork()
        if pid:
            os.write(write, str(pid).encode())
            os._exit(0)
        time.sleep(600)
        os._exit(0)
    os.wait()
    return int(os.read(read, 100))


def forks_and_both_return(payload):
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return "parent"
    return "child"


def forks_and_the_original_exits(payload):
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        os._exit(0)
    return "child"


def leaves_a_thread(payload):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    return os.getpid()


def leaves_many(payload):
    for _ in range(payload["number"]):
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
    time.sleep(600)


def forks_without_end(payload):
    """A fork bomb. It burns out by itself, should nobody stop it."""
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        os.fork()
    time.sleep(60)


def eats_memory(payload):
    eaten = []
    while True:
        eaten.append(bytearray(b"x" * 2**20))
        time.sleep(0.001)


def kills_the_server(payload):
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def notes_then_sleeps(payload):
    """Says who it is in a file, and stays."""
    sleeper = subprocess.Popen(["sleep", "600"], start_new_session=True)
    with open(payload["file"], "a") as file:
        file.write(f"{os.getppid()} {os.getpid()} {sleeper.pid}\n")
    time.sleep(payload["seconds"])
    return "slept"


def poisons(payload):
    STATE.append("poison")
    return os.getpid()


def suffers(payload):
    if STATE:
        os.abort()
    return os.getpid()


def changes_nothing_but_forks(payload):
    return forks_and_both_return(payload)


def leaves_sleepers(payload):
    leaves_a_sleeper({"session": True})
    leaves_a_daemon({})
    return "left"


PREPARED = []


def prepares():
    PREPARED.append(1)


def shows_preparations(payload):
    return len(PREPARED)


HELPERS = []


def leaves_a_helper():
    helper = os.fork()
    if helper == 0:
        time.sleep(600)
        os._exit(0)
    HELPERS.append(helper)
    return helper


def shows_helpers(payload):
    return HELPERS


LEFT = {"value": 0, "fit": True}


def keeps_state():
    before = dict(LEFT)

    def put_back():
        fit = LEFT["fit"]
        LEFT.update(before)
        return fit

    return put_back


def changes_state(payload):
    found = {**LEFT, "pid": os.getpid()}
    LEFT.update(payload)
    return found


def niceness(payload):
    return os.nice(0)


def lays_something_aside(payload):
    """As a library does that writes a file when it is imported, and remembers where."""
    global laid
    if "laid" not in globals():
        descriptor, laid = tempfile.mkstemp()
        os.close(descriptor)
    return {"pid": os.getpid(), "there": os.path.exists(laid)}
