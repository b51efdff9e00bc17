"""Whether long work shows a progress bar."""

from __future__ import annotations

import os
import sys


def wants_bar(progress: bool | None) -> bool:
    """Whether to show a bar: as asked, else in a live notebook only.

    ``TQDM_DISABLE`` in the environment keeps executed books and tests quiet.
    """
    if progress is not None:
        return progress
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    live = type(shell).__name__ == "ZMQInteractiveShell"
    return live and not os.environ.get("TQDM_DISABLE")
