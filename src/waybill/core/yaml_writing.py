"""JSON values as YAML text that reads back as the same values."""

from __future__ import annotations

import re
from typing import Any

import yaml

from waybill.core.yaml_reading import NUMBER

_BLOCK = re.compile(r"\S[\x20-\x7e\xa0-\ud7ff]*(?:\n(?:[\x20-\x7e\xa0-\ud7ff]*\S)?)+", re.ASCII)
"""Texts of several lines that YAML may write as they are, line by line."""


class _Dumper(yaml.SafeDumper):
    """Writes every value out, and puts into quotes what the reader of files would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        """No value stands for another."""
        return True


def _text(dumper: _Dumper, text: str) -> Any:
    style = "|" if _BLOCK.fullmatch(text) else None
    if NUMBER.fullmatch(text) or not all(line.isprintable() for line in text.split("\n")):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text)


def yaml_text(value: Any) -> str:
    """The value as YAML."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000)
    return text
