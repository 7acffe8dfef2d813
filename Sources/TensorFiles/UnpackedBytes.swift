/// What bytes packed with Zstandard hold, for small files within others.
///
/// - Throws: `TensorFileError.malformed` for bytes that are cut short, damaged, or unpack to more than a gibibyte.
package func unpackedZstandard(_ packed: UnsafeRawBufferPointer, of name: String) throws -> [UInt8] {
    let unpacking = Unzstandard()
    var (result, taken) = ([UInt8](), 0)
    var chunk = [UInt8](repeating: 0, count: 1 << 18)
    func damaged(_ what: String) -> TensorFileError { .malformed(file: name, what: what, next: "fetch it again") }
    while true {
        let step: (taken: Int, given: Int)
        do {
            step = try chunk.withUnsafeMutableBytes {
                try unpacking.unpack(UnsafeRawBufferPointer(rebasing: packed[taken...]), into: $0)
            }
        } catch let error as UnpackingError { throw damaged("it cannot be unpacked: \(error.reason)") }
        taken += step.taken
        result += chunk.prefix(step.given)
        guard result.count <= 1 << 30 else { throw damaged("it unpacks to more than a gibibyte") }
        if step.taken == 0, step.given == 0 { break }
    }
    guard taken == packed.count, unpacking.isAtEnd else { throw damaged("it is cut short") }
    return result
}
