import ArgumentParser
import CUDABackend
import FoundationEssentials
import Glibc
import LinearAlgebra
import PluginHost
import PluginWorkers
import TensorFiles

/// `dmsae doctor`: what this machine gives, and what is switched off for want of it.
struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor", abstract: "Says what this machine gives a run, and what is switched off for want of it.",
        discussion: "Example: dmsae doctor")

    @Flag(help: "Print one JSON object.")
    var json = false

    /// A line of the answer.
    struct Finding: Encodable {
        /// What was looked at.
        var what: String
        /// What was found.
        var found: String
        /// Whether it is as good as it can be.
        var isWell = true

        enum CodingKeys: String, CodingKey {
            case what, found
            case isWell = "is_well"
        }
    }

    func run() throws {
        let findings = try Self.machine() + Self.card() + Self.sandbox() + Self.plugins()
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            return print(String(decoding: try encoder.encode(findings), as: UTF8.self))
        }
        let width = findings.map(\.what.count).max() ?? 0
        for finding in findings {
            let mark = finding.isWell ? "ok  " : "LOOK"
            let what = finding.what + String(repeating: " ", count: width - finding.what.count)
            print("\(mark)  \(what)  \(printable(finding.found))")
        }
    }

    private static func machine() -> [Finding] {
        var system = utsname()
        uname(&system)
        let release = withUnsafePointer(to: &system.release) {
            $0.withMemoryRebound(to: CChar.self, capacity: 65) { String(cString: $0) }
        }
        let memory = Int(sysconf(Int32(_SC_PHYS_PAGES))) * Int(sysconf(Int32(_SC_PAGESIZE)))
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit)
        // RLIM_INFINITY, a macro that Swift does not see.
        let isUnlimited = limit.rlim_cur == rlim_t.max
        func gibibytes(_ bytes: Int) -> String { "\((Double(bytes) / Double(1 << 30) * 10).rounded() / 10) GiB" }
        return [
            Finding(what: "dmsae", found: DMSAE.version),
            Finding(what: "kernel", found: "Linux \(release)"),
            Finding(
                what: "processors",
                found: "\(sysconf(Int32(_SC_NPROCESSORS_ONLN))), of which \(Lanes.shared.count) lanes are used"),
            Finding(what: "BLAS", found: BLAS.core),
            Finding(
                what: "memory",
                found: gibibytes(memory)
                    + (isUnlimited ? "" : ", of which this shell allows \(gibibytes(Int(limit.rlim_cur))) (ulimit -v)"),
                isWell: isUnlimited),
        ]
    }

    /// The first card with all that computing on it takes, or what is missing. Most machines have none.
    private static func card() -> [Finding] {
        do {
            let card = try CUDACard(index: 0)
            return [
                Finding(what: "CUDA device", found: card.description),
                Finding(what: "CUDA libraries", found: card.libraries),
            ]
        } catch CUDAError.libraryMissing(let name, _, let advice) where name.hasPrefix("libcuda.so") {
            return [Finding(what: "CUDA device", found: "none: no \(name); \(advice)")]
        } catch {
            return [Finding(what: "CUDA device", found: "\(error)", isWell: false)]
        }
    }

    private static func sandbox() -> [Finding] {
        PluginSandbox.parts.map { part in
            Finding(
                what: "sandbox",
                found: "a plugin \(part.name)"
                    + (part.missing.map { ": switched off, it needs \($0)" } ?? ""),
                isWell: part.missing == nil)
        }
    }

    private static func plugins() throws -> [Finding] {
        let catalog = try PluginCatalog()
        let path =
            catalog.searchPath.isEmpty
            ? [Finding(what: "plugins", found: "DMSAE_PLUGIN_PATH names no folders")] : []
        return [Finding(what: "plugins", found: "shipped ones are in \(catalog.executableFolder)")] + path
            + catalog.searchPath.map { folder in
                let problem = catalog.problem(of: folder)
                return Finding(
                    what: "plugins", found: folder + (problem.map { ": \($0)" } ?? ""), isWell: problem == nil)
            }
    }
}
