import Attribution
import LinearAlgebra

/// The text that was looked at, cut into windows of L tokens as Delphi cuts it: each sequence into T / L of them, those with padding left out.
package struct LatentWindows {
    package let inspection: LatentInspection
    /// L.
    package let length: Int
    /// Activations below this share of a latent's largest count as none; 0, as Delphi has it, takes all.
    package let floor: Double
    /// Windows without padding, by the number that counts all.
    package let whole: [Int]
    private let isWhole: [Bool]

    /// - Throws: `AutointerpError.badWindow` unless L divides T.
    package init(_ inspection: LatentInspection, length: Int, floor: Double = 0) throws {
        guard length > 0, inspection.length % length == 0 else {
            throw AutointerpError.badWindow(length: length, context: inspection.length)
        }
        (self.inspection, self.length, self.floor) = (inspection, length, floor)
        let isWhole = stride(from: 0, to: inspection.ids.count, by: length).map { start in
            inspection.ids[start..<start + length].allSatisfy { $0 >= 0 }
        }
        (self.isWhole, whole) = (isWhole, isWhole.indices.filter { isWhole[$0] })
    }

    /// Where one latent fires.
    package struct Firing {
        /// Windows in which it fires, the highest largest activation first; ties: the earlier first.
        package let activating: [Int]
        /// Windows in which it does not, in the order of the text.
        package let silent: [Int]
        /// Its activations, window by window, each [L].
        fileprivate let activations: [Int: [Float]]
        /// Its largest activation in whole windows.
        package let largest: Float

        /// [L] in a window; zeros where it does not fire.
        package func activations(in window: Int, length: Int) -> [Float] {
            activations[window] ?? [Float](repeating: 0, count: length)
        }
    }

    /// Where a latent fires. A window counts as activating where some activation in it is not below the floor.
    package func firing(of latent: Int) -> Firing {
        let largest = largest(of: latent)
        var found: [Int: [Float]] = [:]
        forEachActivation(of: latent, from: floor * Double(largest)) { token, value in
            found[token / length, default: [Float](repeating: 0, count: length)][token % length] = value
        }
        let peaks = found.mapValues { $0.max() ?? 0 }
        return Firing(
            activating: peaks.keys.sorted { (peaks[$0]!, $1) > (peaks[$1]!, $0) },
            silent: whole.filter { found[$0] == nil }, activations: found, largest: largest)
    }

    /// How many windows each latent fires in, [F]; in the others of `whole` it does not.
    package func activatingCounts() -> [Int] {
        (0..<inspection.frequencies.count).map { latent in
            var (count, last) = (0, -1)
            // In the order of tokens.
            forEachActivation(of: latent, from: floor > 0 ? floor * Double(largest(of: latent)) : 0) { token, _ in
                if token / length != last { count += 1 }
                last = token / length
            }
            return count
        }
    }

    private func largest(of latent: Int) -> Float {
        var largest: Float = 0
        forEachActivation(of: latent, from: 0) { largest = max(largest, $1) }
        return largest
    }

    /// Activations in whole windows that are positive and not below `bound`, in the order of tokens.
    private func forEachActivation(of latent: Int, from bound: Double, _ body: (_ token: Int, _ value: Float) -> Void) {
        let fired = inspection.fired
        for e in inspection.entries(of: latent) {
            let (token, value) = (Int(fired.tokens[Int(e)]), fired.activations[Int(e)])
            if isWhole[token / length], value > 0, Double(value) >= bound { body(token, value) }
        }
    }

    /// A window with what a latent does in it.
    func context(_ window: Int, _ firing: Firing, quantile: Int? = nil) -> Context {
        let first = window * length
        return Context(
            sequence: first / inspection.length, position: first % inspection.length,
            tokens: inspection.ids[first..<first + length].map { inspection.text($0) },
            activations: firing.activations(in: window, length: length), quantile: quantile)
    }
}

/// A piece of text and what a latent does in it.
package struct Context: Codable, Sendable, Equatable {
    /// The sequence that it is from, counted from 0.
    package var sequence: Int
    /// Of its first token in the sequence.
    package var position: Int
    /// [L] as text.
    package var tokens: [String]
    /// [L], 0 where the latent does not fire.
    package var activations: [Float]
    /// The part of the activating windows that it was drawn from, 0 the highest; nil where the latent does not fire in it.
    package var quantile: Int?

    package init(sequence: Int, position: Int, tokens: [String], activations: [Float], quantile: Int? = nil) {
        (self.sequence, self.position, self.tokens) = (sequence, position, tokens)
        (self.activations, self.quantile) = (activations, quantile)
    }

    /// Whether the latent fires in it.
    package var isActivating: Bool { quantile != nil }

    /// The largest of its activations.
    package var largest: Float { activations.max() ?? 0 }

    /// On one line, runs of marked tokens between << and >>.
    package func text(marking marked: [Int] = []) -> String {
        let isMarked = Set(marked)
        var result = ""
        for (place, token) in tokens.enumerated() {
            if isMarked.contains(place), !isMarked.contains(place - 1) { result += "<<" }
            result += token
            if isMarked.contains(place), !isMarked.contains(place + 1) { result += ">>" }
        }
        return String(result.map { $0.isNewline ? "⏎" : $0 })
    }
}
