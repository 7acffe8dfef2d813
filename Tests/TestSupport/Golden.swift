import LinearAlgebra
import TensorFiles
import Testing

/// A file of golden vectors. A tensor is compared with its float64 version where the file has one.
public struct Golden {
    /// The file.
    public let file: SafetensorsFile

    /// Opens a file under Tests/Fixtures.
    public init(_ name: String) throws { file = try SafetensorsFile(path: fixture(name)) }

    /// The expected values of a tensor, in double precision.
    public func expected(_ name: String) throws -> [Double] {
        try file.doubles(file.tensors["f64." + name] == nil ? name : "f64." + name)
    }

    /// The float32 tensor.
    public func matrix(_ name: String) throws -> Matrix { try file.matrix(name) }

    /// The single number of a tensor.
    public func number(_ name: String) throws -> Double { try expected(name)[0] }

    /// Records an issue unless |a − b| ≤ tolerance · max|b| for every element.
    public func check(
        _ name: String, _ found: [Float], tolerance: Double, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        checkClose(found, try expected(name), tolerance: tolerance, name, sourceLocation: sourceLocation)
    }
}

/// Records an issue unless |a − b| ≤ tolerance · max|b| for every element.
public func checkClose(
    _ found: [Float], _ expected: [Double], tolerance: Double, _ what: String,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(found.count == expected.count, "\(what): counts", sourceLocation: sourceLocation)
    guard found.count == expected.count else { return }
    let scale = expected.reduce(0) { max($0, abs($1)) }
    var worst = 0.0
    var at = 0
    for i in found.indices {
        let difference = abs(Double(found[i]) - expected[i])
        if !(difference <= worst) { (worst, at) = (difference, i) }
    }
    #expect(
        worst <= tolerance * scale,
        "\(what): element \(at) is \(found.isEmpty ? 0 : found[at]), expected \(expected.isEmpty ? 0 : expected[at]); off by \(worst / max(scale, 1e-300)) of the largest",
        sourceLocation: sourceLocation)
}
