import Glibc
import TestSupport
import Testing

/// Where the build leaves a module's object files: beside the test program.
private func objects(of module: String) -> String? {
    guard let resolved = realpath("/proc/self/exe", nil) else { return nil }
    defer { free(resolved) }
    let program = String(cString: resolved)
    let folder = "\(program[..<(program.lastIndex(of: "/") ?? program.startIndex)])/\(module).build"
    return access(folder, R_OK) == 0 ? folder : nil
}

/// What a shell command prints, nil if it fails.
private func output(of command: String) -> String? {
    let folder = TemporaryFolder()
    guard system("\(command) > '\(folder.file("out"))' 2>/dev/null") == 0 else { return nil }
    return String(decoding: contents(of: folder.file("out")), as: UTF8.self)
}

private let levelModules = ["KernelsBaseline", "KernelsV3", "KernelsV4"]
private let canInspect = levelModules.allSatisfy { objects(of: $0) != nil } && output(of: "command -v nm") != nil

/// A weak function in a level module may be the copy that the linker keeps for the whole program: code for AVX-512
/// would then run on a processor without it. Generics, arrays and class metadata are what bring such functions in.
@Test(.enabled(if: canInspect, "needs nm and the build's object files"), arguments: levelModules)
func levelModulesHoldNoWeakCode(_ module: String) throws {
    let folder = try #require(objects(of: module))
    let text = try #require(output(of: "nm '\(folder)'/*.o"))
    var kernelCount = 0
    for line in text.split(separator: "\n") {
        let fields = line.split(separator: " ", maxSplits: 2)
        // Undefined symbols have no address: two fields.
        guard fields.count == 3 else { continue }
        switch fields[1] {
        case "T", "t": kernelCount += 1
        case "W", "w": Issue.record("weak code in \(module): \(fields[2])")
        // Every Swift object has this constant, and type references by name; data is the same at every level.
        case "V", "v":
            #expect(
                fields[2] == "__swift_reflection_version" || fields[2].hasPrefix("symbolic "),
                "weak object in \(module)")
        default: break
        }
    }
    #expect(kernelCount >= 11, "the object files hold the kernels")
}
