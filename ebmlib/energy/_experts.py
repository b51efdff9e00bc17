"""Products of experts: energies that are sums, and when their Z is finite."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ebmlib._checks import check_number, check_points, check_tensor
from ebmlib.energy._models import EnergyModel, energy_of

_MAX_SUBSETS = 1 << 20  # of experts, that are looked at
_SAME = 1e-9  # relative size of what is left of a weight that lies in a span


class ProductOfExperts(EnergyModel):
    """Densities multiplied and normalised again: ``E(x) = sum_k E_k(x)``.

    Each expert can rule a point out on its own (Hinton 2002).

    Parameters
    ----------
    experts : iterable of EnergyModel

    Raises
    ------
    TypeError
        If one of them is no energy model.
    ValueError
        If there is none.

    Notes
    -----
    It is enough for a finite ``Z`` that one expert has a finite ``Z`` and the energies
    of the others are bounded below.  It is not necessary: experts of which each has an
    infinite ``Z`` can have a product with a finite one (:class:`StudentTExperts`), and
    experts whose densities are unbounded can lose theirs.
    """

    def __init__(self, experts: Iterable[EnergyModel]) -> None:
        super().__init__()
        experts = list(experts)
        if not experts:
            raise ValueError("experts must hold at least one energy model, got none")
        for expert in experts:
            if not isinstance(expert, EnergyModel):
                raise TypeError(
                    f"experts must be energy models, got {type(expert).__name__}"
                )
        self.experts = nn.ModuleList(experts)

    def energy(self, x: Tensor) -> Tensor:
        """Sum of the experts' energies, shape (n,)."""
        return torch.stack([energy_of(expert, x) for expert in self.experts]).sum(0)


class StudentTExperts(EnergyModel):
    """Product of Student-t experts on projections.

    ``E(x) = sum_i strength_i log(1 + (w_i' x + b_i)**2 / 2)`` (Welling, Hinton and
    Osindero 2003; Kim and Bengio 2016, equation 3).

    Parameters
    ----------
    weight : Tensor, shape (k, d)
        The directions ``w_i``, one a row; a longer one makes a narrower expert.
    strength : Tensor, shape (k,)
        Positive.
    bias : Tensor, shape (k,), optional
        ``b_i``; zero unless given.

    Raises
    ------
    ValueError
        If a shape is wrong, a value not finite, or a strength not positive.
    """

    def __init__(
        self, weight: Tensor, strength: Tensor, bias: Tensor | None = None
    ) -> None:
        super().__init__()
        check_points("weight", weight, allow_empty=False)
        self.weight = parameter(weight)
        self.strength = vector("strength", strength, weight[:, 0])
        self.bias = vector("bias", bias, weight[:, 0])
        self._check_strength()

    def _check_strength(self) -> None:
        if not (self.strength > 0).all():
            raise ValueError(
                f"strength must be positive, got {self.strength.detach().tolist()}"
            )

    def energy(self, x: Tensor) -> Tensor:
        """Energy of each point, shape (n,)."""
        projected = x @ self.weight.T + self.bias
        return torch.log1p(projected**2 / 2) @ self.strength

    def is_normalisable(self) -> bool:
        """Whether ``Z`` over the whole space is finite: exactly, by counting powers.

        ``Z`` is finite if and only if for every subspace ``V`` but ``{0}`` the experts
        that vary along ``V`` satisfy ``2 * sum of strengths > dim V``.  In the plane:
        all strengths together above 1, and above 1/2 when the experts of any one
        direction are left out.  Weights count as parallel when they are to a relative
        1e-9, and a sum on the border up to rounding (1e-12) is not above it.

        Raises
        ------
        ValueError
            If training has made a strength negative, or the subsets of experts that
            must be looked at are more than about a million.
        """
        self._check_strength()
        weight, strength = self.weight.detach().double(), self.strength.detach()
        count, dim = weight.shape
        sizes = range(min(dim, count + 1))
        if sum(math.comb(count, size) for size in sizes) > _MAX_SUBSETS:
            raise ValueError(
                f"weight has too many subsets of fewer than {dim} of {count} experts "
                "to look at; use fewer experts or dimensions"
            )
        # The largest V along which a set of experts is constant is the orthogonal
        # complement of their span: looking at all small sets looks at all such V.
        for size in sizes:
            for chosen in itertools.combinations(range(count), size):
                basis = _basis(weight[list(chosen)])
                free = dim - len(basis)
                left = weight - weight @ basis.T @ basis
                varies = left.norm(dim=1) > _SAME * weight.norm(dim=1)
                if 2 * float(strength[varies].double().sum()) <= free * (1 + 1e-12):
                    return False
        return True


def parameter(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach().clone())


def vector(name: str, values: Tensor | None, like: Tensor) -> nn.Parameter:
    """A finite vector shaped like another; zeros when None came."""
    if values is None:
        return nn.Parameter(torch.zeros_like(like))
    check_tensor(name, values)
    if values.shape != like.shape:
        raise ValueError(
            f"{name} must have shape ({len(like)},), got {tuple(values.shape)}"
        )
    for value in values.tolist():
        check_number(name, value)
    return parameter(values.to(like))


def _basis(rows: Tensor) -> Tensor:
    """Orthonormal rows that span the given rows, (rank, d)."""
    if not len(rows):
        return rows
    size = rows.norm(dim=1, keepdim=True)
    unit = rows / torch.where(size > 0, size, 1.0)
    _, values, directions = torch.linalg.svd(unit, full_matrices=False)
    return directions[values > _SAME * math.sqrt(len(rows))]
