import Glibc
import TensorFiles

/// The path of a file or folder under Tests/Fixtures: of the sources, or beside the program's folder, where it was
/// unpacked on a machine without sources (`make dist-tests`).
public func fixture(_ name: String, here: String = #filePath) -> String {
    let tests = here.split(separator: "/", omittingEmptySubsequences: false).dropLast(2).joined(separator: "/")
    let folder = access("\(tests)/Fixtures", F_OK) == 0 ? tests : builtProgram.dropLast("dmsae".count) + "../Tests"
    return "\(folder)/Fixtures/\(name)"
}

/// A folder of its own for one test, removed with what it holds when the object goes.
public final class TemporaryFolder {
    /// The folder's path.
    public let path: String

    /// Makes the folder under TMPDIR or /tmp.
    public init() {
        var template = Array(
            ((getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp") + "/dmsae-test-XXXXXX").utf8CString)
        guard mkdtemp(&template) != nil else { fatalError("no temporary folder: \(String(cString: strerror(errno)))") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { Self.remove(path) }

    /// The path of `name` in the folder.
    public func file(_ name: String) -> String { "\(path)/\(name)" }

    /// Names in the folder, sorted; a test whose folder is gone stops, since nothing would be found in it.
    public var names: [String] {
        guard access(path, R_OK | X_OK) == 0 else { fatalError("cannot read \(path)") }
        return (try? namesInFolder(path)) ?? []
    }

    private static func remove(_ path: String) {
        for name in (try? namesInFolder(path)) ?? [] { remove("\(path)/\(name)") }
        Glibc.remove(path)
    }
}

/// A whole file's bytes; a test that calls it on a missing file stops.
public func contents(of path: String) -> [UInt8] {
    guard let file = fopen(path, "rb") else { fatalError("cannot open \(path)") }
    defer { fclose(file) }
    fseek(file, 0, SEEK_END)
    var bytes = [UInt8](repeating: 0, count: ftell(file))
    rewind(file)
    guard fread(&bytes, 1, bytes.count, file) == bytes.count else { fatalError("cannot read \(path)") }
    return bytes
}
