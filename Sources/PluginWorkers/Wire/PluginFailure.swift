import PluginABI
import PluginHost
import TensorFiles

/// Why a call failed in a worker, as it comes over the line: the error that the same call throws in one process.
public enum PluginFailure: Error, Equatable, Codable, Sendable, CustomStringConvertible {
    /// Of each area.
    case reference(PluginReferenceError), file(PluginFileError), abi(PluginABIError), call(PluginCallError)
    /// What the system refused the worker.
    case refusal(SystemRefusal)
    /// A message that makes no sense to it.
    case message(reason: String)

    /// The failure that an error in a worker is.
    init(_ error: any Error) {
        self =
            switch error {
            case let error as PluginReferenceError: .reference(error)
            case let error as PluginFileError: .file(error)
            case let error as PluginABIError: .abi(error)
            case let error as PluginCallError: .call(error)
            case let error as SystemRefusal: .refusal(error)
            default: .message(reason: "\(error)")
            }
    }

    /// The error of the call. What the worker was refused stays a failure of the worker: the host is
    /// not short of anything.
    var error: any Error {
        switch self {
        case .reference(let error): error
        case .file(let error): error
        case .abi(let error): error
        case .call(let error): error
        case .refusal, .message: self
        }
    }

    /// What a plugin's process answered, of the error of a call; nil for another one: a crash, a wish to stop, what
    /// the host was refused.
    public static func answered(_ error: any Error) -> PluginFailure? {
        switch error {
        case let failure as PluginFailure: failure
        case WorkerError.failed(let failure, _): failure
        case PluginCallError.cancelled: nil
        case is PluginReferenceError, is PluginFileError, is PluginABIError, is PluginCallError: PluginFailure(error)
        default: nil
        }
    }

    /// The sentence of the error.
    public var description: String {
        switch self {
        case .reference(let error): error.description
        case .file(let error): error.description
        case .abi(let error): error.description
        case .call(let error): error.description
        case .refusal(let error): error.description
        case .message(let reason): printable(reason)
        }
    }
}
