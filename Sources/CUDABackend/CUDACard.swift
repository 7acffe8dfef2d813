import LinearAlgebra

/// What there is of a card and of the libraries that computing on it takes, for people.
package struct CUDACard {
    /// "NVIDIA H100 80GB HBM3, compute capability 9.0, 79 GiB of 80 GiB free, driver for CUDA 13.0"
    package let description: String
    /// "NVRTC 13.0 (libnvrtc.so.13), cuBLASLt 13.0.2 (libcublasLt.so.13)", and NCCL if it is there.
    package let libraries: String

    /// Opens the card and all libraries.
    ///
    /// - Throws: `CUDAError`.
    package init(index: Int) throws(CUDAError) {
        let context = try CUDAContext(index: index)
        let products = try MatrixProducts(context, precision: .fp32)
        let (free, total) = try context.memory()
        description =
            "\(context.name), compute capability \(context.capability.major).\(context.capability.minor), "
            + "\(memoryText(free)) of \(memoryText(total)) free, driver for CUDA \(context.driverVersion)"
        libraries =
            "NVRTC \(context.compiler.version) (\(context.compiler.library.path)), cuBLASLt \(products.version) "
            + "(\(products.library.path))"
            + (try NCCLLibrary.ifThere().map { ", NCCL \($0.version) (\($0.library.path))" } ?? "")
    }
}
