import Glibc

/// Runs foreign code and puts rounding and denormal modes back: a library built by `-ffast-math` may flush denormals
/// to zero in every thread that loads it, and so change the numbers of code it has nothing to do with.
func keepingFloatingPointEnvironment<Result>(_ body: () throws -> Result) rethrows -> Result {
    var environment = fenv_t()
    fegetenv(&environment)
    defer { fesetenv(&environment) }
    return try body()
}

/// Runs our own code from within foreign code, in the modes our numbers are defined for, and then puts its modes back.
func inDefaultFloatingPointEnvironment<Result>(_ body: () throws -> Result) rethrows -> Result {
    try keepingFloatingPointEnvironment {
        // FE_DFL_ENV, a macro that Swift does not see: the modes a program starts with.
        fesetenv(UnsafePointer<fenv_t>(bitPattern: -1))
        return try body()
    }
}
