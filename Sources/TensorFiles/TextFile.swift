import Glibc

/// A text file, without the byte-order mark that it may begin with; nil for one of more than `most` bytes.
///
/// - Throws: `TensorFileError.unreadable`, also for text that is not UTF-8, with the line.
package func readText(_ path: String, most: Int) throws -> String? {
    guard let file = fopen(path, "rbe") else {
        throw TensorFileError.unreadable(file: path, reason: String(cString: strerror(errno)))
    }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while bytes.count <= most {
        let count = fread(&buffer, 1, buffer.count, file)
        if count == 0 { break }
        bytes += buffer[..<count]
    }
    guard ferror(file) == 0 else {
        throw TensorFileError.unreadable(file: path, reason: String(cString: strerror(errno)))
    }
    if let other = unreadableEncoding(bytes) {
        throw TensorFileError.unreadable(file: path, reason: "it is \(other) text, not UTF-8: convert or unpack it")
    }
    guard bytes.count <= most else { return nil }
    let text = bytes.starts(with: byteOrderMark) ? bytes[byteOrderMark.count...] : bytes[...]
    // Line by line only where something is wrong.
    guard let result = String(validating: text, as: UTF8.self) else {
        let lines = text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        let bad = lines.firstIndex { String(validating: $0, as: UTF8.self) == nil } ?? 0
        throw TensorFileError.unreadable(
            file: path, reason: "line \(bad + 1) is not UTF-8: convert it, as with iconv -f LATIN1 -t UTF-8")
    }
    return result
}
