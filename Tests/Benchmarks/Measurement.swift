import Glibc
import Kernels
import LinearAlgebra

/// Times taken in rounds: everything that is to be compared is run once per round, so that another process on the
/// machine disturbs all of it alike.
struct Rounds {
    private(set) var seconds: [String: [Double]] = [:]

    /// Runs a part of a round.
    mutating func time(_ name: String, _ body: () throws -> Void) rethrows {
        let start = monotonicSeconds()
        try body()
        seconds[name, default: []].append(monotonicSeconds() - start)
    }

    /// Takes in a part that was timed elsewhere.
    mutating func add(_ name: String, _ elapsed: Double) { seconds[name, default: []].append(elapsed) }

    /// Takes in all parts of another.
    mutating func append(_ other: Rounds) { seconds.merge(other.seconds) { $0 + $1 } }

    /// The median of one part.
    func median(_ name: String) -> Double { medianOf(seconds[name] ?? []) }

    /// The median over rounds of `part` / `other`.
    func medianRatio(of part: String, to other: String) -> Double {
        medianOf(zip(seconds[part] ?? [], seconds[other] ?? []).map { $0 / $1 })
    }
}

func medianOf(_ values: [Double]) -> Double {
    let sorted = values.sorted()
    guard !sorted.isEmpty else { return .nan }
    let middle = sorted.count / 2
    return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/// What the numbers depend on besides the code.
func printMachine() {
    // Set for some other program's sake, it can halve every number below.
    let chosen = getenv("OPENBLAS_CORETYPE") == nil ? "" : " (OPENBLAS_CORETYPE)"
    let level = ProcessorLevel.chosen.rawValue
    print("OpenBLAS \(BLAS.core)\(chosen), kernels x86-64-v\(level), \(Lanes.shared.count) lanes")
}

/// One line of a table: a name and its columns, right-aligned.
func printRow(_ name: String, _ columns: String...) {
    let padded = columns.map { String(repeating: " ", count: max(0, 14 - $0.count)) + $0 }
    print("  " + name + String(repeating: " ", count: max(1, 40 - name.count)) + padded.joined())
}

func milliseconds(_ seconds: Double) -> String { "\(number(seconds * 1000, seconds < 0.1 ? 1 : 0)) ms" }

func number(_ value: Double, _ places: Int) -> String {
    guard value.isFinite else { return "\(value)" }
    let scale = places == 0 ? 1.0 : places == 1 ? 10 : 100
    let rounded = (value * scale).rounded() / scale
    return places == 0 ? String(Int(rounded)) : String(rounded)
}

/// Where `dmsae fetch demo` puts the model, nil as long as it has not run.
func demoModel() -> String? {
    func variable(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
    }
    let cache =
        variable("DMSAE_CACHE") ?? (variable("XDG_CACHE_HOME") ?? (variable("HOME") ?? "") + "/.cache") + "/dmsae"
    let path = cache + "/demo/SmolLM2-135M-Instruct.Q4_1.gguf"
    return access(path, R_OK) == 0 ? path : nil
}
