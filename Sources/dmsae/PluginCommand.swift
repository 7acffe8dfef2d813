import ArgumentParser
import FoundationEssentials
import PluginHost
import TensorFiles

/// `dmsae plugin …`: what plugin users and authors ask about plugins.
struct PluginCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plugin", abstract: "Plugins within reach: scorers and sparsity rules.",
        subcommands: [
            List.self, PluginNewCommand.self, PluginValidateCommand.self, PluginInspectCommand.self,
            PluginExplainCommand.self,
            PluginReplayCommand.self, PluginWorkerCommand.self,
        ])

    /// `dmsae plugin list`.
    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lists the plugins that a name can mean, and files that did not load.",
            discussion: """
                Looks where the shipped ones are (lib/dmsae of an installation, or beside the executable; \
                libdmsae-plugin-*.so), then in the folders of DMSAE_PLUGIN_PATH (separated by colons; every .so). Loads each \
                file, so it runs their code, in processes of their own but for the shipped ones.

                Example: DMSAE_PLUGIN_PATH=~/plugins dmsae plugin list
                """)

        @Flag(help: "Print one JSON array.")
        var json = false

        @OptionGroup var plugins: PluginOptions

        func run() throws {
            let list = try PluginCatalog().list(
                services: PluginOptions.services, isolation: plugins.isolation(crashFolder: nil))
            if json {
                let encoder = JSONEncoder()
                encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
                print(printableJSON(String(decoding: try encoder.encode(list), as: UTF8.self)))
            } else {
                for line in Self.table(list) { print(line) }
            }
        }

        /// A line for each plugin, columns aligned; its file and, where it did not load, the reason below. What files say of
        /// themselves is written fit for a terminal.
        static func table(_ list: [PluginListing]) -> [String] {
            func width(_ column: (PluginListing) -> String?) -> Int {
                list.map { printable(column($0) ?? "").count }.max() ?? 0
            }
            func padded(_ text: String?, _ width: Int) -> String {
                let text = printable(text ?? "")
                return text + String(repeating: " ", count: max(0, width - text.count))
            }
            let id = width(\.id), kind = width(\.kind), version = width(\.version)
            if list.isEmpty { return ["no plugins; add a folder of them to DMSAE_PLUGIN_PATH"] }
            return list.flatMap { entry -> [String] in
                let path = printable(entry.path)
                if let error = entry.error { return ["not loaded: \(path)", "    \(printable(error))"] }
                if let warning = entry.warning { return ["warning: \(path)", "    \(printable(warning))"] }
                let columns = [padded(entry.id, id), padded(entry.kind, kind), padded(entry.version, version)]
                let line = (columns + [printable(entry.description ?? "")]).joined(separator: "  ")
                guard let other = entry.shadowedBy else { return [line, "    \(path)"] }
                let why =
                    other == entry.path
                    ? "listed above: its folder is in DMSAE_PLUGIN_PATH twice"
                    : "not what the name means, which is \(printable(other)); give this path to have it"
                return [line, "    \(path)", "    \(why)"]
            }
        }
    }
}
