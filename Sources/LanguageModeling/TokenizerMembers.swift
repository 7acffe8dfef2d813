import TensorFiles

/// The members of an object in a `tokenizer.json`, by exactly the kind they must have; null counts as absent.
struct TokenizerMembers {
    let path: String
    /// Where the object stands, for messages: "" or "model.".
    let name: String
    private let members: [String: JSONValue]

    init(path: String, name: String, value: JSONValue) throws {
        (self.path, self.name) = (path, name)
        guard let members = value.object else {
            throw TextError.malformedTokenizer(
                file: path, what: "\(name.isEmpty ? "it" : "\"\(name.dropLast())\"") is \(value.shown), not an object")
        }
        self.members = members
    }

    subscript(key: String) -> JSONValue? { members[key] }

    func member(_ key: String) throws -> TokenizerMembers? {
        guard let value = members[key], value != .null else { return nil }
        return try TokenizerMembers(path: path, name: name + key + ".", value: value)
    }

    /// Every member, which must be an object, in order of its key.
    func objects() throws -> [(key: String, value: TokenizerMembers)] {
        try members.sorted { $0.key < $1.key }.map {
            ($0.key, try TokenizerMembers(path: path, name: name + $0.key + ".", value: $0.value))
        }
    }

    /// The objects of a list; none where it is absent.
    func list(_ key: String) throws -> [TokenizerMembers] {
        guard let value = members[key], value != .null else { return [] }
        guard let list = value.array else { throw malformed("\"\(name)\(key)\" is not a list") }
        return try list.enumerated().map { try TokenizerMembers(path: path, name: "\(name)\(key)[\($0)].", value: $1) }
    }

    func integers(_ key: String) throws -> [Int]? {
        try take(key, "a list of whole numbers") { value in
            let list = value.array?.compactMap(\.integer)
            return list?.count == value.array?.count ? list : nil
        }
    }

    func text(_ key: String) throws -> String? { try take(key, "a text", \.string) }

    func truth(_ key: String) throws -> Bool? { try take(key, "true or false", \.bool) }

    func refuseOthers(than known: Set<String>) throws {
        if let other = members.keys.sorted().first(where: { members[$0] != .null && !known.contains($0) }) {
            throw unsupported("the option \"\(name)\(other)\"", known.sorted().joined(separator: ", "))
        }
    }

    func malformed(_ what: String) -> TextError { .malformedTokenizer(file: path, what: what) }

    func unsupported(_ found: String, _ supported: String) -> TextError {
        .unsupportedTokenizer(file: path, found: found, supported: supported)
    }

    private func take<Value>(_ key: String, _ wanted: String, _ read: (JSONValue) -> Value?) throws -> Value? {
        guard let value = members[key], value != .null else { return nil }
        guard let result = read(value) else {
            throw malformed("\"\(name)\(key)\" is \(value.shown), not \(wanted)")
        }
        return result
    }
}
