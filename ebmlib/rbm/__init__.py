"""Restricted Boltzmann machines, with the likelihood that "cannot be computed".

With 20 hidden units the partition function is a sum of a million terms, which takes a
second or two. Every approximation (contrastive divergence, the pseudo-likelihood,
annealed importance sampling) can be held against it.
"""

from ebmlib.rbm._checkpoint import load_rbms, save_rbms
from ebmlib.rbm._estimator import RBMTransformer
from ebmlib.rbm._exact import Moments
from ebmlib.rbm._kinds import BernoulliRBM, GaussianRBM
from ebmlib.rbm._training import RBMHistory, fit

__all__ = [
    "BernoulliRBM",
    "GaussianRBM",
    "Moments",
    "RBMHistory",
    "RBMTransformer",
    "fit",
    "load_rbms",
    "save_rbms",
]
