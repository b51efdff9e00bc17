"""Name the folder of executed chapters after everything that their outputs depend on.

jupyter-cache finds a chapter again by its code cells alone. A change in ``ebmlib``,
in ``data/`` or in an installed package would go unnoticed; so each state of those has
a folder of its own.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config


def set_cache_folder(app: Sphinx, config: Config) -> None:
    """Point MyST-NB at the folder of the present state, and keep kernels to one thread.

    Parameters
    ----------
    app : Sphinx
        The application; its ``srcdir`` is the repository's root.
    config : Config
        Changed in place, unless it names a cache folder of its own.
    """
    root = Path(app.srcdir)
    if config.nb_execution_mode != "cache" or config.nb_execution_cache_path:
        return
    sys.path.append(str(root))  # where tools/ is, when the package is not installed
    from tools.execute import KERNEL_ENVIRONMENT, cache_folder

    os.environ.update(KERNEL_ENVIRONMENT)
    config.nb_execution_cache_path = str(cache_folder(root))


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the extension."""
    app.connect("config-inited", set_cache_folder)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
