"""What a file of scorers declares, and how its calls are made."""
import inspect
import re

import numpy

from . import settings
from .batch import Plan


class Refused(Exception):
    """What a scorer declared or returned does not fit; the text says what, and what would."""


class Output:
    """A named result of a class of scorers: `shape` is "latent" [m], "latent-sequence" [m, S], "latent-pair" [m, m] or
    "latent-token" [m, N]; `role` says what it is to output 0, the score: "terms", "expansions" or "sizes" (scorer.h)."""

    SHAPES = {"latent": 1, "latent-sequence": 2, "latent-pair": 3, "latent-token": 4}

    def __init__(
        self, name, unit, description="", *, shape="latent", higher_is_better=True, standard_error_of=None, count_of=None,
        role=None,
    ):
        if shape not in self.SHAPES:
            raise Refused("output '%s' has the shape '%s'; there are %s" % (name, shape, ", ".join(self.SHAPES)))
        self.name, self.unit, self.description, self.shape, self.role = name, unit, description, shape, role
        self.higher_is_better, self.standard_error_of, self.count_of = higher_is_better, standard_error_of, count_of

    def size(self, plan):
        m = plan.latent_count
        wide = {"latent": (), "latent-sequence": (plan.sequence_count,), "latent-pair": (m,),
                "latent-token": (plan.token_count,)}
        return (m,) + wide[self.shape]

    def header(self, names):
        result = {
            "name": self.name, "shape": self.SHAPES[self.shape], "unit": self.unit, "description": self.description,
            "higherIsBetter": self.higher_is_better,
        }
        for key, name in (("standardErrorOf", self.standard_error_of), ("countOf", self.count_of)):
            if name is not None:
                if name not in names:
                    raise Refused("output '%s' refers to an output '%s', and there is none" % (self.name, name))
                result[key] = names.index(name)
        if self.role is not None:
            result["role"] = self.role
        return result


def add(self, state, other):
    """For states that are sums: `merge = dmsae.add` in a class of scorers adds the next shard's."""
    for name in state:
        state[name] += other[name]


_NEEDS = {"gradient": "needs-gradient", "evaluation": "needs-evaluation", "encoder": "needs-encoder",
          "target_probabilities": "needs-target-probabilities"}


def scorer(
    target=None, *, name=None, version=None, needs=("gradient",), totals=False, unit="1", deterministic=True,
    scale_invariant=False,
):
    """Declares a scorer: a function of a batch, or a class.

    A function returns one number for every entry of the codes, [E] in the order of `batch.latents` (or [N, m], of which the
    entries are taken): positive where the latent helps. With `totals=True` it returns one number for every latent, [m], and
    these are added up over the pass. Its other parameters are settings: their types and defaults say what users may write.

    A class with a method `score(self, batch)` is the same with settings as attributes or arguments of `__init__`. A class
    with `begin(self, plan)`, which returns a dict of arrays, `accumulate(self, state, batch, plan)`, which changes them,
    and `finish(self, state, plan)` gathers totals. With `merge(self, state, other)` (or `merge = dmsae.add`) a pass may be
    cut into shards; with `passes = 3`, or a method `passes(self, plan)`, every batch is given so often. `outputs` is a list
    of `Output`; `finish` then returns a dict, or the one array.

    `needs`: what of a batch costs something: "gradient", "evaluation" (questions to the model), "encoder",
    "target_probabilities".
    """

    def declare(target):
        target.__dmsae_scorer__ = dict(
            name=name, version=version, needs=[needs] if isinstance(needs, str) else list(needs), totals=totals, unit=unit,
            deterministic=deterministic, scale_invariant=scale_invariant)
        return target

    return declare if target is None else declare(target)


