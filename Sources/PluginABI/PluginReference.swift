import Glibc

/// What a user writes where a plugin is wanted: `gxa`, `random,seed=7`, `./scorer.so`, `./scorers.so:second,alpha=2`,
/// `scorers.py:Second`.
public struct PluginReference: Equatable, Sendable {
    /// Where the plugin is.
    public enum Place: Equatable, Sendable {
        /// An id, to be looked for among the shipped ones and in DMSAE_PLUGIN_PATH.
        case name(String)
        /// A file, and the id of a plugin in it.
        case file(path: String, id: String?)
    }

    /// A setting for the plugin.
    public struct Parameter: Equatable, Sendable {
        /// Name of the setting.
        public let key: String
        /// Its value, as written.
        public let value: String

        public init(key: String, value: String) {
            self.key = key
            self.value = value
        }
    }

    /// The reference as written, for records.
    public let text: String
    /// Where the plugin is.
    public let place: Place
    /// The settings, in the order written.
    public let parameters: [Parameter]

    /// Reads a reference.
    ///
    /// A text with a slash, or with `.so` or `.py` at the end of its place, is a path; anything else is a name. The place
    /// ends at the first comma, or, where files of such names are there, at the first that ends the path of one: a path may
    /// hold commas, and needs no escape. It cannot hold `.so:` or `.py:` other than before an id.
    /// - Throws: `PluginReferenceError.badReference`.
    public init(_ text: String) throws {
        func bad(_ reason: String) -> PluginReferenceError { .badReference(text, reason: reason) }
        let parts = text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        let placeParts = (1...parts.count).first { Self.isFile(parts[..<$0].joined(separator: ",")) } ?? 1
        self.text = text
        place = try Self.place(parts[..<placeParts].joined(separator: ",")) { bad($0) }
        var parameters: [Parameter] = []
        for part in parts.dropFirst(placeParts) {
            guard let equals = part.firstIndex(of: "=") else {
                let whole = parts.joined(separator: ",")
                throw bad(
                    "'\(part)' has no '='"
                        + (whole.contains("/") ? ", and there is no file of that name with its commas" : ""))
            }
            let key = String(part[..<equals])
            if key.isEmpty { throw bad("'\(part)' has no key") }
            if parameters.contains(where: { $0.key == key }) { throw bad("'\(key)' is given twice") }
            parameters.append(Parameter(key: key, value: String(part[part.index(after: equals)...])))
        }
        self.parameters = parameters
    }

    /// Whether a file is at the path that `text` begins with; the rest of it is an id.
    private static func isFile(_ text: String) -> Bool {
        guard let place = try? place(text, { .badReference(text, reason: $0) }), case .file(let path, _) = place else {
            return false
        }
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT != S_IFDIR
    }

    private static func place(_ text: String, _ bad: (String) -> PluginReferenceError) throws -> Place {
        if text.isEmpty { throw bad("it names no plugin") }
        if text.utf8.contains(0) { throw bad("it holds a zero byte") }
        func isFile(_ text: Substring) -> Bool { [".so", ".py"].contains(where: text.hasSuffix) }
        if isFile(text[...]) { return .file(path: text, id: nil) }
        // The last ".so:" or ".py:" splits path and id.
        var search = text.endIndex
        while let colon = text[..<search].lastIndex(of: ":") {
            if isFile(text[..<colon]) {
                let id = String(text[text.index(after: colon)...])
                if id.isEmpty { throw bad("no id follows the colon") }
                return .file(path: String(text[..<colon]), id: id)
            }
            search = colon
        }
        return text.contains("/") ? .file(path: text, id: nil) : .name(text)
    }
}
