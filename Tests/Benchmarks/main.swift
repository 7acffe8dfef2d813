import CUDABackend
import Glibc

// With a Python that has torch and the peers (or DMSAE_PEER_PYTHON), and the model as a folder that transformers reads (or
// DMSAE_PEER_MODEL; MODEL itself if it is one), peers are timed too.
let usage = """
    usage: Benchmarks [sae [all | D F K B] [--core C] [--dead SHARE] [--rounds N] [--device cuda [--precision fp32|tf32]]
                      | lm MODEL [LAYER] | scoring MODEL [LAYER] | plugins MODEL [LAYER]
                      | store FOLDER]
                      [--python PYTHON] [--folder FOLDER]
    """
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
    for step in trainingSteps([]) ?? [] { try step.run() }
    if let demo = demoModel() {
        try languageModel(demo, 15)
        try ScoringThroughput(path: demo, layer: 15).run()
        try PluginOverhead(path: demo, layer: 15).run()
    } else {
        print("\nno language model: run `dmsae fetch demo`, or name one (Benchmarks lm MODEL [LAYER])")
    }
case ("sae", _, _):
    guard let steps = trainingSteps(Array(arguments.dropFirst())) else {
        print(usage)
        exit(64)
    }
    for step in steps { try step.run() }
case ("lm", 2...3, let layer?): try languageModel(model, layer)
case ("scoring", 2...3, let layer?): try ScoringThroughput(path: model, layer: layer).run()
case ("plugins", 2...3, let layer?): try PluginOverhead(path: model, layer: layer).run()
case ("store", 2, _): try StoreReading(folder: model).run()
default:
    print(usage)
    exit(64)
}

/// What runs under `sae`.
protocol StepBenchmark { func run() throws }
extension TrainingStep: StepBenchmark {}
extension CardStep: StepBenchmark {}

/// The steps that the arguments after `sae` ask for, nil if they cannot be understood.
func trainingSteps(_ arguments: [String]) -> [any StepBenchmark]? {
    var (sizes, options) = ([String](), [String: String]())
    var rest = arguments[...]
    while let word = rest.popFirst() {
        if !word.hasPrefix("--") {
            sizes.append(word)
        } else if let value = rest.popFirst() {
            options[word] = value
        } else {
            return nil
        }
    }
    var shapes = TrainingShape.standard
    if sizes == ["all"] {
        shapes = TrainingShape.all
    } else if !sizes.isEmpty {
        let numbers = sizes.compactMap { Int($0) }.filter { $0 > 0 }
        guard numbers.count == 4, sizes.count == 4 else { return nil }
        shapes = [TrainingShape(dIn: numbers[0], width: numbers[1], k: numbers[2], batch: numbers[3])]
    }
    var (rounds, isOnCard, precision) = (7, false, ProductPrecision.tf32)
    for (name, value) in options {
        switch (name, Double(value)) {
        case ("--device", _) where ["cpu", "cuda"].contains(value): isOnCard = value == "cuda"
        case ("--precision", _):
            guard let known = ProductPrecision(rawValue: value) else { return nil }
            precision = known
        case ("--core", let number?): for i in shapes.indices { shapes[i].core = Int(number) }
        case ("--dead", let number?): for i in shapes.indices { shapes[i].dead = number }
        case ("--rounds", let number?): rounds = max(1, Int(number))
        default: return nil
        }
    }
    if isOnCard { return shapes.map { CardStep(shape: $0, precision: precision, rounds: rounds, python: python) } }
    return shapes.map { TrainingStep(shape: $0, rounds: rounds, python: python) }
}
