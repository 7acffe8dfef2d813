/// NaNs that arithmetic does not produce, put into an output before a call: what still holds one
/// afterwards was not written.
enum Unwritten {
    static let float = Float(bitPattern: 0x7FC0_D35A)
    static let double = Double(bitPattern: 0x7FF8_0000_D35A_D35A)

    static func isLeft(in value: Float) -> Bool { value.bitPattern == float.bitPattern }
    static func isLeft(in value: Double) -> Bool { value.bitPattern == double.bitPattern }
}
