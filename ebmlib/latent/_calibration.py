"""Logits made honest: of the points that get d, a share sigmoid(d) is real."""

from __future__ import annotations

import math

import torch
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from ebmlib._checks import check_choice, check_finite, check_tensor

METHODS = ("isotonic", "logistic")


class IsotonicCalibration(nn.Module):
    """Logits through a rising, piecewise linear curve of probabilities.

    Below and above the knots the curve is flat.  It is rising, not strictly so, and
    its slope jumps at the knots: good for weights and for acceptance, useless as the
    drift of a Langevin step.

    Parameters
    ----------
    logits : Tensor, shape (k,)
        Knots, rising.
    probabilities : Tensor, shape (k,)
        Between 0 and 1, both excluded.
    """

    def __init__(self, logits: Tensor, probabilities: Tensor) -> None:
        super().__init__()
        self.register_buffer("logits", logits)
        self.register_buffer("probabilities", probabilities)

    def forward(self, d: Tensor) -> Tensor:
        """Calibrated logits, of the same shape."""
        x, p = self.logits, self.probabilities
        if len(x) == 1:
            return torch.logit(p).to(d.dtype).expand(d.shape)
        at = d.to(x.dtype).clamp(x[0], x[-1])
        right = torch.searchsorted(x, at.detach()).clamp_(1, len(x) - 1)
        share = (at - x[right - 1]) / (x[right] - x[right - 1])
        return torch.logit(torch.lerp(p[right - 1], p[right], share)).to(d.dtype)


class LogisticCalibration(nn.Module):
    """Logits through a straight line, ``slope * d + offset`` (Platt 1999).

    Parameters
    ----------
    slope, offset : float
    """

    def __init__(self, slope: float, offset: float) -> None:
        super().__init__()
        self.slope, self.offset = float(slope), float(offset)

    def forward(self, d: Tensor) -> Tensor:
        """Calibrated logits, of the same shape."""
        return self.slope * d + self.offset


def calibrate(
    real_logits: Tensor, fake_logits: Tensor, method: str = "isotonic"
) -> IsotonicCalibration | LogisticCalibration:
    """Fit a rising curve from a discriminator's logits to logits that can be believed.

    Use points that the discriminator was not trained on.  The two classes get the same
    total weight, however many points each has, so that the result estimates
    ``log(q / p_g)`` itself.  A calibration only bends the scale of the logits: points
    with the same logit keep the same logit, right or wrong.

    Parameters
    ----------
    real_logits, fake_logits : Tensor, shapes (n,) and (m,)
        Logits at data points and at points of the generator.
    method : {"isotonic", "logistic"}
        The best rising curve (Zadrozny and Elkan 2002; used by Turner et al. 2019), or
        the best straight line.  The isotonic probabilities are kept between
        ``1 / (n + m + 2)`` and one minus that: finitely many points cannot show a
        probability of 0 or 1, and their logits would be infinite.

    Returns
    -------
    IsotonicCalibration or LogisticCalibration
        A module from logits to logits: ``nn.Sequential(critic, calibration)`` is the
        calibrated critic.

    Raises
    ------
    ValueError
        If a shape is wrong, a class is empty, or the name is unknown.
    FloatingPointError
        If a logit is not finite.
    """
    check_choice("method", method, METHODS)
    real, fake = _classes(real_logits, fake_logits)
    d = torch.cat([real, fake])
    label = torch.cat([torch.ones_like(real), torch.zeros_like(fake)])
    weight = torch.where(label == 1, 0.5 / len(real), 0.5 / len(fake)) * len(d)
    if method == "logistic":
        if real.min() > fake.max() or real.max() < fake.min():
            raise ValueError(
                "real_logits and fake_logits do not overlap, so that no finite line is "
                "best: use more points, or method='isotonic'"
            )
        scale = float(d.std(unbiased=False)) or 1.0  # the solver likes numbers near 1
        line = LogisticRegression(C=math.inf, tol=1e-8, max_iter=1000)
        line.fit((d / scale).numpy()[:, None], label.numpy(), weight.numpy())
        return LogisticCalibration(line.coef_[0, 0] / scale, line.intercept_[0])
    least = 1 / (len(d) + 2)
    curve = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip")
    curve.fit(d.numpy(), label.numpy(), weight.numpy())
    knots = (curve.X_thresholds_, curve.y_thresholds_)
    return IsotonicCalibration(*map(torch.as_tensor, knots))


def calibration_z(real_logits: Tensor, fake_logits: Tensor) -> float:
    """How far the logits are from calibrated, in standard errors.

    ``sum(y - D) / sqrt(sum(D (1 - D)))`` over all points, with labels y and ``D =
    sigmoid(d)`` (Turner et al. 2019, section 3.2): standard normal for a calibrated
    discriminator.  It sees an overall bias only; probabilities that are too sure of
    themselves on both sides can pass.

    Parameters
    ----------
    real_logits, fake_logits : Tensor, shapes (n,) and (m,)
        At points that were not used to fit or calibrate the discriminator.  Where n
        and m differ, ``log(n / m)`` is added to the logits.

    Raises
    ------
    FloatingPointError
        If a logit is not finite, or the discriminator is certain everywhere.
    """
    real, fake = _classes(real_logits, fake_logits)
    d = torch.cat([real, fake]) + math.log(len(real) / len(fake))
    D = torch.sigmoid(d)
    z = (len(real) - D.sum()) / (D * torch.sigmoid(-d)).sum().sqrt()
    check_finite("calibration Z", z, "every D is 0 or 1 to the last digit")
    return float(z)


def _classes(real_logits: Tensor, fake_logits: Tensor) -> tuple[Tensor, Tensor]:
    return _logits("real_logits", real_logits), _logits("fake_logits", fake_logits)


def _logits(name: str, logits: Tensor) -> Tensor:
    check_tensor(name, logits)
    if logits.ndim != 1 or not len(logits):
        raise ValueError(
            f"{name} must have shape (n,), one logit a point, got {tuple(logits.shape)}"
        )
    check_finite(name, logits)
    return logits.detach().double().cpu()
