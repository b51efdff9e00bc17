"""Densities along curves: ring, crossing lines, spirals and a twisted cross."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ebmlib._checks import check_number, check_positive
from ebmlib.distributions._base import (
    Density,
    _Random,
    entropy_on_box,
    gauss_legendre,
    rejection,
)
from ebmlib.distributions.gaussians import GaussianMixture

_SQRT_2PI = math.sqrt(2 * math.pi)


class Ring(Density):
    """A ring: density proportional to ``exp(-(|x| - radius)^2 / (2 sd^2))``.

    Normalised on the plane, in closed form (the factor r of the area element is
    counted: the mean radius is a little above `radius`).

    Parameters
    ----------
    radius : float
        Where the density is highest; zero makes a round Gaussian.
    sd : float
        Radial standard deviation.

    Raises
    ------
    TypeError, ValueError
        If `radius` is negative, `sd` is not positive, or either is no number.
    """

    def __init__(
        self,
        radius: float = 0.6,
        sd: float = 0.05,
        *,
        validate_args: bool | None = None,
    ) -> None:
        check_positive("radius", radius, allow_zero=True)
        check_positive("sd", sd)
        self.radius, self.sd = float(radius), float(sd)
        super().__init__(2, None, validate_args)
        self._shown = {"radius": radius, "sd": sd}
        # int_0^inf (r - R)^k exp(-(r - R)^2 / 2 s^2) dr for k = 0 to 3
        r, s = self.radius, self.sd
        edge = math.exp(-0.5 * (r / s) ** 2)
        m0 = s * _SQRT_2PI * 0.5 * math.erfc(-r / (s * math.sqrt(2)))
        m2 = s * s * (m0 - r * edge)
        self._powers = (m0, s * s * edge, m2, s * s * (r * r + 2 * s * s) * edge)
        self._radial = self._powers[1] + r * m0  # int r exp(...) dr
        self._log_norm = math.log(2 * math.pi * self._radial)

    def _log_density(self, x: Tensor) -> Tensor:
        z = (torch.linalg.vector_norm(x, dim=-1) - self.radius) / self.sd
        return -0.5 * z.square() - self._log_norm

    def _draw(self, n: int, random: _Random) -> Tensor:
        # r exp(-(r - R)^2 / 2 s^2) lies below m exp((r - m) / m) exp(-(r - R)^2 /
        # 2 s^2), which is a Gaussian about R + s^2 / m = m when m is the mode.
        mode = 0.5 * (self.radius + math.sqrt(self.radius**2 + 4 * self.sd**2))

        def propose(m: int) -> tuple[Tensor, Tensor]:
            r = mode + self.sd * random.normal(m, 1)
            accept = (r / mode) * torch.exp(1 - r / mode)
            return r, (random.uniform(m, 1) < accept)[:, 0]

        r = rejection(n, 1, propose, random.device)
        return _polar(r[:, 0], 2 * math.pi * random.uniform(n))

    @property
    def mean(self) -> Tensor:
        """Mean: zero, (2,)."""
        return torch.zeros(2, dtype=torch.float64)

    @property
    def variance(self) -> Tensor:
        """Variance of each coordinate, (2,), in closed form."""
        r = self.radius
        m0, m1, m2, m3 = self._powers
        cube = m3 + 3 * r * m2 + 3 * r * r * m1 + r**3 * m0  # int r^3 exp(...) dr
        return torch.full((2,), 0.5 * cube / self._radial, dtype=torch.float64)

    def entropy(self) -> Tensor:
        """Entropy in nats, in closed form; Tensor () float64."""
        _, _, m2, m3 = self._powers
        spread = (m3 + self.radius * m2) / self._radial  # E (|x| - radius)^2
        value = self._log_norm + 0.5 * spread / self.sd**2
        return torch.tensor(value, dtype=torch.float64)


class CrossLines(Density):
    """Two crossing diagonal segments, blurred by a round Gaussian.

    A point is uniform on one of the segments from (-l, -l) to (l, l) and from
    (-l, l) to (l, -l), ``l = half_length / sqrt(2)``, plus Gaussian noise in both
    directions. Normalised on the plane, in closed form.

    Parameters
    ----------
    half_length : float
        Half the length of a segment.
    sd : float
        Standard deviation of the blur.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a positive number.
    """

    def __init__(
        self,
        half_length: float = 0.8,
        sd: float = 0.05,
        *,
        validate_args: bool | None = None,
    ) -> None:
        check_positive("half_length", half_length)
        check_positive("sd", sd)
        self.half_length, self.sd = float(half_length), float(sd)
        super().__init__(2, None, validate_args)
        self._shown = {"half_length": half_length, "sd": sd}

    def _log_density(self, x: Tensor) -> Tensor:
        along = torch.stack([x[..., 0] + x[..., 1], x[..., 0] - x[..., 1]], dim=-1)
        along = along / math.sqrt(2)
        across = along.flip(-1) / self.sd
        length = _log_smooth_interval(
            along, -self.half_length, self.half_length, self.sd
        )
        log_scale = math.log(4 * self.half_length * self.sd * _SQRT_2PI)
        return torch.logsumexp(length - 0.5 * across.square(), dim=-1) - log_scale

    def _draw(self, n: int, random: _Random) -> Tensor:
        place = (2 * random.uniform(n) - 1) * self.half_length / math.sqrt(2)
        sign = torch.where(random.uniform(n) < 0.5, -1.0, 1.0)
        points = torch.stack([place, sign * place], dim=1)
        return points + self.sd * random.normal(n, 2)

    @property
    def mean(self) -> Tensor:
        """Mean: zero, (2,)."""
        return torch.zeros(2, dtype=torch.float64)

    @property
    def variance(self) -> Tensor:
        """Variance of each coordinate, (2,), in closed form."""
        value = self.half_length**2 / 6 + self.sd**2
        return torch.full((2,), value, dtype=torch.float64)

    def entropy(self) -> Tensor:
        """Entropy in nats, by quadrature (error below 1e-8).

        Gauss-Legendre on the square that reaches nine standard deviations beyond
        the segments' ends, in panels 1.5 standard deviations wide (at least a
        hundredth of half the length) with 12 nodes.

        Returns
        -------
        Tensor ()
            Float64.
        """
        reach = self.half_length / math.sqrt(2) + 9 * self.sd
        panel = max(1.5 * self.sd, 0.01 * self.half_length)
        return entropy_on_box(self._log_density, [-reach] * 2, [reach] * 2, panel)


class TwoSpirals(Density):
    """Two interleaved Archimedean spirals of constant thickness.

    With ``t = |x|^2``: t is uniform on [inner^2, outer^2], blurred by a Gaussian of
    standard deviation `taper` and cut off at zero; the angle is that of an arm,
    ``rate * |x|`` or half a turn more, plus Gaussian noise whose standard deviation
    makes the arm `sd` thick across. Since ``dx = dt d(angle) / 2``, the density is
    closed-form and normalised on the plane, and mass is spread evenly over the area
    between the two radii. (A two-spiral data set is used by Kim and Bengio, 2016,
    section 5.1, without its parameters; these are ours.)

    Parameters
    ----------
    turns : float
        Turns that an arm makes from the centre to the outer radius.
    inner, outer : float
        Radii between which the arms run.
    sd : float
        Standard deviation across an arm.
    taper : float
        Blur of the arms' ends, in units of the squared radius.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a positive number, or `inner` is not below `outer`.
    """

    def __init__(
        self,
        turns: float = 1.5,
        inner: float = 0.15,
        outer: float = 0.85,
        sd: float = 0.035,
        taper: float = 0.03,
        *,
        validate_args: bool | None = None,
    ) -> None:
        values = {"turns": turns, "inner": inner, "outer": outer}
        values |= {"sd": sd, "taper": taper}
        for name, value in values.items():
            check_positive(name, value)
        if not inner < outer:
            raise ValueError(f"inner must be below outer, got {inner} and {outer}")
        self.rate = 2 * math.pi * turns / outer
        self.start, self.stop = float(inner) ** 2, float(outer) ** 2
        self.sd, self.taper = float(sd), float(taper)
        super().__init__(2, None, validate_args)
        self._shown = values
        mass = self._positive_part(self.stop) - self._positive_part(self.start)
        self._log_mass = math.log(mass)

    def _positive_part(self, mean: float) -> float:
        """E max(mean + taper z, 0) for standard normal z."""
        z = mean / self.taper
        upper = 0.5 * math.erfc(-z / math.sqrt(2))
        return mean * upper + self.taper * math.exp(-0.5 * z * z) / _SQRT_2PI

    def _log_radial(self, t: Tensor) -> Tensor:
        """Log density of t = |x|^2, for t >= 0."""
        smooth = _log_smooth_interval(t, self.start, self.stop, self.taper)
        return smooth - self._log_mass

    def _angle_sd(self, r: Tensor) -> Tensor:
        """Standard deviation of the angle about an arm at radius r."""
        return self.sd * torch.hypot(1 / r, torch.full_like(r, self.rate))

    def _log_density(self, x: Tensor) -> Tensor:
        r = torch.linalg.vector_norm(x, dim=-1).clamp_min(1e-12)
        angle = torch.atan2(x[..., 1], x[..., 0])
        double = 2 * (angle - self.rate * r)
        log_angle = _log_wrapped_normal(double, 2 * self._angle_sd(r))
        return math.log(2) + self._log_radial(r.square()) + log_angle

    def _draw(self, n: int, random: _Random) -> Tensor:
        def propose(m: int) -> tuple[Tensor, Tensor]:
            t = self.start + (self.stop - self.start) * random.uniform(m, 1)
            t = t + self.taper * random.normal(m, 1)
            return t, t[:, 0] > 0

        r = rejection(n, 1, propose, random.device)[:, 0].sqrt()
        angle = self.rate * r + self._angle_sd(r) * random.normal(n)
        second_arm = (random.uniform(n) < 0.5).to(torch.float64)
        return _polar(r, angle + math.pi * second_arm)

    @property
    def mean(self) -> Tensor:
        """Mean: zero, (2,)."""
        return torch.zeros(2, dtype=torch.float64)

    def entropy(self) -> Tensor:
        """Entropy in nats, by quadrature in polar coordinates (error below 1e-8).

        Gauss-Legendre with 12 nodes a panel: in the radius in panels a quarter as
        wide as the taper (between 1/500 and 1/50 of the range), in the angle, over
        half a turn about the arm, in 48 panels.

        Returns
        -------
        Tensor ()
            Float64.
        """
        high = math.sqrt(self.stop + 9 * self.taper)
        low = math.sqrt(max(0.0, self.start - 9 * self.taper))
        panel = min(max(self.taper / 4, 0.002 * high), 0.02 * high)
        r, wr = gauss_legendre(low, high, panel)
        double, wd = gauss_legendre(-math.pi, math.pi, 2 * math.pi / 48)
        width = 2 * self._angle_sd(r)
        log_angle = _log_wrapped_normal(double, width[:, None])
        log_p = math.log(2) + self._log_radial(r.square())[:, None] + log_angle
        mass = (2 * r * wr)[:, None] * wd * (log_p - math.log(2)).exp()
        return -(mass * log_p).sum()


class FourSpin(Density):
    """Four petals of a cross, twisted about the centre: a pinwheel.

    A mixture of four elongated Gaussians, on the half axes, whose points are turned
    by ``twist * |x|`` radians. A turn that depends on the radius alone keeps areas,
    so the density is closed-form and normalised on the plane, and its entropy is
    that of the straight petals. (A four-spin data set is used by Kim and Bengio,
    2016, section 5.1, without its parameters; these are ours.)

    Parameters
    ----------
    distance : float
        Distance of the petals' centres from the origin, before the twist.
    sd_along, sd_across : float
        Standard deviations along and across a petal.
    twist : float
        Radians per unit of radius; its sign is the sense of the spin.

    Raises
    ------
    TypeError, ValueError
        If a length is not a positive number, or `twist` is not a finite number.
    """

    def __init__(
        self,
        distance: float = 0.45,
        sd_along: float = 0.11,
        sd_across: float = 0.05,
        twist: float = 2.5,
        *,
        validate_args: bool | None = None,
    ) -> None:
        check_positive("distance", distance)
        check_positive("sd_along", sd_along)
        check_positive("sd_across", sd_across)
        check_number("twist", twist)
        self.twist = float(twist)
        means = [[distance, 0.0], [0.0, distance], [-distance, 0.0], [0.0, -distance]]
        sds = [[sd_along, sd_across], [sd_across, sd_along]] * 2
        self.petals = GaussianMixture(means, sds)
        super().__init__(2, None, validate_args)
        self._shown = {
            "distance": distance,
            "sd_along": sd_along,
            "sd_across": sd_across,
            "twist": twist,
        }

    def _turn(self, x: Tensor, sign: float) -> Tensor:
        angle = sign * self.twist * torch.linalg.vector_norm(x, dim=-1)
        cos, sin = angle.cos(), angle.sin()
        return torch.stack(
            [cos * x[..., 0] - sin * x[..., 1], sin * x[..., 0] + cos * x[..., 1]],
            dim=-1,
        )

    def _log_density(self, x: Tensor) -> Tensor:
        return self.petals._log_density(self._turn(x, -1.0))

    def _draw(self, n: int, random: _Random) -> Tensor:
        return self._turn(self.petals._draw(n, random), 1.0)

    @property
    def mean(self) -> Tensor:
        """Mean: zero, (2,)."""
        return torch.zeros(2, dtype=torch.float64)

    @property
    def variance(self) -> Tensor:
        """Variance of each coordinate, (2,): that of the straight petals."""
        return self.petals.variance

    def entropy(self) -> Tensor:
        """Entropy in nats: that of the straight petals; Tensor () float64."""
        return self.petals.entropy()


def _polar(r: Tensor, angle: Tensor) -> Tensor:
    return torch.stack([r * angle.cos(), r * angle.sin()], dim=1)


def _log_smooth_interval(t: Tensor, start: float, stop: float, sd: float) -> Tensor:
    """log [Phi((t - start) / sd) - Phi((t - stop) / sd)], accurate in both tails."""
    half, middle = 0.5 * (stop - start), 0.5 * (stop + start)
    distance = (t - middle).abs()
    upper = torch.special.log_ndtr((half - distance) / sd)
    lower = torch.special.log_ndtr((-half - distance) / sd)
    return upper + torch.log(-torch.expm1(lower - upper))


def _log_wrapped_normal(angle: Tensor, sd: Tensor) -> Tensor:
    """Log density on the circle of a normal angle with mean zero.

    Five windings where sd < 1.5, six Fourier terms elsewhere: either leaves out
    less than 1e-16 of the density.
    """
    angle = torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
    k = torch.arange(-2, 3, dtype=angle.dtype, device=angle.device)
    narrow = sd.clamp_max(1.5)
    z = (angle[..., None] + 2 * math.pi * k) / narrow[..., None]
    windings = torch.logsumexp(-0.5 * z.square(), dim=-1) - (narrow * _SQRT_2PI).log()
    n = torch.arange(1, 7, dtype=angle.dtype, device=angle.device)
    wide = sd.clamp_min(1.5)[..., None]
    terms = torch.exp(-0.5 * (n * wide).square()) * torch.cos(n * angle[..., None])
    series = torch.log1p(2 * terms.sum(dim=-1)) - math.log(2 * math.pi)
    return torch.where(sd < 1.5, windings, series)
