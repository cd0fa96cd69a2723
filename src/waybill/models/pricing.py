"""What tokens cost, in integer micro-dollars, rounded up: by the operator's prices, else by a list of known ones.

The list is the one that comes with the `genai-prices` package; nothing is fetched. A model that neither knows has no
price, which is not the same as a price of nothing.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from waybill.core.task import Usage
from waybill.models.config import Models

_MICROUSD = Decimal(1_000_000)


class Prices:
    """Prices of all configured models, by their names. Made at start-up, as reading the list can take a second."""

    def __init__(self, models: Models) -> None:
        self._models = models
        for name in models.models:
            # The first question reads the list; asked by a call, it would hold up the heartbeat.
            self.cost_microusd(name, Usage(1, 1))

    def cost_microusd(self, name: str, usage: Usage) -> int | None:
        """What so many tokens cost; None if the model has no price."""
        model = self._models.models[name]
        cached = min(usage.cached_input_tokens, usage.input_tokens)
        if model.input_usd_per_million is None or model.output_usd_per_million is None:
            return self._listed(name, usage, cached)
        # Dollars for a million tokens are micro-dollars for one.
        cached_price = model.cached_input_usd_per_million
        cached_price = model.input_usd_per_million if cached_price is None else cached_price
        cost = (usage.input_tokens - cached) * model.input_usd_per_million + cached * cached_price
        return math.ceil(cost + usage.output_tokens * model.output_usd_per_million)

    def _listed(self, name: str, usage: Usage, cached: int) -> int | None:
        import genai_prices

        counted = genai_prices.Usage(
            input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, cache_read_tokens=cached
        )
        model, where = self._models.models[name].model, self._models.endpoint_of(name).base_url
        places: tuple[dict[str, Any], ...] = ({"provider_api_url": where}, {})
        for place in places:
            try:
                price = genai_prices.calc_price(counted, model, **place)
            except (LookupError, ValueError):
                continue
            return math.ceil(price.total_price * _MICROUSD)
        return None
