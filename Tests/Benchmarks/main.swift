import Glibc

// Benchmarks [sae | lm MODEL [LAYER] | scoring MODEL [LAYER] | plugins MODEL [LAYER]]
//            [--python PATH] [--folder FOLDER]
//
// With a Python that has torch and transformers (or DMSAE_PEER_PYTHON), and the model as a folder that transformers reads
// (or DMSAE_PEER_MODEL; MODEL itself if it is one), `lm` times those too.
var arguments = Array(CommandLine.arguments.dropFirst())

/// The value of an option, taken out of the arguments, or of an environment variable.
func option(_ name: String, _ variable: String, in arguments: inout [String]) -> String? {
    if let at = arguments.firstIndex(of: name), at + 1 < arguments.count {
        defer { arguments.removeSubrange(at...at + 1) }
        return arguments[at + 1]
    }
    return getenv(variable).map { String(cString: $0) }
}
let python = option("--python", "DMSAE_PEER_PYTHON", in: &arguments)
let folder = option("--folder", "DMSAE_PEER_MODEL", in: &arguments)

func languageModel(_ path: String, _ layer: Int) throws {
    let readable = folder ?? (path.hasSuffix(".gguf") ? nil : path)
    try LanguageModelThroughput(path: path, layer: layer, python: python, folder: readable).run()
}

printMachine()
let model = arguments.count > 1 ? arguments[1] : ""
let layer = arguments.count > 2 ? Int(arguments[2]) : 15
switch (arguments.first, arguments.count, layer) {
case (nil, _, _):
    try TrainingStep.runAll()
    if let demo = demoModel() {
        try languageModel(demo, 15)
        try ScoringThroughput(path: demo, layer: 15).run()
        try PluginOverhead(path: demo, layer: 15).run()
    } else {
        print("\nno language model: run `dmsae fetch demo`, or name one (Benchmarks lm MODEL [LAYER])")
    }
case ("sae", 1, _): try TrainingStep.runAll()
case ("lm", 2...3, let layer?): try languageModel(model, layer)
case ("scoring", 2...3, let layer?): try ScoringThroughput(path: model, layer: layer).run()
case ("plugins", 2...3, let layer?): try PluginOverhead(path: model, layer: layer).run()
default:
    print(
        """
        usage: Benchmarks [sae | lm MODEL [LAYER] | scoring MODEL [LAYER] | plugins MODEL [LAYER]]
                          [--python PATH] [--folder FOLDER]
        """)
    exit(64)
}
