import CUDABackend
import Foundation
import TestSupport

/// The card that tests run on: a real one where DMSAE_TEST_DEVICE is `cuda`, or else the emulation that was built with them.
enum TestCard {
    static let isReal = ProcessInfo.processInfo.environment["DMSAE_TEST_DEVICE"] == "cuda"

    private static let isPrepared: Bool = {
        if !isReal {
            let folder = builtProgram.split(separator: "/", omittingEmptySubsequences: false).dropLast()
            setenv("DMSAE_CUDA_PATH", folder.joined(separator: "/") + "/libdmsae-cuda-emulation.so", 1)
        }
        return true
    }()

    /// A context of a test's own.
    static func context() throws -> CUDAContext {
        _ = isPrepared
        return try CUDAContext(index: 0)
    }

    /// Trainings on it.
    static func device(_ precision: ProductPrecision = .fp32) throws -> CUDATraining {
        CUDATraining(try context(), precision: precision)
    }
}
