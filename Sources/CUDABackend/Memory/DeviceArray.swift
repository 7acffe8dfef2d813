import Glibc
import LinearAlgebra

/// Elements in a card's memory. What they hold at first is not defined.
final class DeviceArray<Element> {
    let address: CUDADriver.Address
    let count: Int
    let context: CUDAContext

    /// - Throws: `CUDAError.call` where the card has no such room; a training asks by formula first.
    init(_ count: Int, on context: CUDAContext) throws(CUDAError) {
        try context.activate()
        var made: CUDADriver.Address = 0
        let bytes = max(count, 1) * MemoryLayout<Element>.stride
        try context.driver.check(context.driver.memoryAllocate(&made, bytes), "cuMemAlloc of \(memoryText(bytes))")
        (address, self.count, self.context) = (made, count, context)
    }

    deinit {
        guard !context.isAbandoned else { return }
        try? context.activate()
        _ = context.driver.memoryFree(address)
    }

    private func bytes(_ count: Int) -> Int { count * MemoryLayout<Element>.stride }

    /// Sets every byte of the first `count` elements to 0, on the card's stream.
    func clear(_ count: Int? = nil) throws(CUDAError) {
        try context.driver.check(
            context.driver.fillBytes(address, 0, bytes(count ?? self.count), context.stream), "cuMemsetD8Async")
    }

    /// Copies from the host, whose memory has to stay until the stream has come so far.
    func upload(
        _ source: UnsafePointer<Element>, _ count: Int, at first: Int = 0, on stream: OpaquePointer? = nil
    ) throws(CUDAError) {
        precondition(first >= 0 && count >= 0 && first + count <= self.count, "\(first) + \(count) of \(self.count)")
        try context.driver.check(
            context.driver.copyToDevice(
                address + UInt64(bytes(first)), source, bytes(count), stream ?? context.stream), "cuMemcpyHtoDAsync")
    }

    /// Copies to the host; there once the stream has come so far.
    func download(
        _ target: UnsafeMutablePointer<Element>, _ count: Int, from first: Int = 0, on stream: OpaquePointer? = nil
    ) throws(CUDAError) {
        precondition(first >= 0 && count >= 0 && first + count <= self.count, "\(first) + \(count) of \(self.count)")
        try context.driver.check(
            context.driver.copyToHost(target, address + UInt64(bytes(first)), bytes(count), stream ?? context.stream),
            "cuMemcpyDtoHAsync")
    }

    /// Copies from another array of the card.
    func copy(_ source: DeviceArray, _ count: Int, from: Int = 0, at first: Int = 0) throws(CUDAError) {
        precondition(
            min(first, from, count) >= 0 && first + count <= self.count && from + count <= source.count,
            "\(from) + \(count) of \(source.count) to \(first) of \(self.count)")
        try context.driver.check(
            context.driver.copyOnDevice(
                address + UInt64(bytes(first)), source.address + UInt64(bytes(from)), bytes(count), context.stream),
            "cuMemcpyDtoDAsync")
    }

    /// Copies elements and waits for them, for tests and where a number decides what comes next.
    func values(_ count: Int? = nil, from first: Int = 0) throws(CUDAError) -> [Element]
    where Element: BitwiseCopyable {
        let count = count ?? self.count
        let memory = UnsafeMutablePointer<Element>.allocate(capacity: max(count, 1))
        defer { memory.deallocate() }
        try download(memory, count, from: first)
        try context.synchronize()
        return Array(UnsafeBufferPointer(start: memory, count: count))
    }
}

/// Where a matrix begins in a card's memory, and numbers between its rows.
struct DeviceSlice {
    let address: CUDADriver.Address
    let stride: Int
    /// What its numbers are.
    var format = FactorFormat.single
    /// Whether its transpose is meant.
    var isTransposed = false
    /// Numbers from one matrix to the next where there are several.
    var batchStride = 0

    /// The same to be read as its transpose.
    var transposed: DeviceSlice {
        var slice = self
        slice.isTransposed.toggle()
        return slice
    }

    /// The address of element i, for kernels.
    init<Element>(of array: DeviceArray<Element>, at i: Int) {
        address = array.address + UInt64(i * MemoryLayout<Element>.stride)
        stride = 0
    }

    init(_ array: DeviceArray<Float>, at first: Int = 0, stride: Int, batchStride: Int = 0) {
        address = array.address + UInt64(4 * first)
        self.stride = stride
        self.batchStride = batchStride
    }

    /// Of bfloat16.
    init(_ array: DeviceArray<UInt16>, at first: Int = 0, stride: Int) {
        address = array.address + UInt64(2 * first)
        self.stride = stride
        format = .bfloat16
    }
}

/// Memory of the host that the card reads and writes by itself: a copy from or to it returns at once.
final class PinnedArray<Element: BitwiseCopyable> {
    let elements: UnsafeMutablePointer<Element>
    let count: Int
    private let context: CUDAContext

    /// - Throws: `CUDAError.call`.
    init(_ count: Int, on context: CUDAContext) throws(CUDAError) {
        try context.activate()
        var made: UnsafeMutableRawPointer?
        let bytes = max(count, 1) * MemoryLayout<Element>.stride
        try context.driver.check(
            context.driver.hostAllocate(&made, bytes, 0), "cuMemHostAlloc of \(memoryText(bytes))")
        elements = made!.bindMemory(to: Element.self, capacity: max(count, 1))
        (self.count, self.context) = (count, context)
    }

    deinit {
        guard !context.isAbandoned else { return }
        try? context.activate()
        _ = context.driver.hostFree(elements)
    }
}

/// A point in a stream that another stream, or the host, can wait for.
final class DeviceEvent {
    let handle: OpaquePointer
    private let context: CUDAContext

    init(on context: CUDAContext, isTimed: Bool = false) throws(CUDAError) {
        try context.activate()
        var made: OpaquePointer?
        // CU_EVENT_DISABLE_TIMING
        try context.driver.check(context.driver.eventCreate(&made, isTimed ? 0 : 2), "cuEventCreate")
        (handle, self.context) = (made!, context)
    }

    deinit {
        guard !context.isAbandoned else { return }
        try? context.activate()
        _ = context.driver.eventDestroy(handle)
    }

    func record(on stream: OpaquePointer) throws(CUDAError) {
        try context.driver.check(context.driver.eventRecord(handle, stream), "cuEventRecord")
    }

    func wait(in stream: OpaquePointer) throws(CUDAError) {
        try context.driver.check(context.driver.streamWaitEvent(stream, handle, 0), "cuStreamWaitEvent")
    }

    func synchronize() throws(CUDAError) {
        try context.driver.check(context.driver.eventSynchronize(handle), "a computation on \(context.name)")
    }

    /// Whether it has passed within so many seconds.
    func wait(seconds: Int) throws(CUDAError) -> Bool {
        let start = monotonicSeconds()
        while true {
            // CUDA_ERROR_NOT_READY
            let code = context.driver.eventQuery(handle)
            if code != 600 {
                try context.driver.check(code, "a computation on \(context.name)")
                return true
            }
            if monotonicSeconds() - start > Double(seconds) { return false }
            usleep(20)
        }
    }

    /// Between two that have passed and were made to be timed.
    func seconds(until end: DeviceEvent) throws(CUDAError) -> Double {
        var milliseconds: Float = 0
        try context.driver.check(
            context.driver.eventElapsedTime(&milliseconds, handle, end.handle), "cuEventElapsedTime")
        return Double(milliseconds) / 1000
    }
}
