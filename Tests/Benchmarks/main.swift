import Glibc

// Benchmarks [sae | lm MODEL [LAYER] | plugins MODEL [LAYER]]
let arguments = Array(CommandLine.arguments.dropFirst())
printMachine()
switch arguments.first {
case nil:
    try TrainingStep.runAll()
    if let demo = demoModel() {
        try LanguageModelThroughput(path: demo, layer: 15).run()
        try PluginOverhead(path: demo, layer: 15).run()
    } else {
        print("\nno language model: run `dmsae fetch demo`, or name one (Benchmarks lm MODEL [LAYER])")
    }
case "sae" where arguments.count == 1:
    try TrainingStep.runAll()
case "lm" where (2...3).contains(arguments.count) && (arguments.count == 2 || Int(arguments[2]) != nil):
    try LanguageModelThroughput(path: arguments[1], layer: arguments.count > 2 ? Int(arguments[2])! : 15).run()
case "plugins" where (2...3).contains(arguments.count) && (arguments.count == 2 || Int(arguments[2]) != nil):
    try PluginOverhead(path: arguments[1], layer: arguments.count > 2 ? Int(arguments[2])! : 15).run()
default:
    print("usage: Benchmarks [sae | lm MODEL [LAYER] | plugins MODEL [LAYER]]")
    exit(64)
}
