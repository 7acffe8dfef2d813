import Attribution
import PluginABI
import SparseCoding

// Headers of the messages between host and worker: Include/dmsae/worker.md. Both ends are the same program but where a
// plugin is in a language with a worker of its own; such a worker is greeted first.

/// What a host says first to a worker whose program is not its own.
struct Hello: Codable {
    var version: Int
    /// The host, for people.
    var host: String
    /// Seconds without a sign of life after which a call is given up.
    var timeout: Double

    enum CodingKeys: String, CodingKey {
        case version = "protocol"
        case host, timeout
    }
}

/// What such a worker answers, whatever version it speaks.
struct HelloReply: Codable {
    var version: Int
    /// The worker, for people.
    var worker: String
    /// Versions of what it runs on and numbers may depend on, by name.
    var runtime: [String: String]

    enum CodingKeys: String, CodingKey {
        case version = "protocol"
        case worker, runtime
    }
}

/// What to create.
package struct CreateRequest: Codable {
    package var path: String
    /// Nil for the only one of its kind.
    package var id: String?
    package var isRule: Bool
    package var parameters: [[String]]
    /// Whether settings pass as they are, as from a host that is older than their description.
    package var isUnchecked = false
    /// Whether the program's part of the worker wants to see the process before the plugin's file is loaded.
    package var isWatched = false
    /// Bytes of address space, 0 for no limit.
    package var memory: UInt64

    /// A request of what every request says.
    package init(
        path: String, id: String?, isRule: Bool, parameters: [PluginReference.Parameter], memory: UInt64
    ) {
        self.path = path
        self.id = id
        self.isRule = isRule
        self.parameters = parameters.map { [$0.key, $0.value] }
        self.memory = memory
    }
}

/// What was created.
package struct CreateReply: Codable {
    var id: String
    var version: String
    var isReentrant: Bool
    var parameters: [[String]]
    var scope: Int32?
    /// What a rule learns; nil if it does not.
    var tensors: [LearnableTensor]?
    /// Version of the state that its inference form is made from; nil for a rule without one.
    var inferenceVersion: Int?
    var scoresTokens: Bool
    var outputs: [ScorerOutput]?
    var stateVersion: Int?
    var needs: BatchNeeds = []
    var isSequential = false
}

/// A line for the log.
struct LogLine: Codable {
    var level: Int32
    /// Id of the plugin.
    var plugin: String
    var text: String
}

/// Nothing beside the kind and the blocks.
package struct Empty: Codable {}

/// A factor on pre-activations, as its bits, which JSON keeps.
struct Rescaling: Codable {
    var factor: UInt64
    var latentCount: Int
}

/// The form in which an SAE is used; thresholds are in a block.
struct FormReply: Codable {
    /// Nil for thresholds.
    var topK: Int?
}

/// Whether a scorer goes on from states that a build of this version wrote.
struct StateQuestion: Codable {
    var version: String
}

/// Nil if it does not say.
struct StateAnswer: Codable {
    var isAccepted: Bool?
}

/// A number of entries.
struct Count: Codable {
    var count: Int
}
