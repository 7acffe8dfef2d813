import TensorFiles

/// Members of a config.json by exactly the kind they must have. A member that is null counts as absent, as transformers
/// writes it.
///
/// Which members were asked for is remembered: those that nobody asked for are refused at the end.
final class ModelSettings {
    let file: String
    let root: JSONValue
    private var asked: Set<String> = []

    init(file: String, root: JSONValue) {
        self.file = file
        self.root = root
    }

    func member(_ key: String) -> JSONValue? {
        asked.insert(key)
        guard let value = root[key], value != .null else { return nil }
        return value
    }

    /// Whether the file has the member, be it null.
    func isThere(_ key: String) -> Bool { root[key] != nil }

    func refuse(_ key: String, unless supported: JSONValue) throws {
        if let value = member(key), value != supported {
            throw LanguageModelError.unsupportedSetting(
                file: file, key: key, found: value.shown, supported: supported.shown)
        }
    }

    /// Refuses members that nobody asked for, are not in `harmless` and not null.
    func refuseUnread(but harmless: Set<String> = [], in place: String = "") throws {
        let others = (root.object ?? [:]).filter {
            $0.value != .null && !asked.contains($0.key) && !harmless.contains($0.key)
        }
        if let (key, value) = others.min(by: { $0.key < $1.key }) {
            throw LanguageModelError.unknownSetting(file: file, key: place + key, found: value.shown)
        }
    }

    func size(_ key: String, else fallback: Int? = nil) throws -> Int {
        guard let value = member(key) else { return try fallback ?? missing(key) }
        guard let size = value.integer else { throw bad(key, value, "a whole number") }
        return size
    }

    /// nil where it is null or not there.
    func sizeOrNull(_ key: String) throws -> Int? { member(key) == nil ? nil : try size(key) }

    /// nil where it is null; it must be there, since what a file leaves out is not what null says.
    func numberOrNull(_ key: String) throws -> Double? {
        guard member(key) != nil else { return isThere(key) ? nil : try missing(key) }
        return try number(key)
    }

    func number(_ key: String, else fallback: Double? = nil) throws -> Double {
        guard let value = member(key) else { return try fallback ?? missing(key) }
        guard let number = value.double else { throw bad(key, value, "a number") }
        return number
    }

    func truth(_ key: String, else fallback: Bool) throws -> Bool {
        guard let value = member(key) else { return fallback }
        guard let truth = value.bool else { throw bad(key, value, "true or false") }
        return truth
    }

    /// A token id; negative ones stand for "none" in older files.
    func id(_ key: String) throws -> Int? {
        guard let value = member(key) else { return nil }
        guard let id = value.integer else { throw bad(key, value, "a token id") }
        return id < 0 ? nil : id
    }

    func ids(_ key: String) throws -> [Int] {
        guard let value = member(key) else { return [] }
        let listed = value.array ?? [value]
        let ids = listed.compactMap(\.integer)
        guard ids.count == listed.count else { throw bad(key, value, "token ids") }
        return ids.filter { $0 >= 0 }
    }

    func bad(_ key: String, _ value: JSONValue, _ wanted: String) -> LanguageModelError {
        .badSetting(file: file, key: key, found: value.shown, wanted: wanted)
    }

    private func missing<Value>(_ key: String) throws -> Value {
        throw LanguageModelError.missingSetting(file: file, key: key)
    }
}
