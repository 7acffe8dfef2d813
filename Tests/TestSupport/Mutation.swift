import Glibc
import LinearAlgebra
import Testing

/// Pretty JSON text with one value exchanged, a line taken out or doubled, or cut short; a function of the seed.
public func mutatedJSON(_ text: String, _ seed: Int) -> String {
    let random = CounterRandom(seed: UInt64(seed), purpose: .test)
    func draw(_ n: Int, _ i: UInt64) -> Int { Int(random.word(i) % UInt64(n)) }
    let values = [
        "-1", "0", "1", "9223372036854775807", "-9223372036854775808", "4611686018427387904", "2147483648", "1e308",
        "-1e308", "1e-320", "0.5", "null", "true", "\"x\"", "[]", "{}", "[1,2,3]", "[[]]", "\"nan\"", "\"-inf\"",
    ]
    var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    switch draw(10, 0) {
    case 0: return String(text.prefix(draw(text.count, 1)))
    case 1: lines.remove(at: draw(lines.count, 1))
    case 2: lines.insert(lines[draw(lines.count, 1)], at: draw(lines.count, 2))
    default:
        let candidates = lines.indices.filter { lines[$0].contains(where: \.isNumber) || lines[$0].contains("\"") }
        let i = candidates[draw(candidates.count, 1)]
        let (head, tail) = (lines[i].split(separator: " : ", maxSplits: 1), lines[i].hasSuffix(",") ? "," : "")
        let value = values[draw(values.count, 2)]
        lines[i] = head.count == 2 ? "\(head[0]) : \(value)\(tail)" : value + tail
    }
    return lines.joined(separator: "\n")
}

/// Reads a file of JSON `rounds` times, each time changed in another way: the reader throws or goes on, and does
/// not stop the program.
public func fuzzJSON(_ path: String, rounds: Int = 300, _ read: () throws -> Void) throws {
    let whole = String(decoding: contents(of: path), as: UTF8.self)
    try read()
    var refused = 0
    for seed in 0..<rounds {
        overwrite(path, mutatedJSON(whole, seed))
        do { try read() } catch {
            refused += 1
            #expect(!"\(error)".isEmpty)
        }
    }
    overwrite(path, whole)
    #expect(refused > rounds / 4, "the changes hardly matter")
}

/// Without the sync of an `AtomicFile`, which takes longer than the reading.
private func overwrite(_ path: String, _ text: String) {
    let file = fopen(path, "w")
    #expect(file != nil && fputs(text, file) >= 0 && fclose(file) == 0)
}
