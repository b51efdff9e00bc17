"""Give every proof of a page an id of its own.

sphinx-proof writes ``id="proof"`` for each, and an id that a page uses twice is no
address.
"""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx


def number_proofs(app: Sphinx, document: nodes.document) -> None:
    """Replace the id ``proof`` by ``proof-1``, ``proof-2`` and so on."""
    del app
    proofs = [n for n in document.findall(nodes.admonition) if n["ids"] == ["proof"]]
    for number, proof in enumerate(proofs, start=1):
        proof["ids"] = [f"proof-{number}"]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the handler."""
    app.connect("doctree-read", number_proofs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
