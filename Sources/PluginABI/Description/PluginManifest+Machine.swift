import Glibc
import Kernels

// What a file needs of the machine before any of its code may run.
extension PluginManifest {
    /// Refuses a file that this machine cannot run: DMSAE-MANIFEST-04 and 05.
    ///
    /// - Throws: `PluginABIError.processorLacks`, `.unknownRequirement`, `.sanitizerMissing`, `.unknownSanitizer`.
    package func requireMachine(path: String, level: ProcessorLevel = .available) throws {
        for requirement in requires ?? [] {
            let isThere: Bool
            switch requirement {
            case "x86-64": isThere = true
            case "x86-64-v2": isThere = ProcessorLevel.hasSecond
            case "x86-64-v3": isThere = level >= .v3
            case "x86-64-v4": isThere = level >= .v4
            default: throw PluginABIError.unknownRequirement(path: path, requirement: requirement)
            }
            guard isThere else {
                throw PluginABIError.processorLacks(
                    path: path, requirement: requirement,
                    has: level == .baseline ? "x86-64" : "x86-64-v\(level.rawValue)")
            }
        }
        // Those of address and thread take over memory before anything else; the third one's comes along with the file.
        let runtimes = ["address": "__asan_init", "thread": "__tsan_init", "undefined": nil]
        guard let sanitizer else { return }
        guard let runtime = runtimes[sanitizer] else {
            throw PluginABIError.unknownSanitizer(path: path, sanitizer: sanitizer)
        }
        // nil is RTLD_DEFAULT: what was there before any plugin.
        if let runtime, dlsym(nil, runtime) == nil {
            throw PluginABIError.sanitizerMissing(path: path, sanitizer: sanitizer)
        }
    }
}
