"""How models are configured: by variables, by a file, and every mistake told by its name."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from waybill.errors import Permanent
from waybill.models.config import load

URL, KEY = "https://models.example.org/v1", "sk-very-secret"
SIMPLE = {"WAYBILL_LLM_BASE_URL": URL + "/", "WAYBILL_LLM_MODEL": "gpt-4o-mini"}
WHOLE = """
default = "fast"
planner = "deep"
keep_prompts = true

[endpoints.main]
base_url = "https://models.example.org/v1"
api_key_file = "key"
max_concurrency = 8
requests_per_minute = 500
tokens_per_minute = 200000

[endpoints.spare]
base_url = "http://127.0.0.1:8000/v1"
api_key_env = "SPARE_KEY"

[models.fast]
endpoint = "main"
model = "small-1"
fallbacks = ["spare"]
max_output_tokens = 800
input_usd_per_million = 0.15
output_usd_per_million = 0.6
cached_input_usd_per_million = 0.075

[models.deep]
endpoint = "main"
model = "large-1"
cheaper = "fast"
timeout_seconds = 300
first_token_timeout_seconds = 60

[models.spare]
endpoint = "spare"
model = "local"

[agents]
writer = "deep"
"""


def written(folder: Path, text: str) -> dict[str, str]:
    (folder / "key").write_text(KEY + "\n")
    (folder / "models.toml").write_text(text)
    return {"WAYBILL_LLM_CONFIG_FILE": str(folder / "models.toml"), "SPARE_KEY": KEY}


def test_given_nothing_when_loaded_then_there_is_no_model() -> None:
    assert load({}) is None
    assert load({"WAYBILL_LLM_BASE_URL": " ", "WAYBILL_LLM_KEEP_PROMPTS": "true", "OPENAI_API_KEY": KEY}) is None


@pytest.mark.parametrize("key", [{}, {"WAYBILL_LLM_API_KEY": KEY}])
def test_given_variables_alone_when_loaded_then_there_is_one_model_named_default(key: dict[str, str]) -> None:
    models = load({**SIMPLE, **key})

    assert models is not None
    assert (models.name_for("any"), models.planner, models.keep_prompts) == ("default", "default", False)
    assert (models.endpoint_of("default").base_url, models.models["default"].model) == (URL, "gpt-4o-mini")
    assert models.endpoint_of("default").api_key.get_secret_value() == key.get("WAYBILL_LLM_API_KEY", "")
    assert models.limit_of("any") == "model:default"


def test_given_a_key_in_a_file_when_loaded_then_it_is_read_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY + "\n")

    models = load({**SIMPLE, "WAYBILL_LLM_API_KEY_FILE": str(tmp_path / "key"), "WAYBILL_LLM_KEEP_PROMPTS": "true"})

    assert models is not None
    assert models.endpoint_of("default").api_key.get_secret_value() == KEY
    assert models.keep_prompts


def test_given_a_file_when_loaded_then_all_of_it_is_known(tmp_path: Path) -> None:
    models = load(written(tmp_path, WHOLE))

    assert models is not None
    assert (models.name_for("writer"), models.name_for("analyst"), models.planner) == ("deep", "fast", "deep")
    assert models.name_for("analyst", "spare") == "spare"
    assert models.limit_of("writer") == "model:main"
    assert models.models["fast"].input_usd_per_million == Decimal("0.15")
    assert models.models["deep"].cheaper == "fast"
    assert [endpoint.api_key.get_secret_value() for endpoint in models.endpoints.values()] == [KEY, KEY]
    assert models.keep_prompts


def test_given_one_model_in_a_file_when_loaded_then_it_is_the_default(tmp_path: Path) -> None:
    text = f'[endpoints.a]\nbase_url = "{URL}"\n[models.only]\nendpoint = "a"\nmodel = "m"\n'

    models = load(written(tmp_path, text))

    assert models is not None
    assert (models.default, models.planner) == ("only", "only")


def test_given_a_model_that_is_not_there_when_asked_for_then_the_error_names_those_that_are(tmp_path: Path) -> None:
    models = load(written(tmp_path, WHOLE))

    assert models is not None
    with pytest.raises(Permanent, match="deep, fast, spare"):
        models.name_for("writer", "gpt")


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"WAYBILL_LLM_BASE_URL": URL}, "WAYBILL_LLM_MODEL: is not set"),
        ({"WAYBILL_LLM_MODEL": "m"}, "WAYBILL_LLM_BASE_URL: is not set"),
        ({"WAYBILL_LLM_API_KEY": KEY}, "WAYBILL_LLM_BASE_URL: is not set"),
        ({**SIMPLE, "WAYBILL_LLM_BASE_URL": "models"}, "WAYBILL_LLM_BASE_URL: must be an http or https URL"),
        ({**SIMPLE, "WAYBILL_LLM_BASE_URL": f"https://user:{KEY}@h/v1"}, "WAYBILL_LLM_BASE_URL: must have no user"),
        ({**SIMPLE, "WAYBILL_LLM_MODEL": "m" * 300}, "WAYBILL_LLM_MODEL: "),
        ({**SIMPLE, "WAYBILL_LLM_API_KEY": KEY, "WAYBILL_LLM_API_KEY_FILE": "k"}, "exclude each other"),
        ({**SIMPLE, "WAYBILL_LLM_API_KEY": f"{KEY}\nX: y"}, "WAYBILL_LLM_API_KEY: a key is"),
        ({**SIMPLE, "WAYBILL_LLM_API_KEY_FILE": "no/such"}, "WAYBILL_LLM_API_KEY_FILE: no/such cannot be read"),
        ({**SIMPLE, "WAYBILL_LLM_CONFIG_FILE": "x"}, "WAYBILL_LLM_CONFIG_FILE and WAYBILL_LLM_BASE_URL exclude"),
        ({"WAYBILL_LLM_CONFIG_FILE": "no/such"}, "WAYBILL_LLM_CONFIG_FILE: no/such cannot be read"),
        ({**SIMPLE, "WAYBILL_LLM_KEEP_PROMPTS": "perhaps"}, "WAYBILL_LLM_KEEP_PROMPTS: must be true or false"),
    ],
)
def test_given_wrong_variables_when_loaded_then_the_error_names_them_and_no_secret(
    environment: dict[str, str], told: str
) -> None:
    with pytest.raises(ValueError, match=told) as failed:
        load(environment)

    assert KEY not in str(failed.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("default =", "defaults ="), "defaults: Extra inputs"),
        (('default = "fast"', ""), "default: is not set; name one of the models deep, fast, spare"),
        (('default = "fast"', 'default = "no"'), "default: there is no model no"),
        (('planner = "deep"', 'planner = "no"'), "planner: there is no model no"),
        (('endpoint = "main"', 'endpoint = "no"'), "models.fast.endpoint: there is no endpoint no"),
        (('fallbacks = ["spare"]', 'fallbacks = ["no"]'), r"models.fast.fallbacks\[0\]: there is no model no"),
        (('cheaper = "fast"', 'cheaper = "no"'), "models.deep.cheaper: there is no model no"),
        (('cheaper = "fast"', 'cheaper = "deep"'), "models.deep.cheaper: leads back to deep"),
        (("input_usd_per_million = 0.15\n", ""), "models.fast: input_usd_per_million and output_usd_per_million"),
        (("= 0.15", "= -1"), "models.fast.input_usd_per_million: Input should be greater than or equal to 0"),
        (("= 0.15", '= "cheap"'), "models.fast.input_usd_per_million: "),
        (("max_concurrency = 8", "max_concurrency = -8"), "endpoints.main.max_concurrency: "),
        (("timeout_seconds = 300", "timeout_seconds = 0"), "models.deep.timeout_seconds: "),
        (("[models.spare]", '[models."a b"]'), "models.a b"),
        (('writer = "deep"', 'writer = "no"'), "agents.writer: there is no model no"),
        (('writer = "deep"', 'Writer = "deep"'), "agents.Writer"),
        (('api_key_file = "key"', f'api_key = "{KEY}"'), "endpoints.main.api_key: keys do not go into this file"),
        (('api_key_file = "key"', 'api_key_file = "no"'), "endpoints.main.api_key_file: .*no cannot be read"),
        (('api_key_env = "SPARE_KEY"', 'api_key_env = "NO"'), "endpoints.spare.api_key_env: the variable NO"),
        (('api_key_env = "SPARE_KEY"', 'api_key_env = "A"\napi_key_file = "key"'), "exclude each other"),
        (("[endpoints.main]", "[endpoints.main"), "is not TOML"),
    ],
)
def test_given_a_wrong_file_when_loaded_then_the_error_names_the_field_and_no_secret(
    tmp_path: Path, change: tuple[str, str], told: str
) -> None:
    before, after = change
    assert before in WHOLE

    with pytest.raises(ValueError, match=told) as failed:
        load(written(tmp_path, WHOLE.replace(before, after, 1)))

    assert KEY not in str(failed.value)


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"two\nlines", "schlüssel".encode(), b"k" * 20_000])
def test_given_a_file_without_a_key_when_loaded_then_the_error_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)

    with pytest.raises(ValueError, match="API_KEY"):
        load({**SIMPLE, "WAYBILL_LLM_API_KEY_FILE": str(tmp_path / "key")})


def test_given_a_key_when_the_configuration_is_shown_then_the_key_is_not(tmp_path: Path) -> None:
    for models in (load(written(tmp_path, WHOLE)), load({**SIMPLE, "WAYBILL_LLM_API_KEY": KEY})):
        assert models is not None
        shown = f"{models!r} {models.endpoints!r} {models.models!r} {vars(models)}"
        dumped = [endpoint.model_dump_json() for endpoint in models.endpoints.values()]
        assert KEY not in shown + "".join(dumped)
