"""What `dmsae plugin validate` asks of a worker beside what every pass does."""
import ctypes
import gc
import os
import signal
import struct
import sys
import time
import tracemalloc

import numpy

from .batch import BLOCKS


class Watch:
    """Remembers how this process was before the file was loaded."""

    _libc = ctypes.CDLL(None)

    def __init__(self):
        tracemalloc.start()
        self._output = [(name, self._captured(number)) for name, number in (("standard output", 1), ("standard error", 2))]
        self._before = self._state()

    @staticmethod
    def _captured(number):
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        os.dup2(write, number)
        os.close(write)
        return read

    @staticmethod
    def _state():
        state = {
            "the working folder": os.getcwd(), "the locale": Watch._libc.setlocale(6, None),
            "the umask": _umask(), "the priority": os.getpriority(os.PRIO_PROCESS, 0),
            "the processors it runs on": sorted(os.sched_getaffinity(0)),
        }
        for number in signal.valid_signals():
            state["the handler of signal %d" % number] = signal.getsignal(number)
        for name, value in os.environ.items():
            state["the environment variable %s" % name] = value
        return state

    def traces(self):
        gc.collect()
        now = self._state()
        names = sorted(set(self._before) | set(now))
        changes = [
            "%s is %s and was %s" % (name, now.get(name, "gone"), self._before.get(name, "not there"))
            for name in names if now.get(name) != self._before.get(name)
        ]
        sys.stderr.flush()
        for name, pipe in self._output:
            try:
                changes.append("%d bytes or more went to %s" % (len(os.read(pipe, 1 << 16)), name))
            except BlockingIOError:
                pass
        # What was freed and is only kept for later is no leak, nor is what watching takes.
        if hasattr(self._libc, "malloc_trim"):
            self._libc.malloc_trim(0)
        with open("/proc/self/statm") as file:
            resident = int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") - tracemalloc.get_tracemalloc_memory()
        return {
            "changes": changes, "allocatedBytes": tracemalloc.get_traced_memory()[0], "residentBytes": resident,
            "descriptors": len(os.listdir("/proc/self/fd")), "threads": len(os.listdir("/proc/self/task")),
            "isBusy": self._is_busy(),
        }

    @staticmethod
    def _is_busy():
        """A whole second without one quiet twentieth is no waiting."""
        for _ in range(20):
            before = time.process_time()
            time.sleep(0.05)
            if time.process_time() - before < 0.002:
                return False
        return True


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def answer(worker, arena):
    """Answers an examination: a request by its name."""
    (request, said), = arena.header.items()
    if request == "traces" and worker.watch is not None:
        return worker.done(worker.watch.traces())
    if request == "repeatedScores":
        return worker.done(_repeated(worker, arena, said))
    if request == "leave":
        # As a program ends, with what it registered for that.
        sys.exit(0)
    from .wire import BrokenLine

    raise BrokenLine("an examination '%s', which scorers in Python are not put to" % request)


def _repeated(worker, arena, said):
    """Makes a call so often, up to the first time that a result is off by more than `most`."""
    from .batch import Batch

    header = said["_0"]
    batch = Batch(header, arena, worker._asked, worker.declaration.said["needs"])
    expected = arena.array(1 + BLOCKS, numpy.float64)
    most = struct.unpack("<d", struct.pack("<Q", said["most"]))[0]
    for number in range(said["count"]):
        found = _results(worker, batch, header["plan"])
        differ = ~(numpy.isnan(expected) & numpy.isnan(found)) & ~(numpy.abs(expected - found) <= most)
        if differ.any():
            e = int(differ.argmax())
            bits = [struct.unpack("<Q", struct.pack("<d", value[e]))[0] for value in (expected, found)]
            return {"call": number, "result": e, "values": bits}
    return {"call": 0, "result": 0}


def _results(worker, batch, plan):
    if worker.declaration.scores_tokens:
        return worker.scores(batch).astype(numpy.float64)
    plan = dict(plan, passCount=worker.pass_count(plan) if worker.declaration.has_passes else 1)
    memory = worker.begun(plan)
    for i in range(plan["passCount"]):
        worker.accumulated(batch, dict(plan, **{"pass": i}), memory)
    return numpy.concatenate([output.reshape(-1) for output in worker.finished(dict(plan, **{"pass": plan["passCount"]}), memory)])
