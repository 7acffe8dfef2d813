import LinearAlgebra
import TensorFiles
import Testing

/// A file of golden vectors. A tensor is compared with its float64 version where the file has one.
public struct Golden {
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
