"""What a task returns of what its steps returned."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


def joined_outputs(named: Sequence[tuple[str, bytes]]) -> bytes:
    """What a task returns: the output of its one last step, or an object of the outputs of several by step name."""
    if len(named) == 1:
        return named[0][1]
    return msgspec.json.encode({name: msgspec.Raw(output) for name, output in named})
