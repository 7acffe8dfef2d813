import TensorFiles

/// The members of an object in a `cfg.json`, or another file that says what an SAE is, each taken as exactly the kind
/// it must be: 0 and "False" are no truth values, 8.0 is no whole number.
package struct SAEMembers {
    private let folder: String
    /// The file's name, for messages.
    private let file: String
    /// Where the object stands, for messages: "" or "metadata.".
    package let name: String
    private let members: [String: JSONValue]

    package init(folder: String, file: String = SAEFolder.configurationName, name: String, value: JSONValue) throws {
        self.folder = folder
        self.file = file
        self.name = name
        guard let members = value.object else {
            let what = name.isEmpty ? file : String(name.dropLast())
            throw SparseCodingError.badFolder(
                path: folder, reason: "\(what) is \(value.shown), not an object", advice: "correct \(file)")
        }
        self.members = members
    }

    package subscript(key: String) -> JSONValue? { members[key] }

    package var isEmpty: Bool { members.isEmpty }

    package func truth(_ key: String) throws -> Bool? { try take(key, "true or false", orNull: false, \.bool) }

    package func integer(_ key: String, orNull: Bool = false) throws -> Int? {
        try take(key, "a whole number", orNull: orNull, \.integer)
    }

    package func number(_ key: String) throws -> Double? { try take(key, "a number", orNull: true, \.double) }

    package func text(_ key: String, orNull: Bool = false) throws -> String? {
        try take(key, "a text", orNull: orNull, \.string)
    }

    package func integers(_ key: String) throws -> [Int]? {
        try take(key, "a list of whole numbers", orNull: true) { value in
            guard let list = value.array else { return nil }
            let numbers = list.compactMap(\.integer)
            return numbers.count == list.count ? numbers : nil
        }
    }

    package func object(_ key: String) throws -> SAEMembers? {
        guard let value = members[key], value != .null else { return nil }
        return try SAEMembers(folder: folder, file: file, name: name + key + ".", value: value)
    }

    /// - Throws: `badFolder` where the member is there and something else than the text `wanted`.
    package func require(_ key: String, _ wanted: String, _ advice: String) throws {
        if let value = members[key], value != .string(wanted) { throw refused(key, advice) }
    }

    /// - Throws: `badFolder` for a member whose key is not among `known`.
    package func refuseOthers(than known: Set<String>) throws {
        if let other = members.keys.sorted().first(where: { !known.contains($0) }) {
            throw refused(
                other,
                "this key is not known here, and what it changes would be missed; remove it from \(file) if that is nothing"
            )
        }
    }

    package func refused(_ key: String, _ advice: String) -> SparseCodingError {
        fails("\(name)\(key) is \(members[key]?.shown ?? "missing")", advice)
    }

    package func fails(_ reason: String, _ advice: String) -> SparseCodingError {
        .badFolder(path: folder, reason: reason, advice: advice)
    }

    private func take<Value>(
        _ key: String, _ wanted: String, orNull: Bool, _ read: (JSONValue) -> Value?
    ) throws -> Value? {
        guard let value = members[key], !(orNull && value == .null) else { return nil }
        guard let result = read(value) else { throw refused(key, "write \(wanted) in \(file)") }
        return result
    }
}
