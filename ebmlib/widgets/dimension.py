"""What dimension does to rejection and importance sampling, drawn in the browser."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import traitlets
from PIL import Image

from ebmlib._checks import check_int, check_positive
from ebmlib.plotting.style import COLOURS, style
from ebmlib.widgets._host import PageWidget, bundle, encode_image, suggest


class DimensionExplorer(PageWidget):
    """A Gaussian proposal for a Gaussian target, in as many dimensions as you like.

    The target is N(0, I), the proposal N(0, sd^2 I).  The browser draws n points of the
    proposal, weights them and rejects them, and shows what remains beside the exact
    laws: acceptance ``sd**-d``, and effective share ``(sqrt(2 sd**2 - 1) / sd**2)**d``.

    Parameters
    ----------
    alt : str
        What the picture shows.
    caption : str
        Plain text under the figure.
    dims : int
        The slider runs from dimension 1 to this.
    sds : iterable of float
        Spreads that the reader may choose, rising.
    sizes : iterable of int
        Numbers of points n that the reader may choose.
    seeds : int
        The draws that the reader may choose are 1 to this.
    dim, sd, n, seed
        Initial values of the traits below.

    Attributes
    ----------
    dim : int
        Dimension d.
    sd : float
        Spread of the proposal, one of ``sds``.
    n : int
        Number of points, one of ``sizes``.
    seed : int
        Which draw.

    Raises
    ------
    ValueError
        If a spread or a number of points is not positive.
    traitlets.TraitError
        If an initial value is not among those that can be chosen.

    Examples
    --------
    >>> explorer = DimensionExplorer(alt="Weights against dimension", dim=30)
    >>> explorer.sd = 1.2
    """

    _module = "dimension_explorer"
    _esm = bundle("dimension_explorer")

    spec = traitlets.Dict().tag(sync=True, page=True)
    dim = traitlets.Int().tag(sync=True, page=True)
    sd = traitlets.Float().tag(sync=True, page=True)
    n = traitlets.Int().tag(sync=True, page=True)
    seed = traitlets.Int().tag(sync=True, page=True)

    def __init__(
        self,
        *,
        alt: str,
        caption: str = "",
        dims: int = 100,
        sds: Iterable[float] = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.5, 2.0),
        sizes: Iterable[int] = (100, 1000, 10_000, 100_000),
        seeds: int = 20,
        dim: int = 2,
        sd: float = 1.3,
        n: int = 1000,
        seed: int = 1,
    ) -> None:
        sds, sizes = list(sds), list(sizes)
        check_int("dims", dims, 2)
        check_int("seeds", seeds, 2)
        for value in sds:
            check_positive("sds", value)
        for value in sizes:
            check_int("sizes", value, 2)
        spec = {
            "dims": dims,
            "sds": [float(value) for value in sds],
            "sizes": sizes,
            "seeds": seeds,
        }
        super().__init__(alt=alt, caption=caption, spec=spec)
        self.dim, self.sd, self.n, self.seed = dim, float(sd), n, seed

    @traitlets.validate("dim", "sd", "n", "seed")
    def _check_choice(self, proposal: Any) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        allowed = {
            "dim": range(1, self.spec["dims"] + 1),
            "sd": self.spec["sds"],
            "n": self.spec["sizes"],
            "seed": range(1, self.spec["seeds"] + 1),
        }[name]
        if value in allowed:
            return value
        if isinstance(allowed, range):
            raise traitlets.TraitError(
                f"{name} must lie in 1 to {allowed[-1]}, got {value}"
            )
        raise traitlets.TraitError(suggest(name, value, allowed))

    def _fallback(self) -> tuple[str, str, int]:
        """Draw the two exact laws against the dimension."""
        d, variance = np.arange(1, self.spec["dims"] + 1), self.sd**2
        with style():
            figure, ax = plt.subplots()
            if variance > 0.5:
                share = (math.sqrt(2 * variance - 1) / variance) ** d
                ax.semilogy(d, share, color=COLOURS[0], label="effective share")
            if self.sd >= 1:
                label = "acceptance"
                ax.semilogy(d, self.sd**-d, color=COLOURS[2], ls="--", label=label)
            ax.axvline(self.dim, color="0.4", lw=1, ls=":")
            ax.set(xlabel="dimension d", ylabel="share of the points", ylim=(1e-8, 2))
            if ax.get_legend_handles_labels()[0]:
                ax.legend()
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=110)
            plt.close(figure)
        return encode_image(Image.open(buffer).convert("RGB")), self.alt, 506
