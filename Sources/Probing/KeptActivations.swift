import LinearAlgebra
import TensorFiles

/// Activations of tasks in a folder, with what they were made of: other SAEs of the same place are probed without running the model.
package struct KeptActivations {
    private let folder: String
    private let cause: [String: String]

    /// Those of a model, a place in it and a package of tasks, whatever says which.
    package init(folder: String, cause: [String: String]) { (self.folder, self.cause) = (folder, cause) }

    private func file(_ task: ProbingTask) -> String { "\(folder)/\(task.name).safetensors" }

    /// x `[n, d]` of a task; nil where they are not there or are of something else.
    ///
    /// - Throws: `TensorFileError` of a file that is damaged.
    package func read(_ task: ProbingTask, dIn: Int) throws -> Matrix? {
        guard exists(file(task)) else { return nil }
        let kept = try SafetensorsFile(path: file(task))
        guard kept.metadata == cause else { return nil }
        try kept.require("x", shape: [task.prompts.count, dIn])
        return try kept.finiteMatrix("x")
    }

    /// Keeps those of a task.
    ///
    /// - Throws: `TensorFileError.unwritable`.
    package func write(_ task: ProbingTask, _ x: Matrix) throws {
        var writer = SafetensorsWriter(metadata: cause)
        writer.add("x", x)
        try writer.write(to: file(task))
    }
}
