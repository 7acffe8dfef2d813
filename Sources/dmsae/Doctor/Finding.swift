/// A line of what `dmsae doctor` says.
struct Finding: Encodable {
    enum State: String {
        /// As it should be, or not there and not needed.
        case well
        /// Makes some runs slower, smaller or less guarded.
        case look
        /// Commands need it.
        case missing

        var mark: String {
            switch self {
            case .well: "ok  "
            case .look: "LOOK"
            case .missing: "MISS"
            }
        }
    }

    /// What was looked at.
    var what: String
    /// What was found.
    var found: String
    var state: State
    /// How to get what is missing.
    var remedy: String?

    init(_ what: String, _ found: String, _ state: State = .well, remedy: String? = nil) {
        (self.what, self.found, self.state, self.remedy) = (what, found, state, remedy)
    }

    private enum CodingKeys: String, CodingKey {
        case what, found, state, remedy
        case isWell = "is_well"
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(what, forKey: .what)
        try container.encode(found, forKey: .found)
        try container.encode(state.rawValue, forKey: .state)
        try container.encode(state == .well, forKey: .isWell)
        try container.encodeIfPresent(remedy, forKey: .remedy)
    }
}
