"""Deep Boltzmann machines with two hidden layers (Salakhutdinov and Hinton 2009).

Learning is the one rule of the course with two approximations: the hidden units of the
data are replaced by their mean field, and the model's expectations by persistent
chains.  For small machines both are held against enumeration.
"""

from ebmlib.dbm._checkpoint import load_dbms, save_dbms
from ebmlib.dbm._layers import Layers, MeanField
from ebmlib.dbm._model import DBM
from ebmlib.dbm._train import DBMHistory, fit, pretrain

__all__ = [
    "DBM",
    "DBMHistory",
    "Layers",
    "MeanField",
    "fit",
    "load_dbms",
    "pretrain",
    "save_dbms",
]
