"""Snippets in their sandbox: what they can do, what they cannot, and what is left of them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waybill_worker.sandbox.launch import OWN_PATH, Ending, Run, run
from waybill_worker.sandbox.limits import MIB, Limits

LIMITS = Limits(cpu_seconds=5, wall_seconds=150)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
CALL = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\noutput = [libc.syscall(*input), ctypes.get_errno()]"


async def ran(code: str, given: Any = None, limits: Limits = LIMITS) -> Run:
    return await run(code, given, limits)


async def output(code: str, given: Any = None) -> Any:
    came = await ran(code, given)
    assert came.ending is Ending.RETURNED, came
    return came.output


async def raised(code: str, given: Any = None, limits: Limits = LIMITS) -> str:
    came = await ran(code, given, limits)
    assert came.ending is Ending.RAISED, came
    return came.detail


@settings(max_examples=15)
@given(JSON)
def test_given_any_json_when_handed_in_then_it_comes_out_as_it_was(value: Any) -> None:
    assert asyncio.run(output("output = input", value)) == value


async def test_given_a_function_main_when_defined_then_it_gets_the_input_and_its_result_counts() -> None:
    assert await output("output = 1\ndef main(n): return {'n': n + 1}", 41) == {"n": 42}
    assert await output("pass") is None
    assert await output("import sys\noutput = 3\nsys.exit()") == 3


async def test_given_prints_when_run_then_both_streams_are_kept_apart() -> None:
    came = await ran("import sys; print('é'); print('err', file=sys.stderr); output = sys.stdin.read()")
    assert (came.stdout, came.stderr, came.output) == ("é\n", "err\n", "")


async def test_given_the_standard_library_when_used_then_it_works() -> None:
    code = """
import asyncio, bisect, collections, csv, dataclasses, datetime, decimal, difflib, enum, fractions, functools, gzip
import hashlib, heapq, html, io, itertools, json, math, os, pathlib, pickle, random, re, secrets, shutil, sqlite3
import statistics, string, struct, tempfile, textwrap, time, unicodedata, urllib.parse, uuid, xml.etree.ElementTree
import zipfile, zlib, zoneinfo
pathlib.Path("a.txt").write_text("hello")
shutil.copyfile("a.txt", "b.txt")
with zipfile.ZipFile("z.zip", "w") as z: z.write("a.txt")
with tempfile.TemporaryDirectory() as d: pathlib.Path(d, "x").write_bytes(b"y")
os.replace("b.txt", "c.txt")
base = sqlite3.connect("data.db"); base.execute("create table t(x)"); base.commit(); base.close()
async def work(): return sum(await asyncio.gather(*[asyncio.sleep(0.001, n) for n in range(5)]))
time.sleep(0.001); uuid.uuid4(); secrets.token_hex()
output = [hashlib.sha256(b"x").hexdigest()[:8], asyncio.run(work()), sorted(os.listdir(".")), os.cpu_count() > 0,
    str(decimal.Decimal(1) / 3), datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).isoformat()]
