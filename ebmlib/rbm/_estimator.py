"""The scikit-learn face of a Bernoulli machine."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from ebmlib.rbm._kinds import BernoulliRBM
from ebmlib.rbm._training import RBMHistory


class RBMTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A :class:`BernoulliRBM` as a scikit-learn transformer.

    It takes the place of ``sklearn.neural_network.BernoulliRBM`` in a pipeline, and
    passes scikit-learn's ``check_estimator`` without exceptions.

    Parameters
    ----------
    n_components : int
        Hidden units.
    learning_rate, batch_size, n_iter, method, centred, momentum, weight_decay
        ``lr``, ``batch_size``, ``n_epochs`` and the rest of :func:`ebmlib.rbm.fit`.
    binarize : float or None
        Inputs above it count as 1, others as 0.  With None they are taken as they are,
        and must lie between 0 and 1.
    random_state : int, RandomState or None

    Attributes
    ----------
    rbm_ : BernoulliRBM
        The trained machine, with everything that it can do.
    history_ : RBMHistory
    components_ : ndarray, shape (n_components, n_features)
    intercept_hidden_, intercept_visible_ : ndarray
    n_features_in_ : int

    Notes
    -----
    Where scikit-learn's ``score_samples`` estimates the pseudo-likelihood from one
    random pixel a row, this one is exact over all pixels.
    """

    def __init__(
        self,
        n_components: int = 256,
        *,
        learning_rate: float = 0.05,
        batch_size: int = 100,
        n_iter: int = 10,
        method: str = "pcd",
        centred: bool = True,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        binarize: float | None = 0.5,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.method = method
        self.centred = centred
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.binarize = binarize
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> RBMTransformer:
        """Train a machine on ``X`` (n_samples, n_features); ``y`` is not used."""
        rows = self._rows(X, reset=True)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        generator = torch.Generator().manual_seed(int(seed))
        self.rbm_ = BernoulliRBM(
            rows.shape[1], self.n_components, dtype=rows.dtype, generator=generator
        )
        self.history_: RBMHistory = self.rbm_.fit(
            rows,
            self.n_iter,
            method=self.method,
            batch_size=self.batch_size,
            lr=self.learning_rate,
            centred=self.centred,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            generator=generator,
            progress=False,
        )
        self._n_features_out = self.n_components
        return self

    @property
    def components_(self) -> np.ndarray:
        """Weights, one hidden unit a row."""
        return self.rbm_.weight.detach().numpy()

    @property
    def intercept_hidden_(self) -> np.ndarray:
        """Biases of the hidden units."""
        return self.rbm_.hidden_bias.detach().numpy()

    @property
    def intercept_visible_(self) -> np.ndarray:
        """Biases of the visible units."""
        return self.rbm_.visible_bias.detach().numpy()

    def transform(self, X: Any) -> np.ndarray:
        """``p(h_j = 1 | v)`` for each row, shape (n_samples, n_components)."""
        check_is_fitted(self)
        with torch.no_grad():
            return self.rbm_.hidden_mean(self._rows(X)).numpy()

    def score_samples(self, X: Any) -> np.ndarray:
        """Exact pseudo-log-likelihood of each row of zeros and ones, (n_samples,)."""
        check_is_fitted(self)
        return self.rbm_.pseudo_log_likelihood(self._rows(X)).numpy()

    def _rows(self, X: Any, *, reset: bool = False) -> Tensor:
        array = validate_data(self, X, dtype=(np.float32, np.float64), reset=reset)
        if self.binarize is not None:
            array = (array > self.binarize).astype(array.dtype)
        return torch.from_numpy(np.ascontiguousarray(array))
