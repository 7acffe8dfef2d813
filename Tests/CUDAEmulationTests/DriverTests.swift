import Foundation
import TestSupport
import Testing

/// Memory, copies, streams and failures, as strict as a card or stricter.
@Suite struct DriverTests {
    private let refused = CUDAError(description: "CUDA_ERROR_INVALID_VALUE")

    @Test func `all entry points are there`() {
        let names = """
            cuInit cuDriverGetVersion cuDeviceGetCount cuDeviceGet cuDeviceGetName cuDeviceGetAttribute cuDeviceTotalMem_v2
            cuDevicePrimaryCtxRetain cuDevicePrimaryCtxRelease_v2 cuCtxSetCurrent cuMemGetInfo_v2 cuMemAlloc_v2 cuMemFree_v2
            cuMemHostAlloc cuMemFreeHost cuMemcpyHtoDAsync_v2 cuMemcpyDtoHAsync_v2 cuMemcpyDtoDAsync_v2 cuMemsetD8Async
            cuMemsetD32Async cuStreamCreate cuStreamDestroy_v2 cuStreamSynchronize cuStreamWaitEvent cuEventCreate
            cuEventRecord cuEventSynchronize cuEventElapsedTime cuEventElapsedTime_v2 cuEventDestroy_v2 cuModuleLoadData
            cuModuleUnload cuModuleGetFunction cuFuncSetAttribute cuLaunchKernel cuGetErrorName cuGetErrorString
            nvrtcVersion nvrtcCreateProgram nvrtcCompileProgram nvrtcGetProgramLogSize nvrtcGetProgramLog nvrtcGetCUBINSize
            nvrtcGetCUBIN nvrtcDestroyProgram nvrtcGetErrorString
            cublasLtCreate cublasLtDestroy cublasLtGetVersion cublasLtMatmulDescCreate cublasLtMatmulDescDestroy
            cublasLtMatmulDescSetAttribute cublasLtMatrixLayoutCreate cublasLtMatrixLayoutDestroy
            cublasLtMatrixLayoutSetAttribute cublasLtMatmulPreferenceCreate cublasLtMatmulPreferenceDestroy
            cublasLtMatmulPreferenceSetAttribute cublasLtMatmulAlgoGetHeuristic cublasLtMatmul cublasLtGetStatusString
            """
        for name in names.split(whereSeparator: \.isWhitespace) {
            #expect(EmulatedCUDA.shared.has(String(name)), "\(name)")
        }
    }

    @Test func `fresh memory is not a number`() throws {
        let card = try EmulatedCard()
        #expect(try card.words(card.allocate(1000), 250) == [UInt32](repeating: .max, count: 250))
    }

    @Test func `copies stay within one allocation`() throws {
        let card = try EmulatedCard()
        let (a, b) = (try card.upload([UInt8](repeating: 1, count: 100)), try card.allocate(100))
        try card.check(card.cuda.copyOnDevice(b + 10, a, 90, nil))
        #expect(throws: refused) { try card.check(card.cuda.copyOnDevice(b + 11, a, 90, nil)) }
        #expect(throws: refused) { _ = try card.download(a + 1, 100, of: UInt8(0)) }
        #expect(throws: refused) { try card.check(card.cuda.fill(b, 0, 26, nil)) }
        #expect(throws: refused) { try card.check(card.cuda.free(a + 1)) }
        try card.check(card.cuda.free(a))
        #expect(throws: refused) { try card.check(card.cuda.copyOnDevice(b, a, 1, nil)) }
    }

    @Test func `memory ends where the card's memory ends`() throws {
        let card = try EmulatedCard("memory=10000")
        let first = try card.allocate(6000)
        #expect(throws: CUDAError(description: "CUDA_ERROR_OUT_OF_MEMORY")) { try card.allocate(4001) }
        var (free, total) = (0, 0)
        try card.check(card.cuda.memoryInfo(&free, &total))
        #expect(free == 4000 && total == 10000)
        try card.check(card.cuda.free(first))
        _ = try card.allocate(10000)
    }

