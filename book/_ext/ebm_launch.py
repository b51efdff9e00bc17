"""Show launch buttons when, and only when, the book's repository is known.

On GitHub Actions ``GITHUB_REPOSITORY`` names it; in a clone, git's ``origin`` does.
With neither there are no buttons: a link that leads nowhere is worse than none.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

BINDER = "https://mybinder.org"
COLAB = "https://colab.research.google.com"

# https://host/owner/name.git, git@host:owner/name.git, ssh://git@host:22/owner/name
REMOTE = re.compile(
    r"(?:(?:https?|ssh|git)://(?:[^@/]+@)?(?P<host>[^/:@]+)(?::\d+)?/"
    r"|(?:[^@/\s]+@)(?P<scp_host>[^/:@]+):/?)"
    r"(?P<path>[\w.~-]+(?:/[\w.~-]+)+)/?"
)


def web_address(remote: str) -> str | None:
    """Return the address of a repository's page, from any form of its git remote.

    Parameters
    ----------
    remote : str
        What ``git remote get-url`` prints: the https, ssh or scp-like form.

    Returns
    -------
    str or None
        ``https://host/owner/name``; None for a path on this machine. A user name or
        a password in the remote is left out.
    """
    match = REMOTE.fullmatch(remote.strip())
    if match is None:
        return None
    host, path = match["host"] or match["scp_host"], match["path"]
    if not re.search(r"\.[a-z]+$", host):
        return None  # an address of this machine or of its network
    return f"https://{host}/{path.removesuffix('.git')}"


def find_repository(root: Path, environ: dict[str, str] | None = None) -> str | None:
    """Return the address of the repository that holds ``root``, or None.

    Parameters
    ----------
    root : Path
        The repository's root.
    environ : dict, optional
        The environment to read; the process's own by default.
    """
    environ = dict(os.environ) if environ is None else environ
    name = environ.get("GITHUB_REPOSITORY", "")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        return f"{environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{name}"
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "remote", "get-url", "origin"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return web_address(done.stdout)


def launch_options(repository: str) -> dict[str, object]:
    """Return the theme options that make the buttons for one repository."""
    on_github = repository.startswith("https://github.com/")
    return {
        "repository_url": repository,
        "repository_branch": os.environ.get("GITHUB_REF_NAME") or "main",
        "use_repository_button": True,
        "use_issues_button": on_github,
        "launch_buttons": {
            "notebook_interface": "jupyterlab",
            "binderhub_url": BINDER,
            "colab_url": COLAB if on_github else "",
        },
    }


def set_launch_buttons(app: Sphinx, config: Config) -> None:
    """Fill in or empty the theme's options for launch buttons."""
    options = config.html_theme_options
    repository = find_repository(Path(app.srcdir))
    for name in ("repository_url", "launch_buttons", "use_repository_button"):
        options.pop(name, None)
    options["use_issues_button"] = False
    options["use_edit_page_button"] = False
    if repository is not None:
        options.update(launch_options(repository))


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the extension."""
    app.connect("config-inited", set_launch_buttons)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
