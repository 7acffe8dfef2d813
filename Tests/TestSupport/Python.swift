/// Whether `python3` is there and has numpy: what tests of scorers in Python need, and say when they are skipped.
public let hasNumpy: Bool = {
    let result = try? run("/usr/bin/env", ["python3", "-c", "import numpy, sys; sys.exit(sys.version_info < (3, 9))"])
    return result?.status == 0
}()

/// Why a test was skipped.
public let numpyIsMissing = "python3 (3.9 or newer) with numpy is not here; Debian calls it python3-numpy"
