"""Questions to the host about a batch: Include/dmsae/evaluation.h. The host computes while the scorer waits."""
import struct
from typing import Any, NamedTuple, Optional, Sequence, Tuple

import numpy

from . import wire


class HostError(Exception):
    """The host refused a question, in its words."""


class BudgetExhausted(HostError):
    """More groups were asked for than the pass may still ask; nothing was computed."""


class Scale(NamedTuple):
    """a' = factor·a of a latent, where it is active. `tokens` (first, end) are counted in the batch; None: the sequence."""

    latent: int
    factor: float
    tokens: Optional[Tuple[int, int]] = None


class Set(NamedTuple):
    """a' = value of a latent, active or not."""

    latent: int
    value: float
    tokens: Optional[Tuple[int, int]] = None


class Rows(NamedTuple):
    """x̂ = rows [T, d], of the tokens (first, end) of the batch; None: of the sequence."""

    rows: Any
    tokens: Optional[Tuple[int, int]] = None


def Ablate(latent, tokens=None):
    """The latent gone: `Scale` by 0."""
    return Scale(latent, 0.0, tokens)


class Loss(NamedTuple):
    """-log p(next token), nats; `weights` [N] of the batch's tokens, or None for 1 each."""

    weights: Any = None


class Divergence(NamedTuple):
    """The divergence from the model's own distribution, nats."""

    weights: Any = None


class LogitDifference(NamedTuple):
    """The logit of token a less that of token b."""

    a: int
    b: int
    weights: Any = None


class Direction(NamedTuple):
    """⟨direction [d], h⟩, with h the residual stream after block `layer`: what a linear probe reads there."""

    direction: Any
    layer: int
    weights: Any = None


_RULES = {"plain": 0, "relp": 3, "relp-pattern": 7, "attention-only": 4}


def _metric(metric, token_count, dimension):
    """A metric as its header, and the blocks that end its message."""
    if metric is None:
        return None, []
    if isinstance(metric, Direction):
        kind = {"direction": {"layer": int(metric.layer)}}
        blocks = [_floats(metric.direction, (dimension,), "the direction")]
    elif isinstance(metric, LogitDifference):
        kind, blocks = {"logitDifference": {"_0": int(metric.a), "_1": int(metric.b)}}, []
    elif isinstance(metric, (Loss, Divergence)):
        kind, blocks = {"loss" if isinstance(metric, Loss) else "divergence": {}}, []
    else:
        raise HostError("%r is no metric; give Loss, Divergence, LogitDifference or Direction" % (metric,))
    if metric.weights is not None:
        blocks.append(_floats(metric.weights, (token_count,), "weights of a metric"))
    return {"kind": kind, "hasWeights": metric.weights is not None}, blocks


def _floats(values, shape, what, dtype=numpy.float32):
    array = numpy.asarray(values, dtype)
    if array.shape != shape:
        raise HostError("%s are of shape %s; wanted is %s" % (what, list(array.shape), list(shape)))
    return array


