"""Attribution scorers for dmsae, in Python.

    from dmsae import scorer

    @scorer
    def contrast(batch, scale: float = 1.0):
        "-a·⟨g, w⟩"
        return -scale * batch.activations * batch.inner(batch.gradient, batch.decoder)

`dmsae score --scorer contrast.py,scale=2 …` runs it, in a process of its own, by the interpreter that `python3` is.
What a scorer sees is `Batch`; what it may ask the model is `Batch.losses`, `Batch.gradients` and `Batch.head`; one that
gathers totals over the whole pass is a class, see `scorer`.
"""
from .asking import (
    Ablate,
    BudgetExhausted,
    Direction,
    Divergence,
    HostError,
    LogitDifference,
    Loss,
    Rows,
    Scale,
    Set,
)
from .batch import Batch, Plan
from .declaration import Output, add, scorer
from .settings import Setting
from .wire import Cancelled

__all__ = [
    "Ablate", "Batch", "BudgetExhausted", "Cancelled", "Direction", "Divergence", "HostError", "LogitDifference", "Loss",
    "Output", "Plan", "Rows", "Scale", "Set", "Setting", "add", "scorer",
]
