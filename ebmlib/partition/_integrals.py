"""Integrals of ``exp(affine)`` over triangles, in closed form.

On a triangle of area ``A`` with the values ``a, b, c`` at its corners, an affine
function ``f`` has

    integral of exp(f)  =  2 A exp[a, b, c],

the second divided difference of the exponential (the Hermite-Genocchi formula).
Moments are divided differences with repeated nodes. Everything here is scaled by the
largest value, so that no exponential overflows, and is free of cancellation.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_MAX_NEWTON = 100


def exp_difference(nodes: Tensor) -> Tensor:
    """Divided difference ``exp[x_0, ..., x_n]`` over ``exp(x_n)``, the largest.

    Far nodes follow the recurrence, the difference of ``exp[x_1, ..., x_n]`` and
    ``exp[x_0, ..., x_(n-1)]`` over ``x_n - x_0``; near ones a series in complete
    homogeneous polynomials (McCurdy, Ng and Parlett 1984). So nothing cancels: the
    recurrence subtracts only what differs by a factor.

    Parameters
    ----------
    nodes : Tensor, shape (n + 1, m), float64
        Sorted along the first axis; they may coincide.

    Returns
    -------
    Tensor, shape (m,)
        Between 0 and ``1 / n!``, with a relative error of a few rounding errors.
    """
    order = len(nodes) - 1
    if order == 0:
        return torch.ones_like(nodes[0])
    gap = nodes[-1] - nodes[0]
    near = gap < order
    if near.all():
        return _series(nodes)
    if near.any():
        out = torch.empty_like(gap)
        out[near] = _series(nodes[:, near])
        out[~near] = exp_difference(nodes[:, ~near])
        return out
    lower = exp_difference(nodes[:-1]) * (nodes[-2] - nodes[-1]).exp()
    return (exp_difference(nodes[1:]) - lower) / gap


def _series(nodes: Tensor) -> Tensor:
    """The divided difference of near nodes: ``sum_k h_k(x_0, ..., x_n) / (k + n)!``.

    ``h_k`` is the complete homogeneous polynomial of the nodes less their centre.
    """
    if nodes.shape[1] == 0:
        return nodes[0]
    order = len(nodes) - 1
    centre = (nodes[0] + nodes[-1]) / 2
    x = nodes - centre
    radius = float(x[-1].max())
    h, term = torch.ones_like(x), 1 / math.factorial(order)
    total = torch.full_like(centre, term)
    k, bound = 0, 1.0
    while bound > 1e-18 * math.exp(-radius):  # |h_k| n! k! <= (k + n)! radius**k
        k += 1
        h = (x * h).cumsum(0)
        term /= k + order
        bound *= radius / k
        total = total.add(h[-1], alpha=term)
    return total * (centre - nodes[-1]).exp()


def log_masses(areas: Tensor, values: Tensor) -> Tensor:
    """Logarithm of the integral of ``exp(f)`` over each triangle, ``f`` affine.

    Parameters
    ----------
    areas : Tensor, shape (t,)
    values : Tensor, shape (t, 3)
        ``f`` at the corners.

    Returns
    -------
    Tensor, shape (t,)
        ``-inf`` for a triangle without area.
    """
    nodes = values.T.sort(0).values
    return nodes[-1] + (2 * areas * exp_difference(nodes)).log()


def barycentric_means(values: Tensor) -> Tensor:
    """Mean of the barycentric coordinates under ``exp(f)``, shape (t, 3).

    It is ``exp[a, b, c, a] / exp[a, b, c]`` for the first corner, and so on.
    """
    return _repeated(values, [(0,), (1,), (2,)]).T


def barycentric_seconds(values: Tensor) -> Tensor:
    """Mean products of the barycentric coordinates under ``exp(f)``, (t, 3, 3)."""
    pairs = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)]
    aa, bb, cc, ab, ac, bc = _repeated(values, pairs)
    rows = torch.stack([2 * aa, ab, ac, ab, 2 * bb, bc, ac, bc, 2 * cc], dim=1)
    return rows.reshape(-1, 3, 3)


def _repeated(values: Tensor, repeats: list[tuple[int, ...]]) -> Tensor:
    """Divided differences with some nodes repeated, over the one without."""
    columns = values.T
    nodes = torch.stack([torch.cat([columns, columns[list(r)]]) for r in repeats], 1)
    nodes = nodes.flatten(1).sort(0).values
    ratio = exp_difference(nodes).reshape(len(repeats), -1)
    return ratio / exp_difference(columns.sort(0).values)


def areas_of(corners: Tensor) -> Tensor:
    """Areas of triangles (t, 3, 2), shape (t,); none is negative."""
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).abs() / 2


def sample_triangles(corners: Tensor, values: Tensor, uniforms: Tensor) -> Tensor:
    """One independent exact draw of ``exp(f)`` from each triangle, by inversion.

    The copy of the triangle shrunk by ``w`` towards its highest corner holds the share
    ``w**2 D(w) / D(1)`` of the mass, where ``D`` is the scaled divided difference: the
    first uniform gives ``w``. On the side of that copy the density is exponential: the
    second uniform gives the place on it.

    Parameters
    ----------
    corners : Tensor, shape (t, 3, 2)
    values : Tensor, shape (t, 3)
        ``f`` at the corners.
    uniforms : Tensor, shape (t, 2)
        In [0, 1).

    Returns
    -------
    Tensor, shape (t, 2)
    """
    values, order = values.sort(1)
    corners = corners.gather(1, order[:, :, None].expand_as(corners))
    low, middle = values[:, 0] - values[:, 2], values[:, 1] - values[:, 2]
    shrunk = _shares_to_scales(low, middle, uniforms[:, 0])
    drop = (low - middle) * shrunk
    # a truncated exponential: log1p(u expm1(drop)) / drop, which is u where drop is 0
    along = torch.log1p(uniforms[:, 1] * torch.expm1(drop)) / drop
    along = torch.where(drop > -1e-14, uniforms[:, 1], along)[:, None]
    side = corners[:, 1] + along * (corners[:, 0] - corners[:, 1])
    return corners[:, 2] + shrunk[:, None] * (side - corners[:, 2])


def _shares_to_scales(low: Tensor, middle: Tensor, share: Tensor) -> Tensor:
    """The scale ``w`` of the copy of a triangle that holds a share of its mass.

    Newton's method for ``log share`` as a function of ``log w``, which is increasing
    and concave: from below, the steps never overshoot.
    """
    zero = torch.zeros_like(low)
    whole = exp_difference(torch.stack([low, middle, zero]))
    target = share.clamp_min(torch.finfo(share.dtype).tiny).log() + whole.log()
    log_w = (target + math.log(2)) / 2  # D <= 1/2
    active = torch.arange(len(low))
    for _ in range(_MAX_NEWTON):
        w = log_w[active].exp()
        nodes = torch.stack([low[active] * w, middle[active] * w, zero[active]])
        mass = exp_difference(nodes)
        density = exp_difference(nodes[:2]) * nodes[1].exp()
        residual = target[active] - (2 * log_w[active] + mass.log())
        step = torch.where(density > 0, residual * mass / density, 0.0)
        log_w[active] = (log_w[active] + step).clamp_max(0.0)
        rough = (step.abs() > 1e-12) & (residual.abs() > 1e-15)
        active = active[rough & (log_w[active] < 0)]
        if len(active) == 0:
            break
    return log_w.exp()
