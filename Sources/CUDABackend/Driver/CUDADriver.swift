import Glibc

/// The functions of the driver (libcuda) that this program calls, by their names in NVIDIA's manual.
struct CUDADriver: Sendable {
    typealias Device = Int32
    typealias Address = UInt64
    typealias Handle = OpaquePointer
    typealias Bytes = UnsafeMutableRawPointer

    let library: CUDALibrary
    private let getErrorName: @convention(c) (Int32, UnsafeMutablePointer<UnsafePointer<CChar>?>) -> Int32
    private let getErrorString: @convention(c) (Int32, UnsafeMutablePointer<UnsafePointer<CChar>?>) -> Int32
    let initialize: @convention(c) (UInt32) -> Int32
    let driverGetVersion: @convention(c) (UnsafeMutablePointer<Int32>) -> Int32
    let deviceGetCount: @convention(c) (UnsafeMutablePointer<Int32>) -> Int32
    let deviceGet: @convention(c) (UnsafeMutablePointer<Device>, Int32) -> Int32
    let deviceGetName: @convention(c) (UnsafeMutablePointer<CChar>, Int32, Device) -> Int32
    let deviceGetBus: @convention(c) (UnsafeMutablePointer<CChar>, Int32, Device) -> Int32
    let deviceGetAttribute: @convention(c) (UnsafeMutablePointer<Int32>, Int32, Device) -> Int32
    let primaryContextRetain: @convention(c) (UnsafeMutablePointer<Handle?>, Device) -> Int32
    let primaryContextRelease: @convention(c) (Device) -> Int32
    let contextSetCurrent: @convention(c) (Handle?) -> Int32
    let memoryGetInfo: @convention(c) (UnsafeMutablePointer<Int>, UnsafeMutablePointer<Int>) -> Int32
    let memoryAllocate: @convention(c) (UnsafeMutablePointer<Address>, Int) -> Int32
    let memoryFree: @convention(c) (Address) -> Int32
    let hostAllocate: @convention(c) (UnsafeMutablePointer<Bytes?>, Int, UInt32) -> Int32
    let hostFree: @convention(c) (Bytes) -> Int32
    let copyToDevice: @convention(c) (Address, UnsafeRawPointer, Int, Handle?) -> Int32
    let copyToHost: @convention(c) (Bytes, Address, Int, Handle?) -> Int32
    let copyOnDevice: @convention(c) (Address, Address, Int, Handle?) -> Int32
    let fillBytes: @convention(c) (Address, UInt8, Int, Handle?) -> Int32
    let streamCreate: @convention(c) (UnsafeMutablePointer<Handle?>, UInt32) -> Int32
    let streamDestroy: @convention(c) (Handle) -> Int32
    let streamSynchronize: @convention(c) (Handle?) -> Int32
    let streamWaitEvent: @convention(c) (Handle?, Handle, UInt32) -> Int32
    let eventCreate: @convention(c) (UnsafeMutablePointer<Handle?>, UInt32) -> Int32
    let eventDestroy: @convention(c) (Handle) -> Int32
    let eventRecord: @convention(c) (Handle, Handle?) -> Int32
    let eventSynchronize: @convention(c) (Handle) -> Int32
    let eventQuery: @convention(c) (Handle) -> Int32
    let eventElapsedTime: @convention(c) (UnsafeMutablePointer<Float>, Handle, Handle) -> Int32
    let moduleLoadData: @convention(c) (UnsafeMutablePointer<Handle?>, UnsafeRawPointer) -> Int32
    let moduleUnload: @convention(c) (Handle) -> Int32
    let moduleGetFunction: @convention(c) (UnsafeMutablePointer<Handle?>, Handle, UnsafePointer<CChar>) -> Int32
    let launchKernel:
        @convention(c) (
            Handle, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, Handle?,
            UnsafeMutablePointer<UnsafeMutableRawPointer?>?, UnsafeMutablePointer<UnsafeMutableRawPointer?>?
        ) -> Int32

    /// Opens it and its functions; no card is touched yet.
    ///
    /// - Throws: `CUDAError`.
    init() throws(CUDAError) {
        library = try CUDALibrary(
            ["libcuda.so.1"],
            advice:
                "a machine with an NVIDIA card has it from the card's driver; use --device cpu, or install the driver")
        getErrorName = try library.function("cuGetErrorName")
        getErrorString = try library.function("cuGetErrorString")
        initialize = try library.function("cuInit")
        driverGetVersion = try library.function("cuDriverGetVersion")
        deviceGetCount = try library.function("cuDeviceGetCount")
        deviceGet = try library.function("cuDeviceGet")
        deviceGetName = try library.function("cuDeviceGetName")
        deviceGetBus = try library.function("cuDeviceGetPCIBusId")
        deviceGetAttribute = try library.function("cuDeviceGetAttribute")
        primaryContextRetain = try library.function("cuDevicePrimaryCtxRetain")
        primaryContextRelease = try library.function("cuDevicePrimaryCtxRelease_v2")
        contextSetCurrent = try library.function("cuCtxSetCurrent")
        memoryGetInfo = try library.function("cuMemGetInfo_v2")
        memoryAllocate = try library.function("cuMemAlloc_v2")
        memoryFree = try library.function("cuMemFree_v2")
        hostAllocate = try library.function("cuMemHostAlloc")
        hostFree = try library.function("cuMemFreeHost")
        copyToDevice = try library.function("cuMemcpyHtoDAsync_v2")
        copyToHost = try library.function("cuMemcpyDtoHAsync_v2")
        copyOnDevice = try library.function("cuMemcpyDtoDAsync_v2")
        fillBytes = try library.function("cuMemsetD8Async")
        streamCreate = try library.function("cuStreamCreate")
        streamDestroy = try library.function("cuStreamDestroy_v2")
        streamSynchronize = try library.function("cuStreamSynchronize")
        streamWaitEvent = try library.function("cuStreamWaitEvent")
        eventCreate = try library.function("cuEventCreate")
        eventDestroy = try library.function("cuEventDestroy_v2")
        eventRecord = try library.function("cuEventRecord")
        eventSynchronize = try library.function("cuEventSynchronize")
        eventQuery = try library.function("cuEventQuery")
        eventElapsedTime = try library.function("cuEventElapsedTime")
        moduleLoadData = try library.function("cuModuleLoadData")
        moduleUnload = try library.function("cuModuleUnload")
        moduleGetFunction = try library.function("cuModuleGetFunction")
        launchKernel = try library.function("cuLaunchKernel")
    }

    /// Turns what a call returned into an error that says its name.
    func check(_ code: Int32, _ function: @autoclosure () -> String) throws(CUDAError) {
        guard code != 0 else { return }
        var (name, text): (UnsafePointer<CChar>?, UnsafePointer<CChar>?)
        _ = getErrorName(code, &name)
        _ = getErrorString(code, &text)
        throw .call(
            function: function(), code: Int(code), name: name.map { String(cString: $0) } ?? "unknown",
            text: text.map { String(cString: $0) } ?? "no text")
    }
}
