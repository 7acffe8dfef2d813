import Glibc
import TensorFiles

/// A script in `peers` that times another library and prints a line of JSON per measurement.
///
/// It runs where a Python with that library is named: `--python PATH`, or DMSAE_PEER_PYTHON.
struct PeerScript {
    let python: String
    let name: String

    /// What the script printed, nil if it failed; the script's own words are then on standard error.
    func run(_ arguments: [String]) throws -> [JSONValue]? {
        let source = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast()
        let command = ([python, source.joined(separator: "/") + "/peers/\(name)"] + arguments).map(quoted)
        fflush(nil)
        guard let stream = popen(command.joined(separator: " "), "r") else { return nil }
        var text = [UInt8](), buffer = [UInt8](repeating: 0, count: 4096)
        while case let count = fread(&buffer, 1, buffer.count, stream), count > 0 { text += buffer[..<count] }
        guard pclose(stream) == 0 else { return nil }
        return try String(decoding: text, as: UTF8.self).split(separator: "\n")
            .filter { $0.hasPrefix("{") }.map { try JSONValue(parsing: String($0)) }
    }

    /// One word for a shell.
    private func quoted(_ word: String) -> String {
        "'" + word.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
    }
}
