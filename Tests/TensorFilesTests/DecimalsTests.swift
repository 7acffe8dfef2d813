import TensorFiles
import Testing

@Test func numbersHaveTheDecimalsAskedFor() {
    let cases: [(Double, Int, String)] = [
        (0, 2, "0.00"), (1.005, 1, "1.0"), (2.5, 0, "3"), (-2.5, 0, "-3"), (-0.001, 2, "0.00"), (0.0499, 1, "0.0"),
        (0.05, 1, "0.1"), (9.999, 2, "10.00"), (1234.5678, 3, "1234.568"), (-12.345, 1, "-12.3"), (.nan, 2, "nan"),
        (-.infinity, 2, "-inf"), (0.001, 3, "0.001"), (1e300, 2, "1e+300"),
    ]
    for (value, places, text) in cases { #expect(decimals(value, places) == text) }
}

@Test func numbersOnAPageHaveATrueMinusSignAndADashForNone() {
    let cases: [(Double, Int, String)] = [
        (-12.345, 1, "−12.3"), (-0.001, 2, "0.00"), (2.5, 0, "3"), (.nan, 2, "–"), (-.infinity, 0, "–"),
    ]
    for (value, places, text) in cases { #expect(short(value, places) == text) }
}
