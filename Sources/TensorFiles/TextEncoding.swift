/// U+FEFF in UTF-8.
package let byteOrderMark: [UInt8] = [0xEF, 0xBB, 0xBF]

/// The encoding of text that its first bytes show to be something else than UTF-8; nil where they show nothing.
package func unreadableEncoding(_ bytes: some Collection<UInt8>) -> String? {
    let first = Array(bytes.prefix(4))
    if first.starts(with: [0xFF, 0xFE]) || first.count == 4 && first[0] != 0 && first[1] == 0 && first[3] == 0 {
        return "UTF-16 (little-endian)"
    }
    if first.starts(with: [0xFE, 0xFF]) { return "UTF-16 (big-endian)" }
    if first.starts(with: [0x1F, 0x8B]) { return "gzip-compressed" }
    if first.starts(with: [0x28, 0xB5, 0x2F, 0xFD]) { return "zstd-compressed" }
    return nil
}

/// - Throws: `TensorFileError.unsupported` for what `git clone` leaves in the place of a large file.
func refuseGitPointer(_ file: MappedFile) throws {
    guard file.count < 1024, file.slice(0..<file.count).starts(with: "version https://git-lfs".utf8) else { return }
    throw TensorFileError.unsupported(
        file: file.path, what: "it is a pointer of Git LFS, not the file itself",
        next: "run \"git lfs pull\" in its folder, or download the file")
}
