"""The worker: loads one file of scorers and does what the host asks, one request at a time."""
import faulthandler
import linecache
import os
import platform
import resource
import sys
import traceback
import types
import warnings

import numpy

from . import declaration, examination, wire
from .batch import BLOCKS, Batch, Plan
from .settings import BadSetting

_FOLDER = os.path.dirname(os.path.abspath(__file__))
_INFO, _WARNING = 2, 3


class Failure(Exception):
    """What is told to the host: the file or scorer it is about, in which call, and the words."""

    def __init__(self, plugin, function, words):
        self.plugin, self.function, self.words = plugin, function, words


class Lines:
    """Standard output of a scorer: each line goes to the host's log."""

    encoding = "utf-8"

    def __init__(self, log):
        self._log, self._rest = log, ""

    def write(self, text):
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._log(_INFO, line)
        return len(text)

    def flush(self):
        if self._rest:
            self._log(_INFO, self._rest)
        self._rest = ""

    def isatty(self):
        return False


def own_traceback(error):
    """A traceback from the scorer's first frame on: what called it is of no use to its author."""
    frames = error.__traceback__
    while frames is not None and os.path.dirname(frames.tb_frame.f_code.co_filename) == _FOLDER:
        frames = frames.tb_next
    lines = traceback.format_exception(type(error), error, frames)
    if isinstance(error, ImportError) and not isinstance(error, declaration.Refused):
        lines.append("The interpreter is %s; install it there, or name another one with --python\n" % sys.executable)
    return "".join(lines).rstrip("\n")


