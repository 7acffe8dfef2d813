import Glibc
import Synchronization

/// Runs foreign code and puts rounding and denormal modes back: a library built by `-ffast-math` may flush denormals
/// to zero in every thread that loads it, and so change the numbers of code it has nothing to do with.
package func keepingFloatingPointEnvironment<Result>(_ body: () throws -> Result) rethrows -> Result {
    var environment = fenv_t()
    fegetenv(&environment)
    defer {
        var found = fenv_t()
        fegetenv(&found)
        if found.modes != environment.modes { changedModes.add(1, ordering: .relaxed) }
        fesetenv(&environment)
    }
    return try body()
}

/// How often foreign code left other modes than it found; for a validator, since nobody else sees it.
package let changedModes = Atomic(0)

extension fenv_t {
    /// Rounding, denormals, which exceptions trap; without the flags of what happened so far.
    fileprivate var modes: UInt64 {
        #if arch(x86_64)
            UInt64(__mxcsr & ~0x3F) << 32 | UInt64(__control_word)
        #elseif arch(arm64)
            UInt64(__fpcr)
        #endif
    }
}

/// Runs our own code from within foreign code, in the modes our numbers are defined for, and then puts its modes back.
package func inDefaultFloatingPointEnvironment<Result>(_ body: () throws -> Result) rethrows -> Result {
    try keepingFloatingPointEnvironment {
        // FE_DFL_ENV, a macro that Swift does not see: the modes a program starts with.
        fesetenv(UnsafePointer<fenv_t>(bitPattern: -1))
        return try body()
    }
}
