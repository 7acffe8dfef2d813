/// Rows that a product with a weight reads next: as they are, or rounded to bfloat16 by the kernel that makes them, in which case the
/// plain ones are not written.
struct FactorTarget {
    let plain: DeviceSlice
    let rounded: DeviceSlice?

    init(_ plain: DeviceSlice, rounded: DeviceSlice? = nil) { (self.plain, self.rounded) = (plain, rounded) }

    /// What kernels take.
    var pointer: any KernelArgument { rounded.map { $0 as any KernelArgument } ?? NullPointer() }
    var stride: Int { rounded?.stride ?? 0 }
}
