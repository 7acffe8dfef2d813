import Foundation
import TestSupport

/// The emulation's entry points, opened as the backend opens the real libraries.
struct EmulatedCUDA: @unchecked Sendable {
    static let shared = EmulatedCUDA()

    let handle: UnsafeMutableRawPointer
    typealias Handle = UnsafeMutableRawPointer

    let initialize: @convention(c) (UInt32) -> Int32
    let retainContext: @convention(c) (UnsafeMutablePointer<Handle?>, Int32) -> Int32
    let releaseContext: @convention(c) (Int32) -> Int32
    let setCurrent: @convention(c) (Handle?) -> Int32
    let memoryInfo: @convention(c) (UnsafeMutablePointer<Int>, UnsafeMutablePointer<Int>) -> Int32
    let allocate: @convention(c) (UnsafeMutablePointer<UInt64>, Int) -> Int32
    let free: @convention(c) (UInt64) -> Int32
    let allocatePinned: @convention(c) (UnsafeMutablePointer<UnsafeMutableRawPointer?>, Int, UInt32) -> Int32
    let copyToDevice: @convention(c) (UInt64, UnsafeRawPointer?, Int, Handle?) -> Int32
    let copyToHost: @convention(c) (UnsafeMutableRawPointer?, UInt64, Int, Handle?) -> Int32
    let copyOnDevice: @convention(c) (UInt64, UInt64, Int, Handle?) -> Int32
    let fill: @convention(c) (UInt64, UInt32, Int, Handle?) -> Int32
    let createStream: @convention(c) (UnsafeMutablePointer<Handle?>, UInt32) -> Int32
    let synchronize: @convention(c) (Handle?) -> Int32
    let waitEvent: @convention(c) (Handle?, Handle?, UInt32) -> Int32
    let createEvent: @convention(c) (UnsafeMutablePointer<Handle?>, UInt32) -> Int32
    let recordEvent: @convention(c) (Handle?, Handle?) -> Int32
    let elapsed: @convention(c) (UnsafeMutablePointer<Float>, Handle?, Handle?) -> Int32
    let loadModule: @convention(c) (UnsafeMutablePointer<Handle?>, UnsafeRawPointer) -> Int32
    let getFunction: @convention(c) (UnsafeMutablePointer<Handle?>, Handle?, UnsafePointer<CChar>) -> Int32
    let setFunctionAttribute: @convention(c) (Handle?, Int32, Int32) -> Int32
    let launchKernel:
        @convention(c) (
            Handle?, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, Handle?,
            UnsafeMutablePointer<UnsafeMutableRawPointer?>?, UnsafeMutablePointer<UnsafeMutableRawPointer?>?
        ) -> Int32
    let errorName: @convention(c) (Int32, UnsafeMutablePointer<UnsafePointer<CChar>?>) -> Int32

    let addCard: @convention(c) (UnsafePointer<CChar>?) -> Int32
    let setCard: @convention(c) (Int32, UnsafePointer<CChar>) -> Int32
    let calls: @convention(c) (Int32, UnsafePointer<CChar>) -> UInt64
    let complaint: @convention(c) () -> UnsafePointer<CChar>

    static var path: String { builtProgram.dropLast("dmsae".count) + "libdmsae-cuda-emulation.so" }

    private init() {
        guard let handle = dlopen(Self.path, RTLD_NOW | RTLD_LOCAL) else { fatalError(String(cString: dlerror())) }
        self.handle = handle
        func entry<Type>(_ name: String) -> Type {
            guard let symbol = dlsym(handle, name) else { fatalError("the emulation has no \(name)") }
            return unsafeBitCast(symbol, to: Type.self)
        }
        initialize = entry("cuInit")
        retainContext = entry("cuDevicePrimaryCtxRetain")
        releaseContext = entry("cuDevicePrimaryCtxRelease_v2")
        setCurrent = entry("cuCtxSetCurrent")
        memoryInfo = entry("cuMemGetInfo_v2")
        allocate = entry("cuMemAlloc_v2")
        free = entry("cuMemFree_v2")
        allocatePinned = entry("cuMemHostAlloc")
        copyToDevice = entry("cuMemcpyHtoDAsync_v2")
        copyToHost = entry("cuMemcpyDtoHAsync_v2")
        copyOnDevice = entry("cuMemcpyDtoDAsync_v2")
        fill = entry("cuMemsetD32Async")
        createStream = entry("cuStreamCreate")
        synchronize = entry("cuStreamSynchronize")
        waitEvent = entry("cuStreamWaitEvent")
        createEvent = entry("cuEventCreate")
        recordEvent = entry("cuEventRecord")
        elapsed = entry("cuEventElapsedTime_v2")
        loadModule = entry("cuModuleLoadData")
        getFunction = entry("cuModuleGetFunction")
        setFunctionAttribute = entry("cuFuncSetAttribute")
        launchKernel = entry("cuLaunchKernel")
        errorName = entry("cuGetErrorName")
        addCard = entry("emulatedCardAdd")
        setCard = entry("emulatedCardSet")
        calls = entry("emulatedCalls")
        complaint = entry("emulatedComplaint")
        guard initialize(0) == 0 else { fatalError("cuInit") }
    }

    func has(_ name: String) -> Bool { dlsym(handle, name) != nil }

    func name(of result: Int32) -> String {
        var name: UnsafePointer<CChar>?
        return errorName(result, &name) == 0 ? String(cString: name!) : "\(result)"
    }
}
