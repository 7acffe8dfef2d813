import PluginWorkers

/// What a validator asks of a worker beside what every host does; arrays are in the blocks of the message.
enum ExaminationRequest: Codable {
    /// What the calls so far left behind.
    case traces
    /// Calls on each sequence of a batch, one after the other and then by many threads at once.
    case scoresTogether(BatchHeader)
    /// The same with the candidates of a selection in several turns.
    case selectionsTogether(SelectionHeader)
    /// The same call so often, its results as those in the last block but for `most`, as its bits, which JSON keeps.
    case repeatedScores(BatchHeader, count: Int, most: UInt64)
    /// The same selection so often, its marks as those in the block after the candidates.
    case repeatedSelections(SelectionHeader, count: Int)
    /// An attempt on the functions of the file, past the care of a host.
    case directly(DirectRequest)
    /// To end as a program does that has done its work.
    case leave

    /// As messages call it.
    var name: String {
        switch self {
        case .traces: "traces"
        case .scoresTogether, .selectionsTogether: "together"
        case .repeatedScores, .repeatedSelections: "repeated"
        case .directly: "directly"
        case .leave: "leave"
        }
    }
}

/// Where calls differed.
struct Difference: Codable {
    var number: Int?
}

/// A result of one of many calls that is another than the first call's.
struct RepeatedDifference: Sendable {
    /// Which call, from 1 on, and which of its results.
    let call: Int, result: Int
    /// What the first call gave, and what this one did.
    let first: Double, found: Double
}

/// What was found of a call that was made many times.
struct RepeatReply: Codable {
    var call = 0, result = 0
    /// As their bits; nil if no result was another.
    var values: [UInt64]?

    var difference: RepeatedDifference? {
        values.map {
            RepeatedDifference(
                call: call, result: result, first: Double(bitPattern: $0[0]), found: Double(bitPattern: $0[1]))
        }
    }
}
