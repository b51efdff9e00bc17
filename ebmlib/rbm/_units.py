"""What a restricted Boltzmann machine is made of, and what its kinds differ in."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ebmlib._checks import (
    check_generator,
    check_int,
    check_points,
    check_positive,
    check_tensor,
)
from ebmlib.energy import EnergyModel


class Units(EnergyModel):
    """Parameters, and the ladder of densities that leads to the machine.

    With ``s(v)`` the visible units in units of their noise, the hidden units are
    independent given the visible ones, ``p(h_j = 1 | v) = sigmoid(c_j + W_j . s(v))``.
    """

    weight: Tensor
    visible_bias: Tensor
    hidden_bias: Tensor
    base_bias: Tensor

    def __init__(
        self,
        n_visible: int,
        n_hidden: int,
        *,
        weight_sd: float = 0.01,
        dtype: torch.dtype = torch.float32,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_int("n_visible", n_visible, 1)
        check_int("n_hidden", n_hidden, 1)
        check_positive("weight_sd", weight_sd, allow_zero=True)
        check_generator(generator)
        weight = torch.randn(n_hidden, n_visible, generator=generator, dtype=dtype)
        self.weight = nn.Parameter(weight * weight_sd)
        self.visible_bias = nn.Parameter(torch.zeros(n_visible, dtype=dtype))
        self.hidden_bias = nn.Parameter(torch.zeros(n_hidden, dtype=dtype))
        self.register_buffer("base_bias", torch.zeros(n_visible, dtype=dtype))

    @property
    def n_visible(self) -> int:
        """Number of visible units."""
        return self.weight.shape[1]

    @property
    def n_hidden(self) -> int:
        """Number of hidden units."""
        return self.weight.shape[0]

    def extra_repr(self) -> str:
        return f"n_visible={self.n_visible}, n_hidden={self.n_hidden}"

    def hidden_input(self, v: Tensor) -> Tensor:
        """Log-odds of each hidden unit given ``v``, ``c + W s(v)``: (n, n_hidden)."""
        return torch.addmm(self.hidden_bias, self._scaled(v), self.weight.T)

    # --- the ladder from independent visible units to the machine ------------------

    def _bias_at(self, beta: float | Tensor) -> Tensor:
        """Visible biases at rung ``beta``: from ``base_bias`` to ``visible_bias``."""
        return torch.lerp(self.base_bias, self.visible_bias, beta)

    def _base_mean(self) -> Tensor:
        """Mean of the visible units at rung 0, shape (1, n_visible)."""
        nothing = self.weight.new_zeros(1, self.n_hidden)
        return self._visible_mean(nothing, self.base_bias)

    def _tempered_mean(self, h: Tensor, beta: float | Tensor) -> Tensor:
        """Mean of the visible units given ``h`` at rung ``beta``, or (n, 1) of them."""
        return self._visible_mean(h * beta, self._bias_at(beta))

    def _log_tempered(self, v: Tensor, beta: Tensor) -> Tensor:
        """Unnormalised log-density of ``v`` (n, n_visible) at rungs (n, 1): (n,)."""
        hidden = F.softplus(self.hidden_input(v) * beta).sum(1)
        return hidden - self._visible_energy(v, self._bias_at(beta))

    # --- what the two kinds differ in -------------------------------------------------

    def _scaled(self, v: Tensor) -> Tensor:
        """``s(v)``: the visible units in units of their noise."""
        raise NotImplementedError

    def _visible_energy(self, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """The part of the energy that no hidden unit is in: (n,)."""
        raise NotImplementedError

    def _visible_mean(self, h: Tensor, bias: Tensor | None = None) -> Tensor:
        """Mean of the visible units given ``h``."""
        raise NotImplementedError

    def _draw_visible(self, mean: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw visible units of the given conditional means."""
        raise NotImplementedError

    def _bias_gain(self, v: Tensor, here: Tensor, there: Tensor) -> Tensor:
        """Fall of :meth:`_visible_energy` from biases ``here`` to ``there``: (n,)."""
        raise NotImplementedError

    def _scaled_back(self, bias: Tensor) -> Tensor:
        """A step of the visible biases, from units of the noise to those of ``v``."""
        return bias

    def _biases_of(self, data: Tensor) -> Tensor:
        """Visible biases with which independent units have the data's means."""
        raise NotImplementedError

    def _base_log_partition(self) -> float:
        """Exact ``log Z`` at rung 0."""
        raise NotImplementedError

    def _hidden_log_masses(self) -> Tensor:
        """Log of ``exp(-E)`` of all hidden states, ``v`` summed out: (2**n_hidden,)."""
        raise NotImplementedError

    def _subset(self, units: Tensor) -> Units:
        """The machine of some visible units alone, in float64."""
        part = copy.deepcopy(self).double()
        part.weight = nn.Parameter(part.weight[:, units])
        part.visible_bias = nn.Parameter(part.visible_bias[units])
        part.base_bias = part.base_bias[units]
        return part

    def _check(self, v: Tensor, name: str = "v") -> None:
        """Require visible states that the machine can take."""
        check_tensor(name, v)
        if not self._allowed(v):  # one pass over the data; this one finds the fault
            check_points(name, v, dim=self.n_visible)
        like = self.weight
        if (v.dtype, v.device) != (like.dtype, like.device):
            raise TypeError(
                f"{name} must have the dtype and device of the machine, {like.dtype} "
                f"on {like.device}, got {v.dtype} on {v.device}"
            )

    def _allowed(
        self, v: Tensor, low: float = -math.inf, high: float = math.inf
    ) -> bool:
        """Whether ``v`` is (n, n_visible), finite and from ``low`` to ``high``."""
        if v.ndim != 2 or v.shape[1] != self.n_visible:
            return False
        if v.numel() == 0:
            return True
        least, most = (float(end) for end in torch.aminmax(v))  # NaN if one is there
        finite = math.isfinite(least) and math.isfinite(most)
        return finite and low <= least and most <= high
