import Glibc
import TensorFiles

/// The files of a corpus, in the order they are read: those that were given, and of a folder those in it by name. They hold text or
/// token ids, and not some the one and some the other.
public struct CorpusFiles: Sendable {
    /// What a file holds, by its name.
    enum Content: Sendable {
        case text, tokens

        /// nil for other names.
        init?(of name: String) {
            let unpacked = Packing.unpackedName(name)
            if unpacked.hasSuffix(".jsonl") || unpacked.hasSuffix(".txt") {
                self = .text
            } else if name.hasSuffix(".npy") || name.hasSuffix(".safetensors") || name.hasSuffix(".bin") {
                self = .tokens
            } else {
                return nil
            }
        }
    }

    /// What was given, and the files that it stands for.
    public let given: [(path: String, files: [String])]
    let content: Content

    /// All files.
    public var files: [String] { given.flatMap(\.files) }

    /// What was given, for messages.
    public var path: String { given.map(\.path).joined(separator: ", ") }

    /// Finds the files; their contents are looked at when they are read.
    ///
    /// Throws `TextError.unreadable` for a missing path, an unknown kind of file, a folder without text or tokens, and for what would be read
    /// twice.
    public init(_ paths: [String]) throws {
        precondition(!paths.isEmpty, "a corpus of nothing")
        given = try paths.map { ($0, try Self.files(at: $0)) }
        let files = given.flatMap(\.files)
        var known: Set<String> = []
        if let twice = files.first(where: { !known.insert($0).inserted }) {
            throw TextError.unreadable(path: twice, reason: "it is given twice")
        }
        let contents = Set(files.compactMap(Content.init(of:)))
        guard contents.count == 1, let content = contents.first else {
            throw TextError.unreadable(
                path: given.map(\.path).joined(separator: ", "), reason: "text and token ids are not one corpus")
        }
        self.content = content
    }

    private static func files(at path: String) throws -> [String] {
        var status = stat()
        guard stat(path, &status) == 0 else {
            throw TextError.unreadable(path: path, reason: String(cString: strerror(errno)))
        }
        if status.st_mode & S_IFMT == S_IFDIR { return try names(in: path).map { path + "/" + $0 } }
        guard !path.hasSuffix(".parquet") else {
            let text = path.dropLast(".parquet".count) + ".jsonl"
            throw TextError.unreadable(
                path: path,
                reason: "Parquet is not read; convert it: python3 -c \"import pandas; "
                    + "pandas.read_parquet('\(path)').to_json('\(text)', orient='records', lines=True)\"")
        }
        guard Content(of: path) != nil else {
            throw TextError.unreadable(
                path: path,
                reason: "its name ends in neither .jsonl nor .txt (packed: .gz, .zst), .npy, .bin or .safetensors")
        }
        return [path]
    }

    /// - Throws: `TextError.unreadable`, also for a text whose name is not UTF-8: a repaired name is that of no file.
    private static func names(in folder: String) throws -> [String] {
        let names = try TextError.ofText {
            try namesInFolder(folder).filter { Content(of: $0) != nil && !$0.hasPrefix(".") }
        }
        func unreadable(_ reason: String) -> TextError { .unreadable(path: folder, reason: reason) }
        if names.isEmpty { throw unreadable("no .jsonl or .txt file is in it, and no file of token ids") }
        if let bad = names.first(where: { $0.contains("\u{FFFD}") && !exists(folder + "/" + $0) }) {
            throw unreadable("the name of a text in it, \(bad), is not UTF-8")
        }
        // The packed and the unpacked one, after somebody ran gzip -k.
        var known: [String: String] = [:]
        for name in names {
            if let other = known.updateValue(name, forKey: Packing.unpackedName(name)) {
                throw unreadable("\(other) and \(name) are one text, and would be read twice")
            }
        }
        return names
    }
}

/// How files of a corpus are to be read.
public struct CorpusReading: Sendable {
    /// Whether lines of `.jsonl` that cannot be read are passed over.
    public var skipsBadLines = false
    /// The member of a line of `.jsonl` that holds the text.
    public var textKey = "text"
    /// What a `.bin` file holds.
    public var tokenWidth: TokenWidth?

    /// Every line counts, its member "text" is the text.
    public init() {}
}

/// Text, or token ids that others made of text.
public enum Corpus: Sendable {
    case text(TextCorpus)
    case tokens(TokenFiles)

    /// Finds the files, and looks at the headers of those that hold tokens.
    ///
    /// Throws `TextError`; `TensorFileError` for files of tokens.
    public init(_ paths: [String], _ reading: CorpusReading = CorpusReading()) throws {
        let files = try CorpusFiles(paths)
        switch files.content {
        case .text: self = .text(TextCorpus(files, reading))
        case .tokens: self = .tokens(try TokenFiles(files, width: reading.tokenWidth))
        }
    }

    /// Where it lies.
    public var files: CorpusFiles {
        switch self {
        case .text(let text): text.source
        case .tokens(let tokens): tokens.source
        }
    }

    /// Lines that were passed over, and what was wrong with the first of them.
    public var skippedLines: (count: Int, first: TextError?) {
        if case .text(let text) = self { text.skippedLines } else { (0, nil) }
    }
}
