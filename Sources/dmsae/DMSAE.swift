import ArgumentParser

/// The program: one file per subcommand, and no arithmetic.
@main
struct DMSAE: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dmsae",
        abstract: "Distil a core of sparse-autoencoder latents from a language model.",
        subcommands: [FetchCommand.self, PluginCommand.self])
}
