import TensorFiles

/// All that a pass's numbers depend on, by name: what is kept of one pass is not gone on from by another.
public struct PassKey: Equatable, Sendable {
    /// "layer": "15", "tokens.sha256": "9f…"
    public var entries: [String: String]

    /// A key of the given entries.
    public init(_ entries: [String: String]) { self.entries = entries }

    /// The value of an entry; nil removes it.
    public subscript(_ name: String) -> String? {
        get { entries[name] }
        set { entries[name] = newValue }
    }

    /// As files keep it.
    public var text: String {
        // An empty text in its place would be the same for two passes.
        guard let text = try? JSONRecord.text(entries, pretty: false) else {
            preconditionFailure("texts by texts are always JSON")
        }
        return text
    }

    /// In what a kept key is another, in words; nil if it is this one, but for entries that somebody else has judged.
    public func difference(from kept: String?, except judged: Set<String> = []) -> String? {
        guard kept != text else { return nil }
        guard let kept, let found = try? JSONRecord.decode([String: String].self, from: kept, in: "") else {
            return "it does not say of which"
        }
        let names = Set(entries.keys).union(found.keys).sorted().filter {
            entries[$0] != found[$0] && !judged.contains($0)
        }
        if names.isEmpty && !judged.isEmpty { return nil }
        return names.isEmpty
            ? "its key is written otherwise"
            : names.map { Self.words($0, found[$0], entries[$0]) }.joined(separator: ", ")
    }

    private static func words(_ name: String, _ found: String?, _ wanted: String?) -> String {
        let noun = name.replacing(".sha256", with: "").replacing("_", with: " ")
        func shown(_ value: String?) -> String? {
            value.flatMap { $0.count <= 40 && !name.hasSuffix(".sha256") ? printable($0) : nil }
        }
        guard let there = shown(found), let here = shown(wanted) else { return "other \(printable(noun))" }
        return "\(printable(noun)) \(there) there, \(here) here"
    }

    /// - Throws: `AttributionError.otherPass` unless `kept`, which stands in the file `path`, is this key.
    public func requireSame(as kept: String?, in path: String, except judged: Set<String> = []) throws {
        if let difference = difference(from: kept, except: judged) {
            throw AttributionError.otherPass(path: path, difference: difference)
        }
    }
}

/// A digest of the numbers that a file keeps for later, so that changed ones are not gone on from.
struct ContentDigest {
    private var hash = SHA256()

    mutating func add<Element: BitwiseCopyable>(_ values: [Element]) {
        withUnsafeBytes(of: UInt64(values.count)) { hash.update($0) }
        values.withUnsafeBytes { hash.update($0) }
    }

    mutating func add(_ text: String) { add(Array(text.utf8)) }

    var hexadecimal: String { SHA256.hexadecimal(hash.digest()) }
}
