import Glibc

// benchmarks lm MODEL [LAYER]
let arguments = CommandLine.arguments.dropFirst()
if arguments.first == "lm", arguments.count >= 2 {
    let layer = arguments.count > 2 ? Int(Array(arguments)[2]) ?? 15 : 15
    try LanguageModelThroughput(path: Array(arguments)[1], layer: layer).run()
}
