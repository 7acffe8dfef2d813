import Glibc
import TensorFiles

/// The folder of an export: empty before, and again where the export does not come to its end. `export.json`, written last, lists
/// what belongs to it.
public final class ExportFolder {
    /// What was exported, of what, and every file with its SHA-256.
    public struct Record: Codable, Sendable, Equatable {
        /// For which tool.
        public var format: String
        /// How many latents.
        public var latents: Int
        /// Scored tokens of the text that was looked at.
        public var tokens: Int
        /// Hashes of what it was made from, and every setting.
        public var about: [String: String]
        /// SHA-256 by path in the folder.
        public var files: [String: String]
    }

    /// As given by the caller.
    public let path: String
    private let lock: OutputLock
    private var files: [String] = []
    /// Folders that were made in it, outer ones first.
    private var folders: [String] = []
    private var isFinished = false

    /// Makes the folder, and locks it.
    ///
    /// - Throws: `LatentExportError.notEmpty`; `OutputLockError`; `TensorFileError.unwritable`.
    public init(_ path: String) throws {
        self.path = path
        lock = try OutputLock.folder(path)
        if let name = try namesInFolder(path).first(where: { $0 != ".lock" }) {
            throw LatentExportError.notEmpty(folder: path, name: name)
        }
    }

    deinit {
        guard !isFinished, (try? lock.requireInPlace()) != nil else { return }
        for file in files { unlink(path + "/" + file) }
        for folder in folders.reversed() { rmdir(path + "/" + folder) }
    }

    /// Writes a file whose contents `body` puts into it.
    ///
    /// - Parameter name: its path in the folder; folders on the way are made.
    /// - Throws: `TensorFileError.unwritable`; `OutputLockError`; what `body` throws.
    func write(_ name: String, _ body: (AtomicFile) throws -> Void) throws {
        let file = try AtomicFile(path: place(name))
        try body(file)
        try file.commit()
    }

    /// Writes a file of these bytes.
    ///
    /// - Throws: `TensorFileError.unwritable`; `OutputLockError`.
    package func write(_ name: String, _ bytes: [UInt8]) throws {
        try write(name) { file in try bytes.withUnsafeBytes { try file.write($0) } }
    }

    /// Where a file is to be written, which from now on is one of the export.
    func place(_ name: String) throws -> String {
        try lock.requireInPlace()
        var folder = ""
        for part in name.split(separator: "/").dropLast() {
            folder += (folder.isEmpty ? "" : "/") + part
            guard !folders.contains(folder) else { continue }
            try createFolder(path + "/" + folder)
            folders.append(folder)
        }
        files.append(name)
        return path + "/" + name
    }

    /// Where several files are to be written that another writes.
    ///
    /// - Throws: `TensorFileError.unwritable`; `OutputLockError`.
    package func place(_ names: [String]) throws -> [String] { try names.map(place) }

    /// Writes export.json, after which the folder stays.
    ///
    /// - Throws: `TensorFileError`; `OutputLockError`.
    public func finish(format: String, latents: Int, tokens: Int, about: [String: String]) throws -> Record {
        var hashes: [String: String] = [:]
        for file in files { hashes[file] = try SHA256.hexadecimal(ofFile: path + "/" + file) }
        let record = Record(format: format, latents: latents, tokens: tokens, about: about, files: hashes)
        try JSONRecord.write(record, to: try place("export.json"))
        isFinished = true
        return record
    }
}
