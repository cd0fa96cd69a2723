"""The agent `python`: runs a snippet in a process that can reach nothing but its input, its output and a folder."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field

from waybill import Context, agent
from waybill.core.limits import MAX_INPUT_BYTES
from waybill.errors import AgentError, Permanent
from waybill_worker.agents.python_settings import PythonSettings

if TYPE_CHECKING:
    from waybill_worker.sandbox.launch import Run
    from waybill_worker.sandbox.limits import Limits

MAX_TIMEOUT_SECONDS = 600.0
_MAX_TOLD_CHARS = 500


class PythonResult(BaseModel):
    """What `python` returns."""

    output: Any = Field(description="what `main` returned, or the value of `output`; JSON")
    stdout: str = Field(description="what the snippet printed")
    stderr: str = Field(description="what it wrote to stderr")


@agent
async def python(
    ctx: Context,
    code: Annotated[str, Field(min_length=1, max_length=MAX_INPUT_BYTES, description="the snippet")],
    input: Annotated[Any, Field(description="JSON value that the snippet finds as `input`")] = None,
    timeout_seconds: Annotated[float, Field(gt=0, le=MAX_TIMEOUT_SECONDS, description="by the clock")] = 30.0,
    cpu_seconds: Annotated[int, Field(ge=1, description="of a processor's time, as far as the operator allows")] = 10,
    memory_mib: Annotated[int, Field(ge=64, description="of memory, as far as the operator allows")] = 256,
) -> PythonResult:
    """Run a snippet of Python in a sandbox, and return what it made.

    The snippet finds `input`, and either defines `main(input)`, whose result counts, or sets `output`. It has the
    standard library and a folder of its own, which is removed after it. It has no network, no other files, no
    environment, and can start neither processes nor threads. A snippet that raises, ends with an exit code or crosses
    a limit fails its step for good; only the clock and a death that it did not cause are worth a retry.
    """
    from waybill_worker.sandbox import launch

    limits = _limits(timeout_seconds, cpu_seconds, memory_mib)
    try:
        await asyncio.to_thread(_sweep)
        run = await launch.run(code, input, limits)
    except OSError as error:
        raise AgentError(f"no process could be started: {error.strerror}", reason="PROCESS_NOT_STARTED") from error
    return _result(run, limits)


def _limits(timeout_seconds: float, cpu_seconds: int, memory_mib: int) -> Limits:
    from waybill_worker.sandbox.limits import MIB, Limits

    settings = PythonSettings()
    for name, asked, most in (
        ("cpu_seconds", cpu_seconds, settings.python_max_cpu_seconds),
        ("memory_mib", memory_mib, settings.python_max_memory_mib),
    ):
        if asked > most:
            raise Permanent(f"{name}: {asked}; the operator allows at most {most}", reason="INPUT_INVALID")
    return Limits(cpu_seconds=cpu_seconds, memory_bytes=memory_mib * MIB, wall_seconds=timeout_seconds)


def _result(run: Run, limits: Limits) -> PythonResult:
    """The result of a snippet that returned. Raises Permanent, or AgentError where another attempt may go better."""
    from waybill_worker.sandbox.launch import Ending

    told = run.detail[:_MAX_TOLD_CHARS]
    match run.ending:
        case Ending.RETURNED:
            return PythonResult(output=run.output, stdout=run.stdout, stderr=run.stderr)
        case Ending.RAISED:
            raise Permanent(f"the snippet raised {told}{_last_line(run.stderr)}", reason="SNIPPET_RAISED")
        case Ending.EXITED:
            raise Permanent(f"the snippet ended its process, with exit code {told}", reason="SNIPPET_EXITED")
        case Ending.CPU:
            limit = f"{limits.cpu_seconds} s of a processor (cpu_seconds)"
            raise Permanent(f"the snippet took more than {limit}", reason="SNIPPET_CPU_LIMIT")
        case Ending.CLOCK:
            limit = f"{limits.wall_seconds:g} s (timeout_seconds)"
            raise AgentError(f"the snippet ran longer than {limit}", reason="SNIPPET_TIMEOUT")
        case Ending.OUTPUT:
            problem = f"the {told} of the snippet has more than {limits.output_bytes} bytes"
            raise Permanent(problem, reason="SNIPPET_OUTPUT_LIMIT")
        case Ending.DISK:
            raise Permanent(f"the snippet keeps more than {told} in its folder", reason="SNIPPET_DISK_LIMIT")
        case Ending.KILLED:
            raise AgentError(f"the process of the snippet was killed by {told}", reason="SNIPPET_KILLED")
        case Ending.MISSING:
            problem = "this worker cannot keep a snippet inside a sandbox, so it runs none"
            raise Permanent(f"{problem}: {told}", reason="SANDBOX_MISSING")


def _last_line(stderr: str) -> str:
    """Where in the snippet it was raised, as the traceback says."""
    lines = [line.strip() for line in stderr.splitlines() if line.startswith('  File "<snippet>", line ')]
    return f" at {lines[-1].removeprefix('File ')}" if lines else ""


@cache
def _sweep() -> None:
    """Once in a process: remove what snippets of killed workers left behind."""
    from waybill_worker.sandbox.folder import sweep

    sweep()
