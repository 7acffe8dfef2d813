import LanguageModeling

/// Where in a text that is read again and again.
struct TextPlace: Codable, Equatable {
    /// Times that all of it was gone through.
    var pass = 0
    /// Tokens gone through since.
    var tokens = 0
}

/// The sequences of a text, from its start again when they end.
struct RepeatedText {
    private let open: () throws -> TokenSource
    private var source: TokenSource?
    /// Of the batch that is next.
    private(set) var place = TextPlace()

    /// A text that `open` opens at its start, the same each time.
    init(_ open: @escaping () throws -> TokenSource) { self.open = open }

    /// The next batch; nil once where the text ends.
    ///
    /// - Throws: what reading the text throws.
    mutating func next() throws -> TokenBatch? {
        let source = try source ?? open()
        self.source = source
        guard let batch = try source() else {
            self.source = nil
            place = TextPlace(pass: place.pass + 1)
            return nil
        }
        place.tokens += batch.ids.count
        return batch
    }

    /// Makes the batch at `wanted` the next one: the text before it is read, and no more.
    ///
    /// - Parameter check: called between batches that are passed over, to stop there.
    /// - Throws: `DistillationError.badPlace` where no batch begins there; what reading the text throws.
    mutating func go(to wanted: TextPlace, check: () throws -> Void) throws {
        guard place != wanted else { return }
        if place.pass != wanted.pass || place.tokens > wanted.tokens {
            (source, place) = (nil, TextPlace(pass: wanted.pass))
        }
        while place.tokens < wanted.tokens {
            try check()
            guard try next() != nil else { throw DistillationError.badPlace(tokens: wanted.tokens) }
        }
        guard place.tokens == wanted.tokens else { throw DistillationError.badPlace(tokens: wanted.tokens) }
    }
}
