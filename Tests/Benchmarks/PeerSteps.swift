import FoundationEssentials
import Glibc
import LinearAlgebra

/// The steps of other trainers on the same work, timed by a Python that has them.
struct PeerSteps {
    let python: String
    /// As torch names it.
    var device = "cpu"
    /// Whether products may be rounded to TF32.
    var isRounded = false

    struct Time: Decodable {
        let name: String
        var seconds: Double?
        var error: String?
    }

    private static let script = "\(#filePath.dropLast("PeerSteps.swift".count))peers/step.py"

    func times(of shape: TrainingShape) -> [Time] {
        let command =
            "'\(python)' '\(Self.script)' \(shape.dIn) \(shape.width) \(shape.k) \(shape.batch) "
            + "--threads \(Lanes.shared.count) --device \(device)" + (isRounded ? " --tf32" : "")
        guard let pipe = popen(command, "r") else { return [] }
        defer { pclose(pipe) }
        var times: [Time] = []
        var line = [CChar](repeating: 0, count: 4096)
        while fgets(&line, 4096, pipe) != nil {
            let bytes = line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
            if let time = try? JSONDecoder().decode(Time.self, from: Data(bytes)) { times.append(time) }
        }
        return times
    }
}
