import Glibc

/// Whether something is at `path`.
public func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

/// Whether a folder is at `path`.
public func isFolder(_ path: String) -> Bool {
    var info = stat()
    return stat(path, &info) == 0 && info.st_mode & S_IFMT == S_IFDIR
}

/// Makes a folder and those above it; one that is there is fine.
///
/// - Throws: `TensorFileError.unwritable` with the system's reason.
public func createFolder(_ path: String) throws {
    var info = stat()
    if stat(path, &info) == 0 {
        guard info.st_mode & S_IFMT == S_IFDIR else {
            throw TensorFileError.unwritable(file: path, reason: "it is a file, not a folder")
        }
        return
    }
    let parent = parentFolder(of: path)
    if parent != "." && parent != "/" { try createFolder(parent) }
    if path.isEmpty { throw TensorFileError.unwritable(file: "\"\"", reason: "it is no name of a folder") }
    guard mkdir(path, 0o777) != 0 else { return }
    let number = errno
    // Another program made it meanwhile; or nothing that can be made a folder of is there.
    guard number == EEXIST, exists(path) else {
        throw TensorFileError.unwritable(
            file: path,
            reason: number == EEXIST ? "it is a link that leads nowhere" : String(cString: strerror(number)))
    }
}

/// The names in a folder, sorted, without "." and "..". One that is not UTF-8 is repaired, and is then
/// the name of nothing.
///
/// - Throws: `TensorFileError.unreadable` with the system's reason.
public func namesInFolder(_ path: String) throws -> [String] {
    guard let stream = opendir(path) else {
        throw TensorFileError.unreadable(file: path, reason: String(cString: strerror(errno)))
    }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
            $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
}
