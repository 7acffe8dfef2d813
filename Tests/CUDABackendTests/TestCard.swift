import CUDABackend
import Foundation
import TestSupport
import Testing

/// The card that tests run on: a real one where DMSAE_TEST_DEVICE is `cuda`, or else the emulation that was built with them.
enum TestCard {
    static let isReal = startingEnvironment["DMSAE_TEST_DEVICE"] == "cuda"

    /// The library that stands for CUDA's three.
    static let emulation = String(builtProgram.dropLast("dmsae".count)) + "libdmsae-cuda-emulation.so"

    private static let isPrepared: Bool = {
        if !isReal { setenv("DMSAE_CUDA_PATH", emulation, 1) }
        return true
    }()

    /// A context of a test's own; on an emulated card of its own, if it needs settings (Tests/CUDAEmulation/README.md).
    static func context(_ settings: String? = nil) throws -> CUDAContext {
        _ = isPrepared
        guard let settings else { return try CUDAContext(index: 0) }
        let library = try #require(dlopen(emulation, RTLD_NOW | RTLD_LOCAL))
        let symbol = try #require(dlsym(library, "emulatedCardAdd"))
        let add = unsafeBitCast(symbol, to: (@convention(c) (UnsafePointer<CChar>?) -> Int32).self)
        return try CUDAContext(index: Int(add(settings)))
    }

    /// Trainings on it.
    static func device(_ precision: ProductPrecision = .fp32, _ settings: String? = nil) throws -> CUDATraining {
        CUDATraining(try context(settings), precision: precision)
    }
}
