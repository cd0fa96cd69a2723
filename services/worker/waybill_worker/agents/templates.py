"""Prompt templates: `{{expression}}` stands for a value, an expression of JMESPath over the values.

There are no loops, no conditions and no calls into Python, so a template can do nothing but show values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError

from waybill.errors import Permanent
from waybill_worker.agents.fencing import fence, text_of

MAX_PLACES = 1_000
_PLACE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)


def fill(template: str, values: Mapping[str, Any], seed: str) -> str:
    """The template with its values: texts, lists and objects fenced as data, numbers and the like as they are.

    Raises Permanent (PROMPT_INVALID) for an expression that is none, or that finds nothing.
    """
    places = 0

    def shown(place: re.Match[str]) -> str:
        nonlocal places
        places += 1
        if places > MAX_PLACES:
            raise _invalid(f"has more than {MAX_PLACES} places for values")
        expression = place[1].strip()
        value = _value(expression, values)
        if isinstance(value, str | list | dict):
            return fence(expression, text_of(value), seed)
        return json.dumps(value)

    return _PLACE.sub(shown, template)


def _value(expression: str, values: Mapping[str, Any]) -> Any:
    if expression in values:
        return values[expression]
    try:
        value = jmespath.search(expression, values)
    except (JMESPathError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise _invalid(f"has {{{{{expression[:100]}}}}}, which cannot be read: {str(error)[:200]}") from error
    if value is None:
        raise _invalid(f"has {{{{{expression[:100]}}}}}, which finds nothing in the values")
    return value


def _invalid(problem: str) -> Permanent:
    return Permanent(f"prompt: it {problem}", reason="PROMPT_INVALID")
