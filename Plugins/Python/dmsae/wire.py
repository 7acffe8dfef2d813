"""Messages between dmsae and this process: Include/dmsae/worker.md."""
import fcntl
import json
import mmap
import os
import signal
import socket
import struct
import threading
import time

import numpy

#: The version of the worker protocol that this package speaks.
PROTOCOL = 1

# Kinds of messages: from the host, then from the worker.
CREATE, SCORE, STATE_SIZE, BEGIN, ACCUMULATE, MERGE, FINISH = range(1, 8)
ANSWER, DESCRIBE, FILE, ACCEPTS_STATE, PASS_COUNT, EXTENDED, HELLO = 10, 11, 19, 20, 21, 22, 23
DONE, FAILED, LOG, LOSS_CHANGES, GRADIENTS_AT, GRADIENTS_ALONG, MEAN_ACTIVATIONS, HEAD_ROWS, FINAL_SCALES = range(64, 73)

_MAGIC = b"DMSAEARE"
# linux/fcntl.h and linux/memfd.h, which a Python that was built for an older system does not have names for.
_ADD_SEALS, _GET_SEALS, _ALL_SEALS, _NO_MORE_CHANGES = 1033, 1034, 0xF, 0xE
_CLOEXEC_ALLOW_SEALING = 3


class Cancelled(BaseException):
    """The user wants the scorer to stop. Not an `Exception`, so that `except Exception` lets it through."""


class BrokenLine(BaseException):
    """What came over the line is no message."""


class HangUp(BaseException):
    """The host is gone."""


def _memfd():
    if hasattr(os, "memfd_create"):
        return os.memfd_create("dmsae", _CLOEXEC_ALLOW_SEALING)
    import ctypes
    import platform

    numbers = {"x86_64": 319, "aarch64": 279}
    file = ctypes.CDLL(None, use_errno=True).syscall(numbers[platform.machine()], b"dmsae", _CLOEXEC_ALLOW_SEALING)
    if file < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return file


def _aligned(offset):
    return (offset + 63) // 64 * 64


class Arena:
    """Blocks in sealed shared memory, where they lie. A write to them changes this process's view alone."""

    def __init__(self, file):
        size = os.fstat(file).st_size
        if size < 16 or fcntl.fcntl(file, _GET_SEALS) & _NO_MORE_CHANGES != _NO_MORE_CHANGES:
            raise BrokenLine("not sealed shared memory")
        self._memory = mmap.mmap(file, size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
        magic, count = struct.unpack_from("<8sQ", self._memory)
        if magic != _MAGIC or 16 + 8 * count > size:
            raise BrokenLine("no arena")
        self._places = []
        at = _aligned(16 + 8 * count)
        for length in struct.unpack_from("<%dQ" % count, self._memory, 16):
            if at + length > size:
                raise BrokenLine("a block too long")
            self._places.append((at, length))
            at = _aligned(at + length)

    @property
    def header(self):
        """Block 0, which is JSON."""
        return json.loads(bytes(self.array(0, numpy.uint8)))

    @property
    def count(self):
        return len(self._places)

    def array(self, block, dtype, shape=None):
        """A block as a read-only array, not copied."""
        if block >= len(self._places):
            raise BrokenLine("no block %d" % block)
        at, length = self._places[block]
        dtype = numpy.dtype(dtype)
        array = numpy.frombuffer(self._memory, dtype, length // dtype.itemsize, at)
        if shape is not None:
            if array.size != int(numpy.prod(shape)):
                raise BrokenLine("block %d has %d elements, not %s" % (block, array.size, shape))
            array = array.reshape(shape)
        array.setflags(write=False)
        return array


def _write(file, pieces):
    for piece in pieces:
        piece = memoryview(piece).cast("B")
        while len(piece) > 0:
            piece = piece[os.write(file, piece):]


class Channel:
    """The worker's end of the line, descriptor 3."""

    def __init__(self, descriptor=3):
        self._socket = socket.socket(fileno=descriptor)
        self._lock = threading.Lock()

    def send(self, kind, header, blocks=()):
        """Sends a message: a header for JSON, then arrays."""
        text = json.dumps(header).encode()
        blocks = [numpy.frombuffer(text, numpy.uint8)] + [numpy.ascontiguousarray(block) for block in blocks]
        lengths = [block.nbytes for block in blocks]
        head = struct.pack("<8s%dQ" % (1 + len(blocks)), _MAGIC, len(blocks), *lengths)
        file = _memfd()
        try:
            _write(file, [head, bytes(_aligned(len(head)) - len(head))])
            for block, length in zip(blocks, lengths):
                # An array without elements has no memory to be looked at as bytes.
                if length > 0:
                    _write(file, [block.reshape(-1).view(numpy.uint8), bytes(_aligned(length) - length)])
            fcntl.fcntl(file, _ADD_SEALS, _ALL_SEALS)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", file))]
            with self._lock:
                self._socket.sendmsg([struct.pack("<I", kind)], rights)
        except (BrokenPipeError, ConnectionResetError):
            raise HangUp() from None
        finally:
            os.close(file)

    def receive(self):
        """Waits for a message: its kind and its arena."""
        try:
            word, rights, _, _ = self._socket.recvmsg(4, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            raise HangUp() from None
        if not word:
            raise HangUp()
        if len(word) != 4 or not rights:
            raise BrokenLine("a message of %d bytes" % len(word))
        file = struct.unpack("i", rights[0][2][:4])[0]
        try:
            return struct.unpack("<I", word)[0], Arena(file)
        finally:
            os.close(file)


class StopPage:
    """The page in which the host says that the worker should stop: `Cancelled` is raised in a call that runs then."""

    def __init__(self, descriptor=4):
        self._page = mmap.mmap(descriptor, mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ)
        os.close(descriptor)
        self._runs = threading.Event()
        self._is_held = False
        signal.signal(signal.SIGUSR2, self._on_signal)
        threading.Thread(target=self._watch, daemon=True).start()

    @property
    def is_wanted(self):
        return self._page[0] != 0

    def _watch(self):
        while True:
            self._runs.wait()
            if self.is_wanted:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR2)
            time.sleep(0.03)

    def _on_signal(self, *_):
        if self._runs.is_set() and not self._is_held:
            self._runs.clear()
            raise Cancelled()

    def __enter__(self):
        """While a scorer's own code runs."""
        self._runs.set()

    def __exit__(self, *_):
        self._runs.clear()

    def held(self):
        """While the host answers a question, which it does when it is to stop too."""
        return _Held(self)


class _Held:
    def __init__(self, stop):
        self._stop = stop

    def __enter__(self):
        self._stop._is_held = True

    def __exit__(self, kind, *_):
        self._stop._is_held = False
        if kind is None and self._stop.is_wanted:
            raise Cancelled()
