import ArgumentParser
import FoundationEssentials
import PluginWorkers
import TensorFiles

/// `dmsae doctor`: what this machine gives, and what is switched off for want of it.
struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor", abstract: "Says what this machine gives a run, and what is switched off for want of it.",
        discussion: """
            LOOK marks what makes some runs slower, smaller or less guarded; MISS what commands need and do not have. Exit status: \
            1 with a MISS, else 0.

            Example: dmsae doctor
            """)

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        let findings =
            try MachineFindings.all() + SoftwareFindings.libraries() + SoftwareFindings.card()
            + SoftwareFindings.ranks() + sandbox() + SoftwareFindings.plugins() + SoftwareFindings.programs()
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            print(String(decoding: try encoder.encode(findings), as: UTF8.self))
        } else {
            let width = findings.map(\.what.count).max() ?? 0
            for finding in findings {
                let what = finding.what + String(repeating: " ", count: width - finding.what.count)
                let remedy = finding.remedy.map { "; \($0)" } ?? ""
                print("\(finding.state.mark)  \(what)  \(printable(finding.found + remedy))")
            }
        }
        if findings.contains(where: { $0.state == .missing }) { throw ExitCode.failure }
    }

    private func sandbox() -> [Finding] {
        PluginSandbox.parts.map { part in
            Finding(
                "sandbox", "a plugin \(part.name)" + (part.missing.map { ": switched off, it needs \($0)" } ?? ""),
                part.missing == nil ? .well : .look)
        }
    }
}
