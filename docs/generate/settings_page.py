"""The page of settings: every environment variable of every settings class."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

import annotated_types
import typer.main
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings
from tables import code, table
from waybill_dispatcher.settings import DispatcherSettings
from waybill_gateway.settings import GatewaySettings
from waybill_planner.settings import PlannerSettings
from waybill_worker.agents.http_settings import HttpSettings
from waybill_worker.agents.python_settings import PythonSettings
from waybill_worker.agents.tools_config import ToolSettings
from waybill_worker.settings import WorkerSettings
from waybill_worker.sources.keeping import IndexSettings
from waybill_worker.sources.roots import SourceSettings

from waybill.cli.main import app

SERVICES: tuple[tuple[str, tuple[type[BaseSettings], ...]], ...] = (
    ("Gateway", (GatewaySettings,)),
    ("Planner", (PlannerSettings,)),
    ("Dispatcher", (DispatcherSettings,)),
    ("Worker", (WorkerSettings, SourceSettings, IndexSettings, ToolSettings, HttpSettings, PythonSettings)),
)
_MADE_DEFAULTS = {"name": "the machine's host name"}

_INTRODUCTION = """
# Settings

Services are configured by environment variables alone, read once at their start. Every variable has a default that is
safe. A value that does not fit ends the process at its start, with an error that names the setting and its limit.

`waybill up` and `waybill run` choose the ports, the addresses between the services, the workers' names and the time of
shutdown by themselves. They pass on every other variable that is set.
"""

_OTHERS = """
## Models

Read by the services that ask models: workers and the planner. [How to configure models](../howto/models.md) shows them.

| Variable | Default | Meaning |
| --- | --- | --- |
| `WAYBILL_LLM_BASE_URL` | none | URL of an endpoint that speaks OpenAI's Chat Completions. |
| `WAYBILL_LLM_MODEL` | none | The provider's name of the model there. |
| `WAYBILL_LLM_API_KEY` | none | The key of the endpoint, if it wants one. |
| `WAYBILL_LLM_API_KEY_FILE` | none | A file with the key instead. |
| `WAYBILL_LLM_CONFIG_FILE` | none | A TOML file with several endpoints and models, in place of the variables above. |
| `WAYBILL_LLM_KEEP_PROMPTS` | `false` | Whether what models are asked and answer is kept with each step. |

## Traces

| Variable | Default | Meaning |
| --- | --- | --- |
| `OTEL_EXPORTER_OTLP_ENDPOINT` | none | Where spans are sent, by OTLP over gRPC. Without it none are recorded. |
| `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` | none | The same, for traces alone. |
| `OTEL_TRACES_SAMPLER` | `parentbased_always_on` | Which traces are recorded. |

The exporter and the sampler follow the other standard `OTEL_*` variables too.
"""


def page() -> str:
    """The page."""
    parts = [_INTRODUCTION]
    for service, classes in SERVICES:
        rows = [row for settings in classes for row in _rows(settings)]
        parts.append(f"## {service}\n\n{table(('Variable', 'Default', 'Meaning'), rows)}")
    parts.append(f"## Command line\n\n{table(('Variable', 'Default', 'Meaning'), _options())}")
    return "\n".join(parts) + _OTHERS


def _options() -> Iterator[tuple[str, str, str]]:
    """The variables of the command line, beside those that services have too."""
    known = {
        _variable(kind, *item) for _, classes in SERVICES for kind in classes for item in kind.model_fields.items()
    }
    for command in typer.main.get_command(app).commands.values():  # type: ignore[attr-defined]
        for option in command.params:
            if option.envvar and option.envvar not in known:
                known.add(option.envvar)
                yield code(option.envvar), code(str(option.default)), option.help


def _rows(settings: type[BaseSettings]) -> Iterator[tuple[str, str, str]]:
    for name, field in settings.model_fields.items():
        meaning = " ".join(part for part in (_meaning(settings, name), _limits(field)) if part)
        yield code(_variable(settings, name, field)), _default(name, field), meaning


def _variable(settings: type[BaseSettings], name: str, field: FieldInfo) -> str:
    if isinstance(field.validation_alias, str):
        return field.validation_alias
    return f"{settings.model_config.get('env_prefix', '')}{name}".upper()


def _default(name: str, field: FieldInfo) -> str:
    if field.default_factory is not None:
        return _MADE_DEFAULTS[name]
    default: Any = field.default
    if default in ("", ()):
        return "empty"
    return code(str(default).lower() if isinstance(default, bool) else str(default))


def _limits(field: FieldInfo) -> str:
    limits: dict[str, Any] = {}
    for item in field.metadata:
        for kind in (annotated_types.Ge, annotated_types.Gt, annotated_types.Le):
            if isinstance(item, kind):
                limits[kind.__name__.lower()] = getattr(item, kind.__name__.lower())
    low = f"from {limits['ge']:,}" if "ge" in limits else f"over {limits['gt']:,}" if "gt" in limits else ""
    high = f"to {limits['le']:,}" if "le" in limits else ""
    bounds = " ".join(part for part in (low, high) if part)
    return bounds[:1].upper() + bounds[1:] + "." if bounds else ""


def _meaning(settings: type[BaseSettings], name: str) -> str:
    """The docstring below a field, of the first class that has one."""
    for kind in settings.__mro__:
        if kind is not BaseSettings and issubclass(kind, BaseSettings):
            found = _docstrings(kind).get(name)
            if found:
                return found
    raise ValueError(f"{settings.__name__}.{name} has no docstring")


def _docstrings(kind: type) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for statement, following in zip(body.body, body.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(following, ast.Expr):
            assert isinstance(statement.target, ast.Name)
            found[statement.target.id] = ast.literal_eval(following.value)
    return found