class Declaration:
    """A scorer of a file, described; `made` makes one with settings."""

    def __init__(self, target, module):
        said = target.__dmsae_scorer__
        self.target, self.said = target, said
        self.id = said["name"] or target.__name__
        if not re.match(r"[A-Za-z0-9_.-]+\Z", self.id):
            raise Refused("a scorer is called '%s'; use A-Z, a-z, 0-9, '_', '-', '.'" % self.id)
        unknown = [need for need in said["needs"] if need not in _NEEDS]
        if unknown:
            raise Refused("%s needs '%s'; there are %s" % (self.id, unknown[0], ", ".join(_NEEDS)))
        self.is_class = inspect.isclass(target)
        self.version = str(said["version"] or getattr(module, "__version__", "0"))
        self.license = str(getattr(module, "__license__", "NOASSERTION"))
        lines = (inspect.getdoc(target) or "").strip().splitlines()
        self.summary = lines[0] if lines else self.id
        self.accumulates = said["totals"] or self._has("accumulate")
        self.scores_tokens = self._has("score") if self.is_class else not said["totals"]
        if self.is_class and said["totals"]:
            raise Refused("%s is a class; totals=True is for functions, a class has begin, accumulate and finish" % self.id)
        if self.is_class and not (self.scores_tokens or self.accumulates):
            raise Refused("%s has neither a method score nor begin, accumulate and finish" % self.id)
        if self.accumulates and self.is_class:
            for method in ("begin", "accumulate", "finish"):
                if not self._has(method):
                    raise Refused("%s has no method %s, which a scorer of totals has" % (self.id, method))
        self.has_passes = self.is_class and hasattr(target, "passes")
        self.is_sequential = self.accumulates and self.is_class and (self.has_passes or not self._has("merge"))
        try:
            self.parameters = settings.of_class(target) if self.is_class else settings.of_function(target, skipped=1)
        except settings.BadSetting as error:
            raise Refused("%s: %s" % (self.id, error)) from None

    def _has(self, method):
        return self.is_class and callable(getattr(self.target, method, None))

    @property
    def description(self):
        """As manifests have it."""
        tables = [("dmsae.scorer.per_token/1", self.scores_tokens), ("dmsae.scorer.accumulate/1", self.accumulates),
                  ("dmsae.scorer.passes/1", self.has_passes), ("dmsae.state/1", self._has("accepts"))]
        flags = [_NEEDS[need] for need in self.said["needs"]] + [
            flag for flag, is_set in (
                ("deterministic", self.said["deterministic"]), ("scale-invariant", self.said["scale_invariant"]),
                ("sequential", self.is_sequential),
            ) if is_set
        ]
        return {
            "id": self.id, "kind": "scorer", "version": self.version, "license": self.license,
            "description": self.summary, "extensions": [table for table, is_there in tables if is_there], "flags": flags,
            "parameters": [parameter.description for parameter in self.parameters],
        }

    def made(self, given):
        """The scorer with settings, pairs of texts."""
        values = settings.values(self.parameters, given)
        if not self.is_class:
            return _Totals(self, values) if self.said["totals"] else _Entries(self, values)
        if self.target.__init__ is not object.__init__:
            made = self.target(**values)
        else:
            made = self.target()
            for key, value in values.items():
                setattr(made, key, value)
        return made


class _Entries:
    """A function of a batch that returns a number for each entry, as an object."""

    def __init__(self, declaration, values):
        self._target, self._values = declaration.target, values

    def score(self, batch):
        return self._target(batch, **self._values)


class _Totals:
    """A function of a batch that returns a number for each latent, as an object: the numbers are added up."""

    merge = add

    def __init__(self, declaration, values):
        self._target, self._values = declaration.target, values
        self.outputs = [Output("total", declaration.said["unit"], declaration.summary)]

    def begin(self, plan):
        return {"total": numpy.zeros(plan.latent_count)}

    def accumulate(self, state, batch, plan):
        state["total"] += numbers(self._target(batch, **self._values), (batch.latent_count,), "one number for each latent")

    def finish(self, state, plan):
        return state["total"]


