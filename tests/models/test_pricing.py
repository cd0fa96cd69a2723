"""What tokens cost."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waybill.core.task import Usage
from waybill.models.config import Endpoint, Model, Models
from waybill.models.pricing import Prices

counts = st.integers(0, 10**7)
prices = st.decimals(0, 1000, places=4)


def priced(model: str = "no-such-model", url: str = "http://127.0.0.1:1/v1", **options: Decimal) -> Prices:
    made = Model(endpoint="e", model=model, **options)  # type: ignore[arg-type]
    return Prices(Models({"e": Endpoint(base_url=url)}, {"m": made}, default="m"))


@given(counts, counts, counts, prices, prices, prices)
def test_given_prices_when_a_call_is_priced_then_it_is_the_exact_cost_rounded_up(
    asked: int, told: int, cached: int, dear: Decimal, out: Decimal, cheap: Decimal
) -> None:
    usage = Usage(asked, told, cached_input_tokens=cached)

    cost = priced(
        input_usd_per_million=dear, output_usd_per_million=out, cached_input_usd_per_million=cheap
    ).cost_microusd("m", usage)

    cached = min(cached, asked)
    exact = (asked - cached) * Fraction(dear) + cached * Fraction(cheap) + told * Fraction(out)
    assert cost is not None
    assert exact <= cost < exact + 1


def test_given_no_price_for_cached_tokens_when_priced_then_they_cost_what_others_do() -> None:
    prices = priced(input_usd_per_million=Decimal(3), output_usd_per_million=Decimal(1))

    assert prices.cost_microusd("m", Usage(10, 0, cached_input_tokens=10)) == 30


@pytest.mark.parametrize("url", ["https://api.openai.com/v1", "http://127.0.0.1:1/v1"])
def test_given_a_known_model_when_priced_then_the_list_tells(url: str) -> None:
    prices = priced("gpt-4o-mini", url)

    assert prices.cost_microusd("m", Usage(1_000_000, 0)) == 150_000
    assert prices.cost_microusd("m", Usage(1, 0)) == 1


def test_given_a_price_of_nothing_when_priced_then_it_is_known_and_nothing() -> None:
    free = priced(input_usd_per_million=Decimal(0), output_usd_per_million=Decimal(0))

    assert free.cost_microusd("m", Usage(10, 10)) == 0
    assert priced().cost_microusd("m", Usage(10, 10)) is None


def test_given_prices_of_the_operator_when_the_model_is_known_too_then_the_operator_is_right() -> None:
    prices = priced("gpt-4o-mini", input_usd_per_million=Decimal(1), output_usd_per_million=Decimal(1))

    assert prices.cost_microusd("m", Usage(5, 5)) == 10


@given(counts, counts, counts, counts)
def test_given_more_tokens_when_priced_then_they_never_cost_less(asked: int, told: int, more: int, cached: int) -> None:
    prices = priced("gpt-4o-mini")

    most = prices.cost_microusd("m", Usage(asked + more, told))
    least = prices.cost_microusd("m", Usage(asked, told, cached_input_tokens=min(cached, asked)))

    assert most is not None
    assert least is not None
    assert least <= most


def test_given_a_model_without_a_price_of_its_own_when_prices_are_made_then_the_list_is_read_at_once() -> None:
    code = (
        "import sys\n"
        "from waybill.models.config import Endpoint, Model, Models\nfrom waybill.models.pricing import Prices\n"
        "where = {'e': Endpoint(base_url='http://127.0.0.1:1/v1')}\n"
        "own = Model(endpoint='e', model='m', input_usd_per_million=1, output_usd_per_million=1)\n"
        "Prices(Models(where, {'m': own}, default='m'))\nassert 'genai_prices' not in sys.modules\n"
        "Prices(Models(where, {'m': Model(endpoint='e', model='gpt-4o-mini')}, default='m'))\n"
        "assert 'genai_prices' in sys.modules"
    )

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
