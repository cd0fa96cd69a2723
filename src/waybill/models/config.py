"""Which models there are, as the operator says: `WAYBILL_LLM_*` in the environment, or a TOML file that they name.

`load` is what services call. Keys are read from files or other variables, and shown nowhere.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError, field_validator

from waybill.core.limits import AGENT_NAME, LIMIT_KEY
from waybill.errors import Permanent

PREFIX = "WAYBILL_LLM_"
MAX_KEY_BYTES = 16_384
MAX_FALLBACKS = 8
DEFAULT = "default"
"""Name of the one endpoint and the one model that the environment alone describes."""

_Name = Annotated[str, StringConstraints(pattern=rf"^{LIMIT_KEY.pattern}$")]
_AgentName = Annotated[str, StringConstraints(pattern=rf"^{AGENT_NAME.pattern}$")]
_Price = Annotated[Decimal, Field(ge=0, le=1_000_000)]
_Rate = Annotated[int, Field(ge=0, le=10**9)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Endpoint(_Table):
    """A server of models with its key and what may be asked of it; 0 limits nothing."""

    base_url: str
    api_key_file: Path | None = None
    api_key_env: str = ""
    max_concurrency: _Rate = 0
    requests_per_minute: _Rate = 0
    tokens_per_minute: _Rate = 0
    api_key: SecretStr = Field(default=SecretStr(""), exclude=True)
    """The key itself, once it is read; empty for a server that wants none."""

    @field_validator("base_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an http or https URL, such as https://models.example.org/v1")
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ValueError("must have no user, password, query or fragment; the key goes into a file or a variable")
        return value.rstrip("/")


class Model(_Table):
    """One model: where it is, what to do without it, and how long and how much it may answer.

    Prices are US dollars per million tokens; without them the list of known prices is asked.
    """

    endpoint: _Name
    model: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    """The provider's name of it."""
    fallbacks: Annotated[tuple[_Name, ...], Field(max_length=MAX_FALLBACKS)] = ()
    """Models that are asked, in this order, when this one fails or is limited."""
    cheaper: _Name | None = None
    """The model to use instead where a budget does not allow this one."""
    max_output_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    """Most that one answer may have, where an agent asks for no less; a budget reserves as much for each call."""
    timeout_seconds: Annotated[float, Field(gt=0, le=86_400)] = 120.0
    first_token_timeout_seconds: Annotated[float, Field(gt=0, le=86_400)] = 30.0
    input_usd_per_million: _Price | None = None
    output_usd_per_million: _Price | None = None
    cached_input_usd_per_million: _Price | None = None


class _File(_Table):
    endpoints: dict[_Name, Endpoint] = Field(min_length=1)
    models: dict[_Name, Model] = Field(min_length=1)
    agents: dict[_AgentName, _Name] = {}
    default: _Name = ""
    planner: _Name = ""
    keep_prompts: bool = False


class Models:
    """All models that an operator has set up. `keep_prompts`: what was asked and answered is kept with the step."""

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        models: Mapping[str, Model],
        *,
        default: str,
        planner: str = "",
        agents: Mapping[str, str] | None = None,
        keep_prompts: bool = False,
    ) -> None:
        self.endpoints = dict(endpoints)
        self.models = dict(models)
        self.default = default
        self.planner = planner or default
        self.agents = dict(agents or {})
        self.keep_prompts = keep_prompts

    def __repr__(self) -> str:
        return f"Models({sorted(self.models)}, default={self.default!r})"

    def name_for(self, agent: str, asked: str = "") -> str:
        """The model of an agent, or the one it asks for. Raises Permanent (MODEL_MISSING) for an unknown one."""
        name = asked or self.agents.get(agent, self.default)
        if name not in self.models:
            known = ", ".join(sorted(self.models))
            raise Permanent(f"there is no model {asked[:80]!r}; there are: {known}", reason="MODEL_MISSING")
        return name

    def endpoint_of(self, name: str) -> Endpoint:
        """The endpoint of a model."""
        return self.endpoints[self.models[name].endpoint]

    def limit_of(self, agent: str) -> str:
        """Name of the limit that the calls of an agent come under, such as `model:default`."""
        return f"model:{self.models[self.name_for(agent)].endpoint}"


def model_missing() -> Permanent:
    """The error of an agent that wants a model where none is set up."""
    return Permanent(
        f"no model is configured: set {PREFIX}BASE_URL and {PREFIX}MODEL, or {PREFIX}CONFIG_FILE",
        reason="MODEL_MISSING",
    )


def load(environment: Mapping[str, str] | None = None) -> Models | None:
    """The models that the environment describes; None if it describes none.

    Raises ValueError that names every field that is wrong.
    """
    environment = os.environ if environment is None else environment
    settings = {
        name.removeprefix(PREFIX).lower(): value.strip()
        for name, value in environment.items()
        if name.startswith(PREFIX) and value.strip()
    }
    keep_prompts = _flag(settings.pop("keep_prompts", ""))
    file, simple = settings.pop("config_file", ""), [name for name in _SIMPLE if name in settings]
    if file and simple:
        raise ValueError(f"{PREFIX}CONFIG_FILE and {_variable(simple[0])} exclude each other: unset one of them")
    if file:
        return _read_file(Path(file), environment, keep_prompts)
    if not simple:
        return None
    return _from_environment(settings, keep_prompts)


_SIMPLE = ("base_url", "model", "api_key", "api_key_file")


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _flag(text: str) -> bool | None:
    """None where nothing is said."""
    if not text:
        return None
    if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
        raise ValueError(f"{PREFIX}KEEP_PROMPTS: must be true or false")
    return text.lower() in ("true", "1", "yes")


