/// How long latents have been silent, in tokens: what decides which of them are dead.
struct Firings: Equatable {
    /// [F] tokens since each latent last fired.
    private(set) var tokensSinceFired: [Int]

    init(_ tokensSinceFired: [Int]) { self.tokensSinceFired = tokensSinceFired }

    /// Takes in a batch of `rows` tokens, on `active` [F] of which each latent fired.
    mutating func record(_ active: [Int32], rows: Int) {
        tokensSinceFired.withUnsafeMutableBufferPointer { tokens in
            for j in tokens.indices { tokens[j] = active[j] > 0 ? 0 : tokens[j] + rows }
        }
    }

    /// Latents from `first` on that have not fired for at least so many tokens, ascending.
    func silent(for tokens: Int, from first: Int) -> [Int] {
        (first..<tokensSinceFired.count).filter { tokensSinceFired[$0] >= tokens }
    }
}
