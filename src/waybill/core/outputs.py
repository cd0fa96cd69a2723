"""What a task returns of what its steps returned."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

NOTHING = b"null"
"""What stands for the output of a step that was skipped."""


def joined_outputs(named: Sequence[tuple[str, bytes]]) -> bytes:
    """What a task returns: the output of its one last step, or an object of the outputs of several by step name.

    A step without an output, because it was skipped, counts with null.
    """
    if len(named) == 1:
        return named[0][1] or NOTHING
    return msgspec.json.encode({name: msgspec.Raw(output or NOTHING) for name, output in named})
