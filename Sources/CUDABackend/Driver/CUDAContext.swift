import Glibc
import LinearAlgebra

/// One card: its context, its streams, its kernels. For one thread at a time; every operation makes the context that thread's
/// own first, and what is launched runs in the order of its stream.
package final class CUDAContext {
    let driver: CUDADriver
    /// As the driver calls it: "NVIDIA H100 80GB HBM3".
    package let name: String
    /// Which of the machine's cards, counted from 0.
    package let index: Int
    /// Its compute capability, major and minor.
    let capability: (major: Int, minor: Int)
    /// "13.0": the newest CUDA that the driver knows.
    package let driverVersion: String
    let multiprocessors: Int
    /// Where it is in its machine: "0000:3b:00.0".
    let bus: String
    let compiler: KernelCompiler
    private let device: CUDADriver.Device
    private let handle: OpaquePointer
    /// Where computations run.
    let stream: OpaquePointer
    /// Where copies from and to the host run beside them.
    let copies: OpaquePointer
    private(set) lazy var kernels = KernelLibrary(self)
    /// Whether something is under way that never ends, which whatever is freed would wait for: nothing is, then, until the process ends.
    var isAbandoned = false
    private let slots: UnsafeMutablePointer<UInt64>
    private let arguments: UnsafeMutablePointer<UnsafeMutableRawPointer?>

    private static let mostArguments = 32

    /// Opens the card `index`.
    ///
    /// - Throws: `CUDAError`.
    package convenience init(index: Int) throws(CUDAError) { try self.init { _ in index } }

    /// Opens the card of the process `localRank` of this machine's: one for each as long as there are enough. A launcher that shows each
    /// process its own card alone is understood, too.
    ///
    /// - Throws: `CUDAError`.
    package convenience init(localRank: Int) throws(CUDAError) { try self.init { $0 > 0 ? localRank % $0 : 0 } }

    private init(choosing choose: (_ count: Int) -> Int) throws(CUDAError) {
        let driver = try CUDADriver()
        try driver.check(driver.initialize(0), "cuInit")
        var count: Int32 = 0
        try driver.check(driver.deviceGetCount(&count), "cuDeviceGetCount")
        let index = choose(Int(count))
        guard index >= 0, index < count else { throw .noSuchDevice(asked: index, count: Int(count)) }
        var (device, version): (CUDADriver.Device, Int32) = (0, 0)
        try driver.check(driver.deviceGet(&device, Int32(index)), "cuDeviceGet")
        try driver.check(driver.driverGetVersion(&version), "cuDriverGetVersion")
        func text(_ call: String, _ body: (inout [CChar]) -> Int32) throws(CUDAError) -> String {
            var letters = [CChar](repeating: 0, count: 256)
            try driver.check(body(&letters), call)
            return String(decoding: letters.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
        func attribute(_ number: Int32) throws(CUDAError) -> Int {
            var value: Int32 = 0
            try driver.check(driver.deviceGetAttribute(&value, number, device), "cuDeviceGetAttribute(\(number))")
            return Int(value)
        }
        self.driver = driver
        self.device = device
        self.index = index
        name = try text("cuDeviceGetName") { driver.deviceGetName(&$0, 255, device) }
        bus = try text("cuDeviceGetPCIBusId") { driver.deviceGetBus(&$0, 255, device) }
        driverVersion = "\(version / 1000).\(version % 1000 / 10)"
        // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR, _MULTIPROCESSOR_COUNT
        capability = (try attribute(75), try attribute(76))
        multiprocessors = try attribute(16)
        guard capability.major >= 8 else {
            throw .oldDevice(name: name, capability: "\(capability.major).\(capability.minor)")
        }
        compiler = try KernelCompiler()
        var made: OpaquePointer?
        try driver.check(driver.primaryContextRetain(&made, device), "cuDevicePrimaryCtxRetain")
        handle = made!
        try driver.check(driver.contextSetCurrent(handle), "cuCtxSetCurrent")
        func stream() throws(CUDAError) -> OpaquePointer {
            var made: OpaquePointer?
            // CU_STREAM_NON_BLOCKING: nothing waits for the default stream.
            try driver.check(driver.streamCreate(&made, 1), "cuStreamCreate")
            return made!
        }
        self.stream = try stream()
        copies = try stream()
        slots = .allocate(capacity: Self.mostArguments)
        arguments = .allocate(capacity: Self.mostArguments)
        for i in 0..<Self.mostArguments { arguments[i] = UnsafeMutableRawPointer(slots + i) }
    }

    deinit {
        guard !isAbandoned else { return }
        _ = driver.contextSetCurrent(handle)
        _ = driver.streamDestroy(stream)
        _ = driver.streamDestroy(copies)
        _ = driver.primaryContextRelease(device)
        slots.deallocate()
        arguments.deallocate()
    }

    /// Makes this card the one that the calling thread speaks to.
    func activate() throws(CUDAError) { try driver.check(driver.contextSetCurrent(handle), "cuCtxSetCurrent") }

    /// All that numbers computed here depend on, for records.
    func record(_ precision: ProductPrecision) -> [String: String] {
        [
            "device": name, "driver": driverVersion, "kernel compiler": compiler.version,
            "precision": precision.rawValue,
        ]
    }

    /// Bytes that are free, and all of them.
    package func memory() throws(CUDAError) -> (free: Int, total: Int) {
        try activate()
        var (free, total) = (0, 0)
        try driver.check(driver.memoryGetInfo(&free, &total), "cuMemGetInfo")
        return (free, total)
    }

    /// Refuses what the card has no room for.
    ///
    /// - Throws: `CUDAError.memory`.
    func require(_ need: MemoryNeed) throws(CUDAError) {
        let (free, total) = try memory()
        guard need.bytes <= free else { throw .memory(need, free: free, total: total, device: name) }
    }

    /// Waits for all that was launched.
    package func synchronize() throws(CUDAError) {
        try driver.check(driver.streamSynchronize(stream), "a computation on \(name)")
    }

    // MARK: Launches

    /// Set by benchmarks: how long each launch takes.
    package var times: LaunchTimes?

    /// Runs what launches work on `stream` under a name.
    func timed(_ name: String, _ body: () throws(CUDAError) -> Void) throws(CUDAError) {
        guard let times else { return try body() }
        try times.begin(name, on: self)
        try body()
        try times.end(on: self)
    }

    /// Runs a kernel on `stream`, the blocks of a grid of x by y with `threads` each.
    func launch(_ kernel: Kernel, _ x: Int, _ y: Int = 1, threads: Int, _ values: any KernelArgument...)
        throws(CUDAError)
    {
        guard x > 0, y > 0 else { return }
        precondition(values.count <= Self.mostArguments, "\(values.count) arguments of \(kernel.name)")
        for (i, value) in values.enumerated() {
            slots[i] = 0
            value.store(in: UnsafeMutableRawPointer(slots + i))
        }
        try timed(kernel.name) { () throws(CUDAError) in
            try driver.check(
                driver.launchKernel(
                    kernel.function, UInt32(x), UInt32(y), 1, UInt32(threads), 1, 1, 0, stream, arguments, nil),
                "launch of \(kernel.name)")
        }
    }
}

/// What a kernel takes.
protocol KernelArgument {
    /// Writes its bytes.
    func store(in slot: UnsafeMutableRawPointer)
}

extension Int32: KernelArgument {
    func store(in slot: UnsafeMutableRawPointer) { slot.storeBytes(of: self, as: Int32.self) }
}
extension UInt32: KernelArgument {
    func store(in slot: UnsafeMutableRawPointer) { slot.storeBytes(of: self, as: UInt32.self) }
}
extension UInt64: KernelArgument {
    func store(in slot: UnsafeMutableRawPointer) { slot.storeBytes(of: self, as: UInt64.self) }
}
extension Float: KernelArgument {
    func store(in slot: UnsafeMutableRawPointer) { slot.storeBytes(of: self, as: Float.self) }
}
extension Double: KernelArgument {
    func store(in slot: UnsafeMutableRawPointer) { slot.storeBytes(of: self, as: Double.self) }
}
/// `int` in a kernel.
extension Int: KernelArgument {
    func store(in slot: UnsafeMutableRawPointer) { slot.storeBytes(of: Int32(self), as: Int32.self) }
}
/// `int` in a kernel, 0 or 1.
extension Bool: KernelArgument {
    func store(in slot: UnsafeMutableRawPointer) { slot.storeBytes(of: self ? 1 : 0, as: Int32.self) }
}
extension DeviceSlice: KernelArgument {
    func store(in slot: UnsafeMutableRawPointer) { slot.storeBytes(of: address, as: UInt64.self) }
}
extension DeviceArray: KernelArgument {
    func store(in slot: UnsafeMutableRawPointer) { slot.storeBytes(of: address, as: UInt64.self) }
}

/// No pointer where a kernel may do without.
struct NullPointer: KernelArgument {
    func store(in slot: UnsafeMutableRawPointer) { slot.storeBytes(of: 0, as: UInt64.self) }
}
