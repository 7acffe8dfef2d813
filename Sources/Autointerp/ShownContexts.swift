import LinearAlgebra

/// Which contexts of a latent a language model is shown, to explain it and to be tested on, as Delphi 0.1.3 draws them: windows in which it
/// fires, by falling largest activation, are cut into parts of equal size (quantiles), and from each as many are drawn; windows in which it
/// does not fire are drawn from all.
///
/// Two things are otherwise: no context of the explanation is one of the test (Delphi draws both from the same windows, so that the judge is
/// partly asked about what the explanation was written from), and no silent window comes twice.
package struct ShownContexts: Codable, Sendable, Equatable {
    /// Contexts that the explanation is written from, the highest part first.
    package var explain: [Context]
    /// Contexts that the judge is asked about in which the latent fires.
    package var activating: [Context]
    /// As many in which it does not.
    package var silent: [Context]

    /// How many of each.
    package struct Numbers: Sendable, Equatable {
        /// n_examples_train.
        package var explain = 40
        /// n_examples_test, and n_non_activating.
        package var test = 50
        /// n_quantiles; both numbers are multiples of it.
        package var quantiles = 10
        /// example_ctx_len.
        package var window = 32

        package init() {}

        /// Windows in which a latent has to fire: what is drawn, from parts of one size.
        package var needed: Int { explain + test }
    }

    /// Draws them for a latent that fires so; nil where it fires in too few windows, or is silent in too few.
    package init?(
        _ latent: Int, _ firing: LatentWindows.Firing, _ windows: LatentWindows, _ numbers: Numbers, seed: UInt64
    ) {
        guard firing.activating.count >= numbers.needed, firing.silent.count >= numbers.test else { return nil }
        var draws = Draws(CounterRandom(seed: seed, purpose: .shownContexts, step: UInt32(latent)))
        let size = firing.activating.count / numbers.quantiles
        let (own, tested) = (numbers.explain / numbers.quantiles, numbers.test / numbers.quantiles)
        (explain, activating) = ([], [])
        for quantile in 0..<numbers.quantiles {
            let part = Array(firing.activating[quantile * size..<(quantile + 1) * size])
            let drawn = draws.sample(part, own + tested).map { windows.context($0, firing, quantile: quantile) }
            explain += drawn[..<own]
            activating += drawn[own...]
        }
        silent = draws.sample(firing.silent, numbers.test).map { windows.context($0, firing) }
    }
}

/// Numbers of one stream, one after the other.
struct Draws {
    private let random: CounterRandom
    private var index: UInt64 = 0

    init(_ random: CounterRandom) { self.random = random }

    private mutating func below(_ bound: Int) -> Int {
        defer { index += 1 }
        return Int(random.word(index).multipliedFullWidth(by: UInt64(bound)).high)
    }

    /// `count` of them without repetition, in the order in which they were drawn (the beginning of a Fisher–Yates permutation).
    mutating func sample<Element>(_ elements: [Element], _ count: Int) -> [Element] {
        var rest = elements
        for place in 0..<min(count, rest.count) { rest.swapAt(place, place + below(rest.count - place)) }
        return Array(rest.prefix(count))
    }

    /// All of them in a drawn order.
    mutating func shuffled<Element>(_ elements: [Element]) -> [Element] { sample(elements, elements.count) }
}
