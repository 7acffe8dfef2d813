import CUDABackend
import Glibc
import LanguageModeling
import TensorFiles

// With a Python that has torch and the peers (or DMSAE_PEER_PYTHON), and the model as a folder that transformers reads (or
// DMSAE_PEER_MODEL; MODEL itself if it is one), peers are timed too.
let usage = """
    usage: Benchmarks [sae [all | D F K B] [--core C] [--dead SHARE] [--rounds N] [--device cuda [--precision fp32|tf32]]
                      | lm MODEL|SHAPE [LAYER] [--sequences N] [--length T] [--rounds N] [--device cuda [--precision fp32|tf32|bf16]]
                      | scoring MODEL [LAYER] | plugins MODEL [LAYER]
                      | store FOLDER | weights]
                      [--python PYTHON] [--folder FOLDER]
    SHAPE: \(LanguageModelShape.all.map(\.name).joined(separator: ", ")), of random weights
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

func languageModel(_ path: String, _ layer: Int, _ batch: BatchSize = BatchSize()) throws {
    let readable = folder ?? (path.hasSuffix(".gguf") ? nil : path)
    let throughput = LanguageModelThroughput(
        name: lastComponent(path), model: try loadDecoder(path: path), layer: layer, batch: batch, python: python,
        folder: readable)
    try throughput.run()
}

/// What the arguments after `lm` ask for; false if they cannot be understood.
func languageModel(_ arguments: [String]) throws -> Bool {
    var rest = arguments
    let (device, precision) = (value(of: "--device", in: &rest), value(of: "--precision", in: &rest))
    var batch = BatchSize()
    for (name, size) in [
        ("--sequences", \BatchSize.sequences), ("--length", \.length), ("--rounds", \.rounds),
    ] {
        guard let text = value(of: name, in: &rest) else { continue }
        guard let number = Int(text), number > 0 else { return false }
        batch[keyPath: size] = number
    }
    guard (1...2).contains(rest.count), ["cpu", "cuda", nil].contains(device) else { return false }
    let shape = LanguageModelShape.all.first { $0.name == rest[0] }
    guard let layer = rest.count == 1 ? shape?.layer ?? 15 : Int(rest[1]) else { return false }
    guard device == "cuda" else {
        guard precision == nil else { return false }
        guard let shape else {
            try languageModel(rest[0], layer, batch)
            return true
        }
        let throughput = LanguageModelThroughput(
            name: shape.name, model: try shape.decoder(), layer: layer, batch: batch, python: python,
            folder: python == nil ? nil : try shape.folder())
        try throughput.run()
        return true
    }
    guard let precision = ProductPrecision(rawValue: precision ?? "tf32") else { return false }
    var card = CardLanguageModel(
        name: lastComponent(rest[0]), model: try shape?.decoder() ?? loadDecoder(path: rest[0]), layer: layer,
        precision: precision)
    if let shape { (card.sequences, card.length) = (shape.sequences, shape.length) }
    try card.run()
    return true
}

/// The value of an option, taken out of the arguments.
func value(of name: String, in arguments: inout [String]) -> String? {
    guard let at = arguments.firstIndex(of: name), at + 1 < arguments.count else { return nil }
    defer { arguments.removeSubrange(at...at + 1) }
    return arguments[at + 1]
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
case ("lm", _, _):
    guard try languageModel(Array(arguments.dropFirst())) else {
        print(usage)
        exit(64)
    }
case ("scoring", 2...3, let layer?): try ScoringThroughput(path: model, layer: layer).run()
case ("plugins", 2...3, let layer?): try PluginOverhead(path: model, layer: layer).run()
case ("weights", 1, _): WeightWidening().run()
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
            // A step is the same with bf16 as with tf32.
            guard let known = ProductPrecision(rawValue: value), known != .bf16 else { return nil }
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
