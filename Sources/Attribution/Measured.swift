/// A number that may not be there: NaN in memory, null in JSON, which knows no NaN.
@propertyWrapper
public struct Measured: Codable, Equatable, Sendable {
    /// NaN, or an infinity, where there is nothing to tell.
    public var wrappedValue: Double

    /// A number, or NaN.
    public init(wrappedValue: Double) { self.wrappedValue = wrappedValue }

    /// Reads a number or null.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        wrappedValue = container.decodeNil() ? .nan : try container.decode(Double.self)
    }

    /// Writes a number or null.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        if wrappedValue.isFinite { try container.encode(wrappedValue) } else { try container.encodeNil() }
    }
}

extension KeyedDecodingContainer {
    /// What is null or missing has no value.
    public func decode(_ type: Measured.Type, forKey key: Key) throws -> Measured {
        try decodeIfPresent(Measured.self, forKey: key) ?? Measured(wrappedValue: .nan)
    }
}