class Worker:
    """One file, at most one scorer of it."""

    def __init__(self):
        self.channel, self.stop = wire.Channel(), wire.StopPage()
        self.path, self.module, self.declared = "", None, []
        self.scorer = self.declaration = self.watch = None
        self._source = b""
        self._states = {}
        self._seconds = 0.0
        self._function = "loading"
        sys.stdout = Lines(self.log)
        faulthandler.enable()
        warnings.showwarning = self._warn
        # Arrays are lent for reading, and torch says of each that it is.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writ")

    @property
    def name(self):
        return self.declaration.id if self.declaration else os.path.basename(self.path)

    def log(self, level, text):
        self._arm()
        self.channel.send(wire.LOG, {"level": level, "plugin": self.name, "text": text})

    def _warn(self, message, category, filename, line, *_):
        place = "line %d" % line if filename == self.path else "%s:%d" % (filename, line)
        self.log(_WARNING, "%s: %s: %s" % (place, category.__name__, message))

    def run(self):
        while True:
            kind, arena = self.channel.receive()
            try:
                self._serve(kind, arena)
            except wire.Cancelled:
                self._fail({"call": {"_0": {"cancelled": {"plugin": self.name, "function": self._function}}}})
            except Failure as failure:
                self._fail({"call": {"_0": {"raised": {
                    "plugin": failure.plugin, "path": self.path, "function": failure.function, "text": failure.words}}}})
            except wire.BrokenLine as error:
                self._fail({"message": {"reason": str(error)}})

    def _fail(self, failure):
        sys.stdout.flush()
        faulthandler.cancel_dump_traceback_later()
        self.channel.send(wire.FAILED, failure)

    def done(self, header=None, blocks=()):
        sys.stdout.flush()
        faulthandler.cancel_dump_traceback_later()
        self.channel.send(wire.DONE, header or {}, blocks)

    def _arm(self):
        """Shortly before the host gives a silent call up, standard error says where it is."""
        if self._seconds > 0:
            faulthandler.dump_traceback_later(self._seconds)

    def calling(self, function, call):
        """Runs code of the scorer; whatever it raises is a `Failure` with its traceback."""
        self._function = function
        try:
            self._arm()
            with self.stop:
                return call()
        except (wire.Cancelled, wire.HangUp, wire.BrokenLine, Failure):
            raise
        except (declaration.Refused, BadSetting) as error:
            raise Failure(self.name, function, str(error)) from None
        except BaseException as error:
            raise Failure(self.name, function, own_traceback(error)) from None

    # Requests.

    def _serve(self, kind, arena):
        if kind == wire.EXTENDED:
            return examination.answer(self, arena)
        method = self._REQUESTS.get(kind)
        if method is None:
            raise wire.BrokenLine("a request of kind %d, which scorers in Python do not serve" % kind)
        method(self, arena)

    def _hello(self, arena):
        self._seconds = 0.9 * arena.header.get("timeout", 0.0)
        runtime = {"Python": platform.python_version(), "numpy": numpy.__version__}
        self.done({"protocol": wire.PROTOCOL, "worker": "the Python package in " + _FOLDER, "runtime": runtime})

    def _file(self, arena):
        part = arena.header["parts"][-1]
        self.path = part["path"]
        size = os.fstat(part["descriptor"]).st_size
        self._source = os.pread(part["descriptor"], size, 0)
        os.close(part["descriptor"])
        self.done()

    def _load(self, request):
        if request.get("memory", 0) > 0:
            resource.setrlimit(resource.RLIMIT_AS, (request["memory"], request["memory"]))
        if self.module is not None:
            return
        if request.get("isWatched"):
            self.watch = examination.Watch()
        self._function = "loading"
        name = "scorer_" + os.path.splitext(os.path.basename(self.path))[0]
        module = types.ModuleType(name)
        module.__file__ = self.path
        sys.modules[name] = module
        # Modules beside the file are its own.
        sys.path.insert(0, os.path.dirname(self.path))

        def execute():
            text = self._source.decode("utf-8", "replace")
            # What runs is this text, whatever is in the file by now.
            linecache.cache[self.path] = (len(text), None, text.splitlines(True), self.path)
            exec(compile(self._source, self.path, "exec"), module.__dict__)

        self.calling("loading", execute)
        found = [value for value in list(module.__dict__.values()) if "__dmsae_scorer__" in getattr(value, "__dict__", {})]
        own = [value for value in found if value.__module__ == name] or found

        def declare():
            declared = [declaration.Declaration(value, module) for value in dict.fromkeys(own)]
            if not declared:
                raise declaration.Refused(
                    "it declares no scorer; put @scorer above a function or class of it (from dmsae import scorer)")
            return declared

        self.declared = self.calling("loading", declare)
        self.module = module

    def _describe(self, arena):
        self._load(arena.header)
        plugins = [declared.description for declared in self.declared]
        self.done({"manifest": 1, "abi": {"major": 0, "minor_min": 0}, "plugins": plugins})

    def _create(self, arena):
        request = arena.header
        self._load(request)
        wanted = request.get("id")
        chosen = [declared for declared in self.declared if wanted in (None, declared.id)]
        if len(chosen) != 1:
            raise Failure(self.name, "create", "it declares %s" % ", ".join(declared.id for declared in self.declared))
        chosen = self.declaration = chosen[0]
        self.scorer = self.calling("create", lambda: chosen.made(request["parameters"]))
        reply = {
            "id": chosen.id, "version": chosen.version, "isReentrant": False, "parameters": request["parameters"],
            "scoresTokens": chosen.scores_tokens, "isSequential": chosen.is_sequential,
            "needs": ("encoder" in chosen.said["needs"]) + 2 * ("target_probabilities" in chosen.said["needs"]),
        }
        if chosen.accumulates:
            outputs = self.calling("create", lambda: declaration.outputs_of(self.scorer, chosen))
            names = [output.name for output in outputs]
            reply["outputs"] = self.calling("create", lambda: [output.header(names) for output in outputs])
            reply["stateVersion"] = int(getattr(self.scorer, "state_version", 1))
            self.outputs = outputs
        self.done(reply)

    def batch(self, arena):
        """The batch of a message, and its header."""
        header = arena.header
        return Batch(header, arena, self._asked, self.declaration.said["needs"]), header

    def _asked(self, kind, header, blocks):
        """Asks the host, and waits for its answer."""
        faulthandler.cancel_dump_traceback_later()
        with self.stop.held():
            self.channel.send(kind, header, blocks)
            kind, arena = self.channel.receive()
            if kind != wire.ANSWER:
                raise wire.BrokenLine("a message of kind %d instead of an answer" % kind)
        self._arm()
        return arena

    def scores(self, batch):
        """[E] what the scorer says of a batch."""
        return self.calling("score", lambda: declaration.scores(self.scorer.score(batch), batch))

    def _score(self, arena):
        self.done(blocks=[self.scores(self.batch(arena)[0])])

    def state(self, plan):
        """How states of a pass are laid out."""
        key = tuple(sorted((k, v) for k, v in plan.items() if k not in ("pass", "passCount")))
        if key not in self._states:
            self._states = {key: self.calling("begin", lambda: declaration.State(self.scorer, plan))}
        return self._states[key]

    def _state_size(self, arena):
        self.done({"count": self.state(arena.header).size})

    def begun(self, plan):
        """The bytes of a fresh state."""
        state, memory = self.state(plan), bytearray(self.state(plan).size)
        self.calling("begin", lambda: state.keep(self.scorer.begin(Plan(plan)), memory))
        return memory

    def accumulated(self, batch, plan, memory):
        """Adds a batch to a state."""
        state = self.state(plan)
        arrays = state.views(memory)

        def accumulate():
            self.scorer.accumulate(arrays, batch, Plan(plan))
            state.keep(arrays, memory)

        self.calling("accumulate", accumulate)

    def finished(self, plan, memory):
        """Arrays of all outputs of a state."""
        state = self.state(plan)
        return self.calling("finish", lambda: declaration.finished(
            self.scorer.finish(state.views(memory), Plan(plan)), self.outputs, Plan(plan)))

    def _begin(self, arena):
        self.done(blocks=[numpy.frombuffer(self.begun(arena.header), numpy.uint8)])

    def _accumulate(self, arena):
        batch, header = self.batch(arena)
        memory = bytearray(arena.array(1 + BLOCKS, numpy.uint8))
        self.accumulated(batch, header["plan"], memory)
        self.done(blocks=[numpy.frombuffer(memory, numpy.uint8)])

    def _merge(self, arena):
        state = self.state(arena.header)
        memory = bytearray(arena.array(1, numpy.uint8))
        arrays, other = state.views(memory), state.views(arena.array(2, numpy.uint8))

        def merge():
            self.scorer.merge(arrays, other)
            state.keep(arrays, memory)

        self.calling("merge", merge)
        self.done(blocks=[numpy.frombuffer(memory, numpy.uint8)])

    def _finish(self, arena):
        # The state stays as it is: the scorer gets a copy.
        self.done(blocks=self.finished(arena.header, bytearray(arena.array(1, numpy.uint8))))

    def pass_count(self, plan):
        """How many passes the scorer wants."""
        passes = getattr(self.scorer, "passes", 1)
        return self.calling("passes", lambda: int(passes(Plan(plan)) if callable(passes) else passes))

    def _pass_count(self, arena):
        self.done({"count": self.pass_count(arena.header)})

    def _accepts_state(self, arena):
        accepts, version = getattr(self.scorer, "accepts", None), arena.header["version"]
        self.done({} if accepts is None else {"isAccepted": self.calling("accepts", lambda: bool(accepts(version)))})

    _REQUESTS = {
        wire.HELLO: _hello, wire.FILE: _file, wire.DESCRIBE: _describe, wire.CREATE: _create, wire.SCORE: _score,
        wire.STATE_SIZE: _state_size, wire.BEGIN: _begin, wire.ACCUMULATE: _accumulate, wire.MERGE: _merge,
        wire.FINISH: _finish, wire.PASS_COUNT: _pass_count, wire.ACCEPTS_STATE: _accepts_state,
    }


def serve():
    """Serves until the host hangs up."""
    try:
        Worker().run()
    except wire.HangUp:
        os._exit(0)