    @Test func `the call that was named fails, and a failed launch is for ever`() throws {
        let card = try EmulatedCard("fail=cuMemAlloc:2")
        let place = try card.allocate(4)
        #expect(throws: CUDAError(description: "CUDA_ERROR_OUT_OF_MEMORY")) { try card.allocate(4) }
        _ = try card.allocate(4)
        #expect(card.calls(of: "cuMemAlloc") == 3)

        try card.set("fail=cuLaunchKernel:2")
        try card.launch("example_last_block", blocks: 1, threads: 32, .address(place))
        for _ in 0..<2 {
            #expect(throws: CUDAError(description: "CUDA_ERROR_LAUNCH_FAILED")) {
                try card.launch("example_last_block", blocks: 1, threads: 32, .address(place))
            }
        }
        #expect(throws: CUDAError(description: "CUDA_ERROR_LAUNCH_FAILED")) { try card.words(place, 1) }
    }

    @Test func `a lazy card does nothing before somebody waits`() throws {
        let card = try EmulatedCard("lazy=1")
        let (stream, place) = (try card.stream(), try card.allocate(4))
        var pinned: UnsafeMutableRawPointer?
        try card.check(card.cuda.allocatePinned(&pinned, 4, 0))
        let number = pinned!.assumingMemoryBound(to: UInt32.self)
        try card.launch("example_last_block", blocks: 9, threads: 32, on: stream, .address(place))
        try card.check(card.cuda.copyToHost(pinned, place, 4, stream))
        #expect(number.pointee == .max)
        try card.check(card.cuda.synchronize(stream))
        #expect(number.pointee == 8)
    }

    @Test func `a stream that does not wait for another's event reads what was there before`() throws {
        for waits in [true, false] {
            let card = try EmulatedCard("lazy=1")
            let (first, second, place) = (try card.stream(), try card.stream(), try card.allocate(4))
            var event: UnsafeMutableRawPointer?
            try card.check(card.cuda.createEvent(&event, 2))
            try card.launch("example_last_block", blocks: 9, threads: 32, on: first, .address(place))
            try card.check(card.cuda.recordEvent(event, first))
            if waits { try card.check(card.cuda.waitEvent(second, event, 0)) }
            var value: UInt32 = 0
            try card.check(card.cuda.copyToHost(&value, place, 4, second))
            #expect(value == (waits ? 8 : .max))
        }
    }

    @Test func `time passes between events`() throws {
        let card = try EmulatedCard()
        var (start, end): (UnsafeMutableRawPointer?, UnsafeMutableRawPointer?)
        try card.check(card.cuda.createEvent(&start, 0))
        try card.check(card.cuda.createEvent(&end, 0))
        var milliseconds: Float = -1
        #expect(throws: CUDAError(description: "CUDA_ERROR_INVALID_HANDLE")) {
            try card.check(card.cuda.elapsed(&milliseconds, start, end))
        }
        try card.check(card.cuda.recordEvent(start, nil))
        let place = try card.allocate(4)
        try card.launch("example_last_block", blocks: 500, threads: 256, .address(place))
        try card.check(card.cuda.recordEvent(end, nil))
        try card.check(card.cuda.elapsed(&milliseconds, start, end))
        #expect(milliseconds > 0)
    }

    @Test func `a cubin is for one generation of cards, and holds what its text defines`() throws {
        let card = try EmulatedCard("capability=8.6")
        let text = "extern \"C\" __global__ void example_last_block(unsigned *place) {}"
        _ = try card.function("example_last_block", in: compiled(text, ["--gpu-architecture=sm_80"]))
        #expect(throws: CUDAError(description: "CUDA_ERROR_NO_BINARY_FOR_GPU")) {
            _ = try card.function("example_last_block", in: compiled(text, ["--gpu-architecture=sm_90"]))
        }
        for name in ["example_histogram", "example_last", "nothing"] {
            #expect(throws: CUDAError(description: "CUDA_ERROR_NOT_FOUND")) {
                _ = try card.function(name, in: compiled(text + " void nothing();", ["--gpu-architecture=sm_86"]))
            }
        }
        // A macro may have put the name together.
        _ = try card.function(
            "example_last_block", in: compiled("example_last_##V(", ["--gpu-architecture=sm_86"]))
        #expect(throws: CUDAError(description: "CUDA_ERROR_INVALID_IMAGE")) {
            _ = try card.function("example_last_block", in: Array("ELF".utf8) + [0])
        }
    }

    @Test func `the compiler refuses what asks for it`() {
        #expect(
            message(of: { _ = try compiled("\n#error dmsae-emulation\n") }).hasPrefix("kernel.cu(2): error: #error"))
        #expect(message(of: { _ = try compiled("", []) }).contains("without --gpu-architecture"))
    }
}
