import Glibc
import Kernels
import LinearAlgebra
import PluginABI
import TensorFiles

/// What the environment of the program says, looked at once before any work.
enum Surroundings {
    /// Every variable of ours, with those of building and testing.
    private static let known = [
        "DMSAE_CACHE", "DMSAE_CPU", "DMSAE_CUDA_PATH", "DMSAE_DEVICE", "DMSAE_LANES", "DMSAE_MPI", "DMSAE_NCCL",
        "DMSAE_PLUGIN_PATH",
        "DMSAE_TEST_DEVICE",
        "DMSAE_STRICT",
    ]

    /// Bytes without which no command gets far: an array of Swift's that cannot have its memory ends the program in words of its
    /// own.
    private static let leastMemory = 32 << 20

    /// Refuses values that would otherwise be passed over, and warns of names that are.
    ///
    /// - Throws: `ResourceError.badVariable`, `.memory`; `ProcessorLevel.Unavailable`.
    static func check() throws {
        ResourceAdvice.set(ResourceAdvice.anyone)
        var need = MemoryNeed("dmsae itself needs", advice: "raise the limit")
        need.add("memory", leastMemory)
        try need.check(.ofProcess)
        _ = try Lanes.requestedCount()
        _ = try ProcessorLevel.requested()
        if let cache = getenv("DMSAE_CACHE").map({ String(cString: $0) }), !cache.isEmpty, !cache.hasPrefix("/") {
            throw ResourceError.badVariable(name: "DMSAE_CACHE", value: cache, wanted: "an absolute path")
        }
        for name in names() where !known.contains(name) && !name.hasPrefix("DMSAE_EMULATED_") {
            let near = nearest(name, among: known).map { "; did you mean \($0)?" } ?? ""
            Terminal.shared.warn("the environment variable \(name) has no meaning to dmsae\(near)")
        }
    }

    /// Starts what computes: memory for matrix products, lanes. Before anything is read, so that limits that do not even
    /// leave room for that are said at once.
    ///
    /// - Parameter advice: what to lower where memory ends later on: "lower --width or --batch".
    /// - Throws: `ResourceError`.
    static func prepareToCompute(advice: String) throws {
        ResourceAdvice.set(advice)
        try BLAS.prepare()
        try Lanes.prepare()
        let (lanes, processors) = (Lanes.shared.count, ProcessorShare.count)
        if lanes > processors {
            Terminal.shared.warn(
                "DMSAE_LANES is \(lanes), and this process may use \(processors) processor\(processors == 1 ? "" : "s"): "
                    + "lanes will wait for each other")
        }
    }

    private static func names() -> [String] {
        var result: [String] = []
        var entry = environ
        while let text = entry.pointee {
            let name = String(cString: text).prefix { $0 != "=" }
            if name.hasPrefix("DMSAE_") { result.append(String(name)) }
            entry += 1
        }
        return result.sorted()
    }
}
