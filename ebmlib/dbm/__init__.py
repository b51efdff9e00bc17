"""Deep Boltzmann machines with two hidden layers (Salakhutdinov and Hinton 2009).

Learning is the one rule of the course with two approximations: the hidden units of the
data are replaced by their mean field, and the model's expectations by persistent
chains.  For small machines both are held against enumeration.
"""

from ebmlib.dbm._model import DBM, Layers, MeanField
from ebmlib.dbm._train import fit, pretrain

__all__ = ["DBM", "Layers", "MeanField", "fit", "pretrain"]