class Asking:
    """Asks about one batch."""

    def __init__(self, batch, header, asked):
        if header.get("preferredGroups") is None:
            raise HostError("nobody answers questions to the model here")
        self._batch, self._asked = batch, asked
        self._length = batch.token_count // batch.sequence_count if batch.sequence_count else 0
        self.preferred_groups = header["preferredGroups"]
        self.remaining_groups = header.get("remainingGroups")

    def _ask(self, kind, blocks=(), **request):
        header = {"groups": [], "sequences": [], "length": self._length, "rule": 0, "tokens": []}
        header.update((key, value) for key, value in request.items() if value is not None)
        arena = self._asked(kind, header, blocks)
        answer = arena.header
        self.remaining_groups = answer.get("remaining")
        for failure, words in (answer.get("failure") or {}).items():
            if failure == "budgetExhausted":
                raise BudgetExhausted(
                    "%d groups asked for, %d left of the pass's budget" % (words["asked"], words["remaining"]))
            raise HostError(words["_0"])
        return arena

    def _sequence(self, sequence):
        if not 0 <= sequence < self._batch.sequence_count:
            raise HostError("there is no sequence %s; there are %d" % (sequence, self._batch.sequence_count))
        return int(sequence)

    def losses(self, groups, metric, per_token):
        batch, blocks, request = self._batch, [], []
        for sequence, edits in groups:
            whole = batch.sequence(self._sequence(sequence))
            changes = []
            for edit in edits:
                first, end = (whole.start, whole.stop) if edit.tokens is None else map(int, edit.tokens)
                if isinstance(edit, Rows):
                    blocks.append(_floats(edit.rows, (end - first, batch.dimension), "rows"))
                    operation, latent, value = 3, 0, 0.0
                elif isinstance(edit, Set):
                    operation, latent, value = 2, int(edit.latent), float(edit.value)
                else:
                    operation, latent, value = 1, int(edit.latent), float(edit.factor)
                bits = struct.unpack("<I", struct.pack("<f", value))[0]
                changes.append({"tokens": [first, end], "operation": operation, "latent": latent, "value": bits})
            request.append({"sequence": int(sequence), "edits": changes, "wantsLosses": bool(per_token)})
        kind, more = _metric(metric, batch.token_count, batch.dimension)
        arena = self._ask(wire.LOSS_CHANGES, blocks + more, groups=request, metric=kind)
        changes = arena.array(1, numpy.float64, (len(request),))
        if not per_token:
            return changes
        return changes, arena.array(2, numpy.float32, (len(request), self._length))

    def gradients(self, points, metric, rule):
        batch, shape = self._batch, (self._length, self._batch.dimension)
        sequences = [self._sequence(sequence) for sequence, _ in points]
        blocks = [_floats(rows, shape, "rows") for _, rows in points]
        kind, more = _metric(metric, batch.token_count, batch.dimension)
        arena = self._ask(wire.GRADIENTS_AT, blocks + more, sequences=sequences, metric=kind, rule=self._rule(rule))
        found = [arena.array(2 + i, numpy.float32, shape) for i in range(len(sequences))]
        return arena.array(1, numpy.float64, (len(sequences),)), numpy.array(found).reshape((-1,) + shape)

    def gradients_along(self, paths, alphas, weights, metric, rule):
        batch, shape = self._batch, (self._length, self._batch.dimension)
        sequences = [self._sequence(sequence) for sequence, _, _ in paths]
        alphas = numpy.asarray(alphas, numpy.float64).reshape(-1)
        blocks = [alphas, _floats(weights, alphas.shape, "weights", numpy.float64)]
        for _, base, end in paths:
            blocks += [_floats(base, shape, "rows"), _floats(end, shape, "rows")]
        kind, more = _metric(metric, batch.token_count, batch.dimension)
        arena = self._ask(wire.GRADIENTS_ALONG, blocks + more, sequences=sequences, metric=kind, rule=self._rule(rule))
        found = [arena.array(1 + i, numpy.float64, shape) for i in range(len(sequences))]
        return numpy.array(found).reshape((-1,) + shape)

    def mean_activations(self):
        arena = self._ask(wire.MEAN_ACTIVATIONS)
        return arena.array(1, numpy.float64, (self._batch.latent_count,)), int(arena.array(2, numpy.int64, (1,))[0])

    def head_rows(self, tokens):
        tokens = [int(token) for token in tokens]
        return self._ask(wire.HEAD_ROWS, tokens=tokens).array(1, numpy.float32, (len(tokens), self._batch.dimension))

    def final_scales(self):
        return self._ask(wire.FINAL_SCALES).array(1, numpy.float32, (self._batch.token_count,))

    @staticmethod
    def _rule(rule):
        if rule not in _RULES:
            raise HostError("'%s' is no rule of the backward pass; there are %s" % (rule, ", ".join(_RULES)))
        return _RULES[rule]


class Head:
    """How a direction reaches the logits by itself: ⟨δ, u_v⟩ / σ_t, to first order."""

    def __init__(self, asking):
        self._asking = asking

    def rows(self, tokens: Sequence[int]):
        """[n, d] u: rows of the unembedding times the final norm's weights; -1 stands for the mean row of all tokens."""
        return self._asking.head_rows(tokens)

    def scales(self):
        """[N] σ: what the final norm divides the stream by."""
        return self._asking.final_scales()
