import ArgumentParser

/// `dmsae eval …`: how good an SAE is. Without a word it is `eval splice`.
struct EvalCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "eval", abstract: "Measure an SAE on text, under SAEBench's names.",
        discussion: """
            Without a subcommand it is splice, whose options `dmsae eval splice --help` shows.

            Example: dmsae eval --model smollm2.gguf --sae sae --text wiki-test.jsonl --tokens 16384
            """,
        subcommands: [
            EvalSpliceCommand.self, EvalCoreCommand.self, EvalProbesCommand.self, EvalAbsorptionCommand.self,
            EvalMetaCommand.self, EvalSyntheticCommand.self,
        ],
        defaultSubcommand: EvalSpliceCommand.self)
}
