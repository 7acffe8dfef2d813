import PluginABI
import TensorFiles

/// What can be wrong with what a plugin does when it is called.
///
/// Each case reads: what failed, on which value, what to do next.
public enum PluginCallError: Error, Equatable, Codable, Sendable {
    /// A function returned an error.
    case failed(plugin: String, path: String, function: String, status: Int32, text: String, parameters: [String])
    /// A scorer in a language with exceptions threw one, or returned what does not fit: in its words, a traceback in several
    /// lines among them.
    case raised(plugin: String, path: String, function: String, text: String)
    /// A plain function returned another code than 0.
    case returned(function: String, path: String, code: Int32)
    /// Something is of a size that cannot be had.
    case tooLarge(plugin: String, path: String, what: String, bytes: UInt64, limit: String)
    /// A function stopped because the user asked for it.
    case cancelled(plugin: String, function: String)
    /// An earlier call lost the instance.
    case lost(plugin: String, path: String)
    /// The scorer returned success and left a score unwritten.
    case unwrittenScore(plugin: String, path: String, row: Int, latent: Int, unwritten: Int, count: Int)
    /// A score that is NaN or infinite.
    case nonFiniteScore(plugin: String, path: String, value: String, row: Int, latent: Int)
    /// An element of an output that is infinite, or, with no value, that was not written.
    case badOutputValue(plugin: String, path: String, output: String, element: Int, value: String?)
    /// A number of a rule that is not finite, or, with no value, was not written.
    case badRuleValue(
        plugin: String, path: String, function: String, what: String, element: Int, value: String?, rule: String)
    /// Memory beside an output was written.
    case wroteOutside(plugin: String, path: String, function: String)
    /// A number of passes that nobody makes.
    case badPassCount(plugin: String, path: String, count: Int64)
    /// A negative upper count.
    case negativeUpperCount(plugin: String, path: String, count: Int64)
    /// A mark that is neither 0 nor 1.
    case badMark(plugin: String, path: String, value: UInt8, row: Int, latent: Int)
    /// More selected than the rule's own upper count; `row` if the scope is a row.
    case tooManySelected(plugin: String, path: String, selected: Int, upperCount: Int, row: Int?)
}

extension PluginCallError: CustomStringConvertible {
    /// The sentence that users see, fit for a terminal whatever the plugin or its file said.
    public var description: String {
        guard case .raised(let plugin, let path, let function, let text) = self else { return printable(sentence) }
        // A traceback is shown whole.
        let what = function == "loading" ? "loading" : "\(function) of scorer '\(plugin)' of"
        return "\(printable("\(what) \(path) failed")): \(printableLines(text))"
    }

    private var sentence: String {
        switch self {
        case .raised(_, _, _, let text): text
        case .failed(let plugin, let path, let function, let status, let text, let parameters):
            "\(function) of plugin '\(plugin)' failed (\(statusName(status))): "
                + (text.isEmpty ? "it gave no reason" : text)
                + (parameters.isEmpty ? "" : "; it was given \(parameters.joined(separator: ", "))")
                + "; the plugin is \(path)"
        case .returned(let function, let path, let code):
            "plain function '\(function)' failed with code \(code), which its author can explain; it is in \(path)"
        case .tooLarge(let plugin, let path, let what, let bytes, let limit):
            "plugin '\(plugin)' asks for \(what) of \(bytes) bytes, and \(limit); score fewer sequences or "
                + "latents, or correct \(path)"
        case .cancelled(let plugin, let function): "\(function) of plugin '\(plugin)' was cancelled"
        case .lost(let plugin, let path):
            "plugin '\(plugin)' of \(path) lost its instance in an earlier call; start again"
        case .unwrittenScore(let plugin, let path, let row, let latent, let unwritten, let count):
            "scorer '\(plugin)' left \(unwritten) of \(count) scores unwritten, the first at token \(row), latent \(latent)"
                + " (DMSAE-SCORER-03); correct \(path)"
        case .nonFiniteScore(let plugin, let path, let value, let row, let latent):
            "scorer '\(plugin)' wrote \(value) at token \(row), latent \(latent) (DMSAE-SCORER-03); correct \(path)"
        case .badOutputValue(let plugin, let path, let output, let element, let value):
            "scorer '\(plugin)' " + (value.map { "wrote \($0) to" } ?? "left unwritten")
                + " element \(element) of output '\(output)' (DMSAE-SCORER-11); correct \(path)"
        case .badRuleValue(let plugin, let path, let function, let what, let element, let value, let rule):
            "\(function) of rule '\(plugin)' " + (value.map { "wrote \($0) to" } ?? "left unwritten")
                + " element \(element) of \(what) (\(rule)); correct \(path)"
        case .wroteOutside(let plugin, let path, let function):
            "\(function) of plugin '\(plugin)' wrote beside the memory it was given; correct \(path)"
        case .badPassCount(let plugin, let path, let count):
            "scorer '\(plugin)' wants \(count) passes; at least 1, at most 1000000 (DMSAE-SCORER-15); correct \(path)"
        case .negativeUpperCount(let plugin, let path, let count):
            "rule '\(plugin)' gave the upper count \(count) (DMSAE-RULE-01); correct \(path)"
        case .badMark(let plugin, let path, let value, let row, let latent):
            "rule '\(plugin)' marked token \(row), latent \(latent) with \(value) and not 0 or 1 (DMSAE-RULE-03); "
                + "correct \(path)"
        case .tooManySelected(let plugin, let path, let selected, let upperCount, let row):
            "rule '\(plugin)' selected \(selected) entries \(row.map { "of token \($0)" } ?? "of the batch"), more than its "
                + "upper count \(upperCount) (DMSAE-RULE-03); correct \(path)"
        }
    }
}