"""
    assert (await output(code))[:4] == ["2d711642", 10, ["a.txt", "c.txt", "data.db", "z.zip"], True]


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.create_connection(('127.0.0.1', input))",
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "import socket; socket.socket(socket.AF_INET6)",
        "import socket; socket.socket(socket.AF_UNIX)",
        "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "import socket; socket.getaddrinfo('localhost', 80)",
        "import socket; socket.getaddrinfo('a.example', 80)",
        "import urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{input}/')",
        "import socket; socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
        "import os; os.fork()", "import os; os.posix_spawn('/bin/true', ['true'], {})",
        "import subprocess; subprocess.run(['/bin/true'])", "import os; os.execv('/bin/true', ['true'])",
        "import multiprocessing as m; p = m.Process(target=print); p.start()",
        "import threading; threading.Thread(target=print).start()",
        "import os; os.setsid()", "import os; os.setpgid(0, 0)", "import os; os.setuid(12)",
        "import os; os.kill(os.getppid(), 0)", "import os; os.kill(-1, 0)", "import os; os.kill(1, 0)",
        "import os; os.memfd_create('x')", "import os; os.pidfd_open(os.getppid())",
        "import resource as r; r.setrlimit(r.RLIMIT_CPU, (1000, 1000))",
        "import resource as r; r.prlimit(0, r.RLIMIT_AS, (1, 1))",
        "import os; os.unshare(0x10000000)" if sys.version_info >= (3, 12) else "import os; os.chroot('/')",
    ],
)  # fmt: skip
async def test_given_a_way_out_of_the_process_when_tried_then_it_is_shut(code: str) -> None:
    async with await asyncio.start_server(lambda reader, writer: heard.append(1), "127.0.0.1", 0) as server:
        heard: list[int] = []
        error = await raised(code, server.sockets[0].getsockname()[1])

    assert error.startswith(("PermissionError", "OSError", "RuntimeError", "gaierror", "URLError", "ValueError"))
    assert heard == []


@pytest.mark.parametrize(
    "number", [101, 165, 175, 248, 250, 272, 298, 310, 319, 321, 323, 425, 428, 430, 434, 438, 442, 451, 0x40000000]
)
async def test_given_a_raw_system_call_when_made_then_it_is_refused(number: int) -> None:
    """ptrace, mount, init_module, add_key, keyctl, unshare, perf, process_vm, memfd, bpf, userfaultfd, io_uring, ..."""
    result, error = await output(CALL, [number, 0, 0, 0, 0])

    assert result == -1
    assert error in (1, 38)


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "/etc/hostname", "/proc/self/environ", "/proc/1/environ", "/proc/1/maps", "/proc/self/mem",
     "/proc/{parent}/environ", "/proc/{parent}/mem", "/proc/{parent}/cmdline", "/proc/{parent}/fd/0", "/dev/mem",
     "/sys/kernel/notes", "{file}", "{folder}/../other"],
)  # fmt: skip
async def test_given_a_file_outside_when_read_then_it_is_refused_also_to_the_same_user(
    path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WAYBILL_LLM_API_KEY", "secret-key")
    (tmp_path / "file").write_text("secret-key")
    code = "import os\np = input.format(parent=os.getppid(), folder=os.getcwd())\nfor _ in open(p, 'rb'): print(_)"

    came = await ran(code, path.replace("{file}", str(tmp_path / "file")))

    assert came.ending is Ending.RAISED
    assert came.detail.startswith(("PermissionError", "FileNotFoundError"))
    assert "secret-key" not in came.stdout


async def test_given_folders_outside_when_listed_then_they_are_refused_and_the_environment_is_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WAYBILL_LLM_API_KEY", "secret-key")
    for folder in ("/", "/tmp", "/proc", "/proc/self", "/home", "/root", "/etc", os.getcwd()):
        assert (await raised("import os; os.listdir(input)", folder)).startswith(("PermissionError", "FileNotFound"))
    assert set(await output("import os; output = dict(os.environ)")) <= {"HOME", "TMPDIR", "LC_CTYPE"}
    assert not [path for path in await output("import sys; output = sys.path") if "site-packages" in path or not path]


@pytest.mark.parametrize(
    "code",
    [
        "open(input, 'w')", "open(input, 'a')", "open(input + 'new', 'x')", "import os; os.unlink(input)",
        "import os; os.rename(input, 'stolen')", "import os; os.rename('own', input)", "import os; os.chmod(input, 0)",
        "import os; os.chown(input, 1, 1)", "import os; os.utime(input)", "import os; os.truncate(input, 0)",
        "import os; os.open(input, os.O_RDONLY | os.O_TRUNC)", "import os; os.link(input, 'mine')",
        "import os; os.symlink(input, 'mine')", "import os; os.mkdir(input + 'new')", "import os; os.mkfifo('pipe')",
        "import os; os.setxattr(input, 'user.a', b'b')", "import os; os.mknod('node')",
    ],
)  # fmt: skip
async def test_given_a_file_outside_when_changed_then_it_stays_as_it_was(code: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("as it was")
    before = file.stat()

    error = await raised(f"open('own', 'w').close()\n{code}", str(file))

    assert error.startswith(("PermissionError", "OSError"))
    assert os.listdir(tmp_path) == ["file"]
    assert (file.stat(), file.read_text()) == (before, "as it was")


async def test_given_a_file_that_may_be_read_when_cut_off_then_it_is_refused() -> None:
    standard = os.path.realpath(asyncio.__file__)

    assert (await raised("import os; os.open(input, os.O_RDONLY | os.O_TRUNC)", standard)).startswith("PermissionError")
    assert (await raised("open(input, 'a')", standard)).startswith("PermissionError")


async def test_given_a_processor_burnt_when_over_the_limit_then_it_ends_whatever_it_ignores() -> None:
    limits = replace(LIMITS, cpu_seconds=1)

    assert (await ran("while True: pass", limits=limits)).ending is Ending.CPU
    stubborn = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    assert (await ran(stubborn, limits=limits)).ending is Ending.KILLED
    assert (await ran("10 ** 10 ** 10", limits=limits)).ending in (Ending.CPU, Ending.RAISED)


@pytest.mark.parametrize("code", ["x = bytearray(10**9)", "x = []\nwhile True: x.append('y' * 10**6 + str(len(x)))"])
async def test_given_memory_over_the_limit_when_taken_then_it_is_refused(code: str) -> None:
    assert await raised(code) == "MemoryError"


async def test_given_a_hang_when_the_clock_runs_out_then_it_ends() -> None:
    limits = replace(LIMITS, wall_seconds=0.5)

    assert (await ran("import time; time.sleep(1000)", limits=limits)).ending is Ending.CLOCK
    deaf = "import signal, time\nfor n in range(1, 32):\n  try: signal.signal(n, signal.SIG_IGN)\n  except OSError: 0\n"
    assert (await ran(f"{deaf}while True: time.sleep(1)", limits=limits)).ending is Ending.CLOCK


@pytest.mark.parametrize(
    ("code", "which"),
    [
        ("while True: print('x' * 1000)", "stdout"), ("import os\nwhile True: os.write(2, b'x' * 1000)", "stderr"),
        ("output = 'x' * 2_000_000", "result"),
    ],
)  # fmt: skip
async def test_given_a_flood_of_output_when_over_the_limit_then_it_ends_and_the_beginning_is_kept(
    code: str, which: str
) -> None:
    came = await ran(code)

    assert (came.ending, came.detail) == (Ending.OUTPUT, which)
    assert len(came.stdout) + len(came.stderr) == (MIB if which != "result" else 0)


@pytest.mark.parametrize(
    "code",
    [
        "n = 0\nwhile True:\n  open(str(n), 'w').write('x'); n += 1",
        "import time\nfor n in range(5): open(str(n), 'wb').write(b'x' * 4_000_000)\nwhile True: time.sleep(1)",
        "import os, time\nwhile True: os.mkdir('d'); os.chdir('d')",
    ],
)  # fmt: skip
async def test_given_a_flood_of_files_when_over_the_limit_then_it_ends_and_nothing_is_left(
    code: str, tmp_path: Path
) -> None:
    came = await run(code, None, replace(LIMITS, disk_bytes=16 * MIB, cpu_seconds=30), str(tmp_path))

    assert came.ending is Ending.DISK
    assert os.listdir(tmp_path) == []


async def test_given_one_file_too_large_or_too_many_open_when_written_then_it_is_refused() -> None:
    assert (await raised("open('a', 'wb').write(b'x' * 17_000_000)")).startswith("OSError: [Errno 27]")
    assert (await raised("x = [open(str(n), 'w') for n in range(100)]")).startswith("OSError: [Errno 24]")


@pytest.mark.parametrize(
    ("code", "ending", "detail"),
    [
        ("import sys; sys.exit(3)", Ending.RAISED, "SystemExit: 3"), ("import os; os._exit(3)", Ending.EXITED, "3"),
        ("import os; os._exit(0)", Ending.EXITED, "0"), ("1 / 0", Ending.RAISED, "ZeroDivisionError: division by zero"),
        ("import os; os.kill(os.getpid(), 9)", Ending.KILLED, "SIGKILL"),
        ("import ctypes; ctypes.string_at(0)", Ending.KILLED, "SIGSEGV"), ("def", Ending.RAISED, "SyntaxError: "),
        ("output = {1, 2}", Ending.RAISED, "TypeError: "), ("output = float('nan')", Ending.RAISED, "ValueError: "),
        ("def main(n): return main(n)", Ending.RAISED, "RecursionError"),
        ("class E(Exception):\n  def __str__(self): 1/0\nraise E", Ending.RAISED, "E"),
        ("import sys; sys.stdout = sys.stderr = None; 1 / 0", Ending.RAISED, "ZeroDivisionError"),
        ("raise KeyboardInterrupt", Ending.RAISED, "KeyboardInterrupt"), ("\0", Ending.RAISED, ""),
    ],
)  # fmt: skip
async def test_given_a_way_to_end_when_taken_then_it_is_told(code: str, ending: Ending, detail: str) -> None:
    came = await ran(code)

    assert came.ending is ending
    assert came.detail.startswith(detail)


async def test_given_a_snippet_that_raises_when_run_then_its_line_is_shown_and_nothing_of_ours() -> None:
    came = await ran("def main(n):\n    return n / 0", 1)

    assert "return n / 0" in came.stderr
    assert OWN_PATH not in came.stderr


@pytest.mark.parametrize(
    "answer", ["nonsense", "{}", "[1]", '{"missing": 3}', '{"output": 1}{"output": 2}', "[" * 9999]
)
async def test_given_a_snippet_that_answers_by_itself_when_it_ends_then_nothing_but_its_own_result_is_at_stake(
    answer: str,
) -> None:
    code = "import os\nfor fd in range(3, 24):\n  try: os.write(fd, input.encode())\n  except OSError: 0\nos._exit(0)"

    assert (await ran(code, answer)).ending is Ending.EXITED


async def test_given_a_snippet_when_cancelled_then_its_process_and_its_folder_are_gone(tmp_path: Path) -> None:
    running = asyncio.create_task(run("import time; time.sleep(1000)", None, LIMITS, str(tmp_path)))
    while not (children := _inside(psutil.Process())):
        await asyncio.sleep(0.01)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    assert os.listdir(tmp_path) == []


OWNER = f"""
import asyncio, json, sys
sys.path.insert(0, {OWN_PATH!r})
from waybill_worker.sandbox.launch import run
from waybill_worker.sandbox.limits import Limits
print(json.dumps(asyncio.run(run(sys.argv[1], None, Limits(), sys.argv[2])).output))
"""


async def test_given_a_worker_that_is_killed_when_a_snippet_runs_then_the_snippet_dies_with_it(tmp_path: Path) -> None:
    code = "import time\nwhile True: time.sleep(1)"
    with subprocess.Popen([sys.executable, "-c", OWNER, code, str(tmp_path)]) as owner:
        process = psutil.Process(owner.pid)
        while not (children := _inside(process)):
            await asyncio.sleep(0.01)
        owner.send_signal(signal.SIGKILL)

    async with asyncio.timeout(30):
        while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children):
            await asyncio.sleep(0.01)


def test_given_a_user_without_privileges_when_a_snippet_looks_at_its_worker_then_it_sees_nothing() -> None:
    """The worker and the snippet are the same user, as they are in a container."""
    code = """
