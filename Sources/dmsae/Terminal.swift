import Attribution
import Distillation
import Glibc
import LinearAlgebra
import Synchronization
import TensorFiles

/// Progress and notes on standard error: a live bar on a terminal, a plain line every few seconds elsewhere, nothing
/// when quiet. Results go to standard output and never through here. Whatever a file, a plugin or a path brought along is
/// made fit for a terminal here at the latest.
final class Terminal: ProgressSink {
    static let shared = Terminal()

    private struct State {
        var isQuiet = false
        var isMute = false
        var task = ""
        var unit = ""
        var total = 0
        var done = 0
        var detail = ""
        var start = 0.0
        var lastDrawn = 0.0
        var isDrawn = false
    }

    private let state = Mutex(State())
    private let isLive = isatty(STDERR_FILENO) == 1

    /// Seconds between two drawings of a bar, and between two plain lines.
    private var interval: Double { isLive ? 0.1 : 5 }

    /// A limit on evaluations; the task in progress shows how many there were.
    static func evaluations(of scorer: String, limit: Int?) -> EvaluationBudget {
        EvaluationBudget(groups: limit) { Terminal.shared.advance(by: 0, detail: "\(scorer): \($0) evaluations") }
    }

    /// Someone who stops a pass when a signal asked for that, and shows how far it is.
    static let watch = PassWatch(
        check: { try Interruption.request.check() }, advance: { Terminal.shared.advance(by: $0, detail: $1) })

    /// No progress from now on; no warnings either, where another process says the same.
    func silence(warnings isMute: Bool = false) { state.withLock { ($0.isQuiet, $0.isMute) = (true, isMute) } }

    func begin(_ task: String, total: Int, unit: String) {
        state.withLock {
            erase(&$0)
            $0.task = task
            $0.unit = unit
            $0.total = total
            $0.done = 0
            $0.detail = ""
            $0.start = monotonicSeconds()
            $0.lastDrawn = $0.start
        }
    }

    func advance(by count: Int, detail: String) {
        state.withLock {
            $0.done += count
            if !detail.isEmpty { $0.detail = detail }
            let time = monotonicSeconds()
            if time - $0.lastDrawn >= interval {
                $0.lastDrawn = time
                draw(&$0)
            }
        }
    }

    func end() {
        state.withLock {
            erase(&$0)
            let seconds = monotonicSeconds() - $0.start
            // A task that was over at once is not worth a line.
            if !$0.task.isEmpty && seconds >= 2 && !$0.isQuiet { write(printable(summary($0, seconds)) + "\n") }
            $0.task = ""
        }
    }

    func note(_ text: String) {
        state.withLock {
            erase(&$0)
            if !$0.isQuiet { write(printable(text) + "\n") }
        }
    }

    /// Warnings are for the log of whoever silenced the progress, too.
    func warn(_ text: String) {
        state.withLock {
            erase(&$0)
            if !$0.isMute { write("warning: \(printable(text))\n") }
        }
    }

    /// Why the program ends, also when quiet.
    func conclude(_ text: String) {
        state.withLock {
            erase(&$0)
            write(printableLines(shortened(text, most: 8000)) + "\n")
        }
    }

    private func draw(_ state: inout State) {
        guard !state.isQuiet else { return }
        let line = printable(bar(state))
        write(isLive ? "\r\(line)\u{1B}[K" : line + "\n")
        state.isDrawn = isLive
    }

    private func erase(_ state: inout State) {
        if state.isDrawn { write("\r\u{1B}[K") }
        state.isDrawn = false
    }

    private func bar(_ s: State) -> String {
        let seconds = max(monotonicSeconds() - s.start, 1e-9)
        let rate = Double(s.done) / seconds
        var parts = [s.task]
        if s.total > 0 {
            let fraction = min(1, Double(s.done) / Double(s.total))
            if isLive {
                let filled = Int((24 * fraction).rounded(.down))
                parts.append(
                    "[" + String(repeating: "█", count: filled) + String(repeating: "·", count: 24 - filled) + "]")
            }
            parts.append("\(Int(100 * fraction))%")
        }
        if !s.unit.isEmpty { parts.append("\(decimals(rate, rate < 10 ? 1 : 0)) \(s.unit)/s") }
        if s.total > s.done, rate > 0 { parts.append(CostEstimate.duration(Double(s.total - s.done) / rate) + " left") }
        if !s.detail.isEmpty { parts.append(s.detail) }
        return parts.joined(separator: "  ")
    }

    private func summary(_ s: State, _ seconds: Double) -> String {
        var text = s.task + ": " + (s.unit.isEmpty ? "" : "\(s.done) \(s.unit) in ") + CostEstimate.duration(seconds)
        if !s.unit.isEmpty { text += " (\(decimals(Double(s.done) / max(seconds, 1e-9), 0)) \(s.unit)/s)" }
        return s.detail.isEmpty ? text : text + ", \(s.detail)"
    }

    private func write(_ text: String) {
        let bytes = Array(text.utf8)
        // Nothing is to be done about a closed standard error.
        _ = bytes.withUnsafeBytes { Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }
}
