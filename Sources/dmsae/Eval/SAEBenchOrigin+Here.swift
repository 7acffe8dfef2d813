import Attribution
import FoundationEssentials
import LinearAlgebra

extension SAEBenchOrigin {
    /// Made by this program now.
    static func here(sae: String) -> SAEBenchOrigin {
        SAEBenchOrigin(
            name: sae, id: UUID().uuidString.lowercased(), seconds: secondsSince1970(),
            program: "dmsae \(DMSAE.version)")
    }
}
