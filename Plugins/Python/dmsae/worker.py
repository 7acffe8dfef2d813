"""What dmsae starts to run a file of scorers: `python3 worker.py`, with the host's line as descriptor 3."""
import os
import sys

if sys.version_info < (3, 9):
    sys.exit("scorers in Python need Python 3.9 or newer, and %s is %d.%d" % ((sys.executable,) + sys.version_info[:2]))


def _import_package():
    """Makes this folder the package `dmsae`, whatever else of that name is installed."""
    import importlib.util

    folder = os.path.dirname(os.path.abspath(__file__))
    # Its modules are no modules of the scorer's.
    if sys.path and os.path.realpath(sys.path[0] or ".") == os.path.realpath(folder):
        del sys.path[0]
    spec = importlib.util.spec_from_file_location("dmsae", folder + "/__init__.py", submodule_search_locations=[folder])
    package = importlib.util.module_from_spec(spec)
    sys.modules["dmsae"] = package
    spec.loader.exec_module(package)


if __name__ == "__main__":
    try:
        os.fstat(3)
    except OSError:
        sys.exit("this is the part of dmsae that runs a scorer; it is only started by dmsae itself")
    try:
        import numpy  # noqa: F401
    except ImportError as error:
        sys.exit("scorers in Python need numpy, and %s has none (%s); install it there (%s -m pip install numpy), or name "
                 "another interpreter with --python" % (sys.executable, error, sys.executable))
    _import_package()
    from dmsae.serving import serve

    serve()