def numbers(result, shape, meaning):
    """What a scorer returned as an array of that shape; tensors of torch too."""
    if result is None:
        raise Refused("it returned None; wanted is an array %s, %s" % (list(shape), meaning))
    if hasattr(result, "detach"):
        result = result.detach().cpu()
    array = numpy.asarray(result)
    if array.dtype.kind not in "fiub":
        raise Refused("it returned %s of type %s; wanted is an array of numbers" % (type(result).__name__, array.dtype))
    if array.shape != shape:
        raise Refused(
            "it returned an array of shape %s; wanted is %s, %s" % (list(array.shape), list(shape), meaning))
    return array


def scores(result, batch):
    """[E] float32 of what a scorer of entries returned."""
    whole = (batch.token_count, batch.latent_count)
    if getattr(result, "ndim", 1) == 2 and tuple(result.shape) == whole:
        result = numbers(result, whole, "")[batch.rows, batch.latents]
    array = numbers(
        result, (batch.entry_count,),
        "one number for each entry of the codes (batch.activations has as many), or %s" % list(whole))
    with numpy.errstate(over="ignore"):
        return array.astype(numpy.float32)


def outputs_of(made, declaration):
    """The outputs of a scorer of totals."""
    outputs = getattr(made, "outputs", None) or [
        Output("total", getattr(made, "unit", declaration.said["unit"]), declaration.summary)
    ]
    names = [output.name for output in outputs]
    for name in names:
        if not re.match(r"[a-z0-9_]+\Z", name) or name in ("scores", "core", "per_token") or names.count(name) > 1:
            raise Refused("an output is called '%s'; use a-z, 0-9, '_', each name once, and not scores, core or per_token"
                          % name)
    if outputs[0].shape != "latent":
        raise Refused("output '%s' comes first, so it is the score, which is of shape \"latent\"" % names[0])
    return outputs


class State:
    """The arrays that a scorer of totals keeps, in the bytes that the host keeps for it."""

    def __init__(self, made, plan):
        # Which pass it is does not change what is kept.
        first = Plan(dict(plan, passCount=1, **{"pass": 0}))
        arrays = made.begin(first)
        if not isinstance(arrays, dict):
            raise Refused("begin returned %s; wanted is a dict of arrays" % type(arrays).__name__)
        self._layout, at = [], 0
        for name, array in arrays.items():
            array = numpy.asarray(array)
            if array.dtype.kind not in "fiub":
                raise Refused("state '%s' is of type %s; wanted are arrays of numbers" % (name, array.dtype))
            self._layout.append((name, at, array.dtype, array.shape))
            at = (at + array.nbytes + 63) // 64 * 64
        self.size = at

    def views(self, memory):
        """Arrays by name, where they lie in bytes."""
        return {
            name: numpy.frombuffer(memory, dtype, int(numpy.prod(shape)), at).reshape(shape)
            for name, at, dtype, shape in self._layout
        }

    def keep(self, arrays, memory):
        """Takes in arrays, and those that took the place of views."""
        if set(arrays) != {name for name, *_ in self._layout}:
            raise Refused("the state is of %s and was of %s" % (sorted(arrays), sorted(name for name, *_ in self._layout)))
        for name, view in self.views(memory).items():
            array = numpy.asarray(arrays[name])
            if array.shape != view.shape:
                raise Refused("state '%s' is of shape %s and was %s" % (name, list(array.shape), list(view.shape)))
            if not numpy.shares_memory(array, view):
                view[...] = array


def finished(result, outputs, plan):
    """Arrays of doubles of what finish returned, in the order of outputs."""
    if not isinstance(result, dict):
        if len(outputs) > 1:
            raise Refused("finish returned %s; of %d outputs wanted is a dict by name" % (type(result).__name__, len(outputs)))
        result = {outputs[0].name: result}
    missing = [output.name for output in outputs if output.name not in result]
    if missing:
        raise Refused("finish returned no output '%s'" % missing[0])
    return [
        numbers(result[output.name], output.size(plan), "output '%s'" % output.name).astype(numpy.float64) for output in outputs
    ]
