import Glibc
import TOMLKit
import TensorFiles

/// What a plain function is called with: the TOML file beside its shared object.
///
///     version = 1
///     symbol = "score"
///     args = ["entries:i64", "activations:f32*", "scores:f32*"]
///     returns = "i32"
///
/// An argument is NAME:TYPE. Scalars are passed by value (`i64`, `i32`) or, as Fortran has them, by reference (`i64*`, `i32*`);
/// arrays have one type each. `returns` is "void" or "i32", where anything but 0 is an error.
struct KernelSignature: Equatable {
    var version: Int
    var symbol: String
    var args: [String]
    var returns: String

    /// N, m, d, the number of entries and S; an array's element type.
    static let scalars: Set<String> = ["tokens", "latents", "dimension", "entries", "sequences"]
    static let arrays: [String: String] = [
        "row_offsets": "i64*", "columns": "i32*", "activations": "f32*", "decoder": "f32*", "decoder_bias": "f32*",
        "gradient": "f32*", "residual": "f32*", "reconstruction": "f32*", "loss": "f32*", "token_ids": "i32*",
        "sequence_offsets": "i64*", "scored": "u8*", "scores": "f32*",
    ]

    /// The TOML file of a shared object, whether it is there or not.
    static func path(of library: String) -> String {
        (library.hasSuffix(".so") ? String(library.dropLast(3)) : library) + ".toml"
    }

    /// The signature of the function in `file`, nil if it has no TOML file beside it.
    /// - Throws: `PluginError.badKernel`.
    init?(of file: PluginFile) throws {
        guard let kernel = file.kernel else { return nil }
        let path = Self.path(of: file.path)
        func bad(_ reason: String) -> PluginError { .badKernel(path: path, reason: reason) }
        guard let text = String(validating: kernel.bytes, as: UTF8.self) else { throw bad("it is not UTF-8") }
        try self.init(toml: text, bad)
        try check(bad)
    }

    private init(toml text: String, _ bad: (String) -> PluginError) throws {
        let table: TOMLTable
        do { table = try TOMLTable(string: text) } catch let error as TOMLParseError {
            let reason = printable(error.description).replacing("Error while parsing ", with: "")
            throw bad("it is not TOML: line \(error.source.begin.line): \(reason)")
        }
        func value<Value>(_ key: String, _ example: String, _ read: (TOMLValueConvertible) -> Value?) throws -> Value {
            guard let found = table[key] else { throw bad("\(key) is missing; write \(key) = \(example)") }
            guard let value = read(found) else {
                throw bad("\(key) is of the wrong type, \(found.type); write \(key) = \(example)")
            }
            return value
        }
        let keys = ["version", "symbol", "args", "returns"]
        if let unknown = table.keys.sorted().first(where: { !keys.contains($0) }) {
            let near = nearest(unknown, among: keys).map { ", perhaps '\($0)'" } ?? ""
            throw bad("there is no key '\(printable(unknown))'\(near); there are \(keys.joined(separator: ", "))")
        }
        version = try value("version", "1", \.int)
        symbol = try value("symbol", "\"score\"", \.string)
        args = try value("args", "[\"entries:i64\", \"activations:f32*\", \"scores:f32*\"]") { list in
            guard let list = list.array else { return nil }
            let texts = list.compactMap(\.string)
            return texts.count == list.count ? texts : nil
        }
        returns = try value("returns", "\"i32\"", \.string)
    }

    /// NAME and TYPE of each argument.
    var arguments: [(name: String, type: String)] {
        args.map { text in
            let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            return (String(parts[0]), parts.count > 1 ? String(parts[1]) : "")
        }
    }

    private func check(_ bad: (String) -> PluginError) throws {
        guard version == 1 else { throw bad("version is \(version); this dmsae reads 1") }
        guard returns == "i32" || returns == "void" else {
            throw bad("returns is '\(printable(returns))'; write \"i32\" or \"void\"")
        }
        guard (1...64).contains(args.count) else { throw bad("there are \(args.count) args; at least 1, at most 64") }
        for (text, (name, type)) in zip(args, arguments) {
            if Self.scalars.contains(name) {
                guard ["i64", "i32", "i64*", "i32*"].contains(type) else {
                    throw bad(
                        "argument '\(printable(text))': \(name) is a number; write \(name):i64, :i32, :i64* or :i32*")
                }
            } else if let wanted = Self.arrays[name] {
                guard type == wanted else { throw bad("argument '\(printable(text))': write \(name):\(wanted)") }
            } else {
                let known = Array(Self.scalars) + Array(Self.arrays.keys)
                let near = nearest(name, among: known.sorted()).map { ", perhaps '\($0)'" } ?? ""
                throw bad(
                    "argument '\(printable(text))': there is no '\(printable(name))'\(near); there are \(known.sorted().joined(separator: ", "))"
                )
            }
        }
        guard arguments.count(where: { $0.name == "scores" }) == 1 else {
            throw bad("scores, where the function writes, must be among the args once")
        }
    }
}

/// What the TOML file beside a shared object holds, kept as it was when it was read.
struct KernelText: Codable {
    let bytes: [UInt8]
    let sha256: String

    /// The most bytes that it may have.
    private static let limit = 64 * 1024

    /// Nil if there is no such file.
    /// - Throws: `PluginError.badKernel` for one that cannot be read.
    init?(beside library: String) throws {
        let path = KernelSignature.path(of: library)
        func bad(_ reason: String) -> PluginError { .badKernel(path: path, reason: reason) }
        let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        if file < 0 && errno == ENOENT { return nil }
        guard file >= 0 else { throw bad(String(cString: strerror(errno))) }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: Self.limit + 1)
        var count = 0
        while count < bytes.count {
            let got = bytes.withUnsafeMutableBytes { read(file, $0.baseAddress! + count, $0.count - count) }
            guard got >= 0 else { throw bad(String(cString: strerror(errno))) }
            if got == 0 { break }
            count += got
        }
        guard count <= Self.limit else { throw bad("it is longer than 64 KiB") }
        self.bytes = Array(bytes[..<count])
        var hash = SHA256()
        self.bytes.withUnsafeBytes { hash.update($0) }
        sha256 = SHA256.hexadecimal(hash.digest())
    }
}