import os
seen = {}
for what in ("environ", "mem", "maps", "cwd", "exe"):
    path = f"/proc/{os.getppid()}/{what}"
    try: seen[what] = os.readlink(path) if what in ("cwd", "exe") else open(path, "rb").read(100)
    except OSError as error: seen[what] = error.errno
try: os.kill(os.getppid(), 9)
except OSError as error: seen["kill"] = error.errno
output = [os.getuid(), seen]
"""
    # The interpreter may lie where only its owner may look; the capability lets that user start it all the same.
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    nobody += ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    command = [*(nobody if os.geteuid() == 0 else []), sys.executable, "-c", OWNER, code, "/tmp"]

    done = subprocess.run(
        command, env={**os.environ, "API_KEY": "secret-key"}, capture_output=True, timeout=60, check=True
    )

    user, seen = json.loads(done.stdout)
    assert user == (65534 if os.geteuid() == 0 else os.geteuid())
    assert set(seen.values()) <= {1, 13}
    assert len(seen) == 6


def _inside(process: psutil.Process) -> list[psutil.Process]:
    """The processes of snippets that have entered their sandbox."""
    return [
        child
        for child in process.children()
        if "waybill_worker.sandbox.inside" in " ".join(child.cmdline())
        and "Seccomp:\t2" in Path(f"/proc/{child.pid}/status").read_text()
    ]
