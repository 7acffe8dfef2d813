import Glibc

let usage = """
    usage: Benchmarks [sae [all | D F K B] [--core C] [--dead SHARE] [--rounds N] [--python PYTHON]
                      | lm MODEL [LAYER] | plugins MODEL [LAYER]]
    """
let arguments = Array(CommandLine.arguments.dropFirst())
printMachine()
switch arguments.first {
case nil:
    for step in trainingSteps([]) ?? [] { try step.run() }
    if let demo = demoModel() {
        try LanguageModelThroughput(path: demo, layer: 15).run()
        try PluginOverhead(path: demo, layer: 15).run()
    } else {
        print("\nno language model: run `dmsae fetch demo`, or name one (Benchmarks lm MODEL [LAYER])")
    }
case "sae":
    guard let steps = trainingSteps(Array(arguments.dropFirst())) else {
        print(usage)
        exit(64)
    }
    for step in steps { try step.run() }
case "lm" where (2...3).contains(arguments.count) && (arguments.count == 2 || Int(arguments[2]) != nil):
    try LanguageModelThroughput(path: arguments[1], layer: arguments.count > 2 ? Int(arguments[2])! : 15).run()
case "plugins" where (2...3).contains(arguments.count) && (arguments.count == 2 || Int(arguments[2]) != nil):
    try PluginOverhead(path: arguments[1], layer: arguments.count > 2 ? Int(arguments[2])! : 15).run()
default:
    print(usage)
    exit(64)
}

/// The steps that the arguments after `sae` ask for, nil if they cannot be understood.
func trainingSteps(_ arguments: [String]) -> [TrainingStep]? {
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
    var rounds = 7
    var python = getenv("DMSAE_PEER_PYTHON").map { String(cString: $0) }
    for (name, value) in options {
        switch (name, Double(value)) {
        case ("--core", let number?): for i in shapes.indices { shapes[i].core = Int(number) }
        case ("--dead", let number?): for i in shapes.indices { shapes[i].dead = number }
        case ("--rounds", let number?): rounds = max(1, Int(number))
        case ("--python", _): python = value
        default: return nil
        }
    }
    return shapes.map { TrainingStep(shape: $0, rounds: rounds, python: python) }
}
