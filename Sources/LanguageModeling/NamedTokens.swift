extension Tokenizer {
    /// The tokens that a user names: by their ids, several of them with commas between, or one by its spelling in the vocabulary or the
    /// text it stands for.
    ///
    /// Throws `TextError.noSuchToken`.
    public static func tokens(named names: [String], of tokenizer: Tokenizer?, vocabularySize: Int) throws -> Set<Int32>
    {
        var result: Set<Int32> = []
        for name in names {
            func refused(_ reason: String) -> TextError { .noSuchToken(name: name, reason: reason) }
            let parts = name.split(separator: ",", omittingEmptySubsequences: false)
            let numbers = parts.compactMap { Int($0) }
            if numbers.count == parts.count {
                for number in numbers {
                    guard (0..<vocabularySize).contains(number) else {
                        throw refused("the vocabulary has \(vocabularySize) tokens")
                    }
                    result.insert(Int32(number))
                }
                continue
            }
            guard let tokenizer else { throw refused("the model has no tokenizer; give ids") }
            if let spelled = tokenizer.token(name) {
                result.insert(spelled)
                continue
            }
            let encoded = tokenizer.encode(name)
            guard encoded.count == 1 else {
                throw refused(
                    "it is \(encoded.count) tokens (\(encoded.map(String.init).joined(separator: " "))), not one")
            }
            result.insert(encoded[0])
        }
        return result
    }
}
