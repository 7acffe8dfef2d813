import Glibc

/// Hashes of large files from run to run: `hashes` in the cache folder, one line a file, the last ones first, so that a
/// model of 16 GB is not read twice to start once.
///
/// A file is known again by device, inode, size and the times of its last changes in nanoseconds: no write leaves all
/// of them as they were. A cache that cannot be read or written is none.
package struct RememberedHashes: Sendable {
    /// Smaller files are hashed faster than they are looked up worth a line.
    let leastSize: Int
    private let path: String?

    /// In the cache folder.
    package static let standard = RememberedHashes(path: CacheFolder.path.map { $0 + "/hashes" })

    package init(path: String?, leastSize: Int = 1 << 24) {
        self.path = path
        self.leastSize = leastSize
    }

    private static let mostLines = 200

    /// What is known of a file in this state.
    package func hash(of status: stat) -> String? {
        guard Int(status.st_size) >= leastSize else { return nil }
        let wanted = Self.state(status)
        return lines().first { $0.state == wanted }?.hash
    }

    /// Keeps the hash of a file that was in the state `before` when it was begun and is in `after` now.
    package func remember(_ hash: String, of before: stat, unchanged after: stat) {
        guard let path, Int(before.st_size) >= leastSize, Self.state(before) == Self.state(after) else { return }
        // The kernel's clock for these times ticks every few milliseconds: of a change younger than that, the next one
        // could bear the same time.
        guard Int(time(nil)) - max(before.st_mtim.tv_sec, before.st_ctim.tv_sec) >= 2 else { return }
        let own = Self.state(before), file = Self.file(before)
        let others = lines().filter { !$0.state.hasPrefix(file) }.prefix(Self.mostLines - 1)
        let text = ([(own, hash)] + others.map { ($0.state, $0.hash) }).map { "\($0.0) \($0.1)\n" }.joined()
        try? createFolder(parentFolder(of: path))
        try? AtomicFile.write(text, to: path)
    }

    /// What can be read of the list; anything else in it is passed over.
    private func lines() -> [(state: String, hash: String)] {
        guard let path, let file = fopen(path, "re") else { return [] }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        bytes.removeLast(bytes.count - fread(&bytes, 1, bytes.count, file))
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").compactMap { line in
            guard let cut = line.lastIndex(of: " ") else { return nil }
            let hash = line[line.index(after: cut)...]
            guard hash.utf8.count == 64, hash.allSatisfy({ $0.isHexDigit && !$0.isUppercase }) else { return nil }
            return (String(line[..<cut]), String(hash))
        }
    }

    private static func file(_ status: stat) -> String { "\(status.st_dev) \(status.st_ino) " }

    private static func state(_ status: stat) -> String {
        file(status)
            + "\(status.st_size) \(status.st_mtim.tv_sec).\(status.st_mtim.tv_nsec) "
            + "\(status.st_ctim.tv_sec).\(status.st_ctim.tv_nsec)"
    }
}