def _from_environment(settings: Mapping[str, str], keep_prompts: bool | None) -> Models:
    for name in ("base_url", "model"):
        if name not in settings:
            raise ValueError(f"{_variable(name)}: is not set; a model needs {PREFIX}BASE_URL and {PREFIX}MODEL")
    if "api_key" in settings and "api_key_file" in settings:
        raise ValueError(f"{PREFIX}API_KEY and {PREFIX}API_KEY_FILE exclude each other: unset one of them")
    key = settings.get("api_key", "")
    if "api_key_file" in settings:
        key = _key_in(Path(settings["api_key_file"]), _variable("api_key_file"))
    with _errors_as("", _variable):
        endpoint = Endpoint(base_url=settings["base_url"], api_key=_usable(key, _variable("api_key")))
        model = Model(endpoint=DEFAULT, model=settings["model"])
    return Models({DEFAULT: endpoint}, {DEFAULT: model}, default=DEFAULT, keep_prompts=bool(keep_prompts))


def _read_file(path: Path, environment: Mapping[str, str], keep_prompts: bool | None) -> Models:
    where = f"{PREFIX}CONFIG_FILE"
    try:
        table = tomllib.loads(path.read_text("utf-8"), parse_float=Decimal)
    except OSError as error:
        raise ValueError(f"{where}: {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{where}: {path} is not TOML: {error}") from error
    with _errors_as(f"{path}: "):
        file = _File.model_validate(table)
    problems = _unresolved(file)
    endpoints = {}
    for name, endpoint in file.endpoints.items():
        try:
            endpoints[name] = endpoint.model_copy(update={"api_key": _key_of(name, endpoint, path, environment)})
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError(f"{path}: {'; '.join(problems)}")
    return Models(
        endpoints,
        file.models,
        default=file.default or next(iter(file.models)),
        planner=file.planner,
        agents=file.agents,
        keep_prompts=file.keep_prompts if keep_prompts is None else keep_prompts,
    )


def _unresolved(file: _File) -> list[str]:
    """What is wrong between the tables."""
    problems = []
    names: list[tuple[str, str]] = [("default", file.default), ("planner", file.planner)]
    names += [(f"agents.{agent}", model) for agent, model in file.agents.items()]
    if not file.default and len(file.models) > 1:
        problems.append(f"default: is not set; name one of the models {', '.join(sorted(file.models))}")
    for name, model in file.models.items():
        if model.endpoint not in file.endpoints:
            problems.append(f"models.{name}.endpoint: there is no endpoint {model.endpoint}")
        if (model.input_usd_per_million is None) != (model.output_usd_per_million is None):
            problems.append(f"models.{name}: input_usd_per_million and output_usd_per_million go together")
        if model.cached_input_usd_per_million is not None and model.input_usd_per_million is None:
            problems.append(f"models.{name}.cached_input_usd_per_million: needs input_usd_per_million too")
        names += [(f"models.{name}.fallbacks[{at}]", other) for at, other in enumerate(model.fallbacks)]
        names.append((f"models.{name}.cheaper", model.cheaper or ""))
        if _cheaper_goes_round(name, file.models):
            problems.append(f"models.{name}.cheaper: leads back to {name}")
    problems += [f"{field}: there is no model {name}" for field, name in names if name and name not in file.models]
    return problems


def _cheaper_goes_round(start: str, models: Mapping[str, Model]) -> bool:
    name, seen = models[start].cheaper, set[str]()
    while name and name in models and name not in seen:
        if name == start:
            return True
        seen.add(name)
        name = models[name].cheaper
    return False


def _key_of(name: str, endpoint: Endpoint, config: Path, environment: Mapping[str, str]) -> SecretStr:
    field = f"endpoints.{name}"
    if endpoint.api_key.get_secret_value():
        raise ValueError(f"{field}.api_key: keys do not go into this file; use api_key_file or api_key_env")
    if endpoint.api_key_file is not None and endpoint.api_key_env:
        raise ValueError(f"{field}: api_key_file and api_key_env exclude each other")
    if endpoint.api_key_file is not None:
        return _usable(_key_in(config.parent / endpoint.api_key_file, f"{field}.api_key_file"), f"{field}.api_key_file")
    if endpoint.api_key_env:
        key = environment.get(endpoint.api_key_env, "").strip()
        if not key:
            raise ValueError(f"{field}.api_key_env: the variable {endpoint.api_key_env} is not set")
        return _usable(key, f"{field}.api_key_env")
    return SecretStr("")


def _key_in(path: Path, field: str) -> str:
    try:
        key = path.read_bytes()[: MAX_KEY_BYTES + 1].decode("ascii").strip()
    except OSError as error:
        raise ValueError(f"{field}: {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ValueError(f"{field}: {path} holds no key: it is not ASCII text") from None
    if not key:
        raise ValueError(f"{field}: {path} is empty")
    return key


def _usable(key: str, field: str) -> SecretStr:
    if len(key) > MAX_KEY_BYTES or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(f"{field}: a key is at most {MAX_KEY_BYTES} visible ASCII characters on one line")
    return SecretStr(key)


@contextmanager
def _errors_as(where: str, named: Callable[[str], str] = str) -> Iterator[None]:
    """Turns pydantic's errors into one ValueError that names the fields and shows no value."""
    try:
        yield
    except ValidationError as error:
        shown = "; ".join(
            f"{named('.'.join(str(part) for part in item['loc']))}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors(include_input=False, include_url=False)
        )
        raise ValueError(f"{where}{shown}") from None
