/// cuBLASLt: products of matrices of single precision, or of bfloat16 into single precision.
///
/// The library thinks in columns: a row-major matrix [r, c] is its [c, r]. `multiply` takes rows and turns them around.
final class MatrixProducts {
    private typealias Handle = OpaquePointer

    let library: CUDALibrary
    /// "13.0.0"
    let version: String
    private let precision: ProductPrecision
    private unowned let context: CUDAContext
    private let handle: Handle
    private let workspace: DeviceArray<UInt8>
    private let destroy: @convention(c) (Handle) -> Int32
    private let statusString: @convention(c) (Int32) -> UnsafePointer<CChar>?
    private let descriptionCreate: @convention(c) (UnsafeMutablePointer<Handle?>, Int32, Int32) -> Int32
    private let descriptionDestroy: @convention(c) (Handle) -> Int32
    private let descriptionSet: @convention(c) (Handle, Int32, UnsafeRawPointer, Int) -> Int32
    private let layoutCreate: @convention(c) (UnsafeMutablePointer<Handle?>, Int32, UInt64, UInt64, Int64) -> Int32
    private let layoutDestroy: @convention(c) (Handle) -> Int32
    private let layoutSet: @convention(c) (Handle, Int32, UnsafeRawPointer, Int) -> Int32
    private let preferenceCreate: @convention(c) (UnsafeMutablePointer<Handle?>) -> Int32
    private let preferenceDestroy: @convention(c) (Handle) -> Int32
    private let preferenceSet: @convention(c) (Handle, Int32, UnsafeRawPointer, Int) -> Int32
    private let chooseAlgorithm:
        @convention(c) (
            Handle, Handle, Handle, Handle, Handle, Handle, Handle, Int32, UnsafeMutableRawPointer,
            UnsafeMutablePointer<Int32>
        ) -> Int32
    private let matmul:
        @convention(c) (
            Handle, Handle, UnsafeRawPointer, UInt64, Handle, UInt64, Handle, UnsafeRawPointer, UInt64, Handle, UInt64,
            Handle, UnsafeRawPointer?, UInt64, Int, OpaquePointer?
        ) -> Int32
    /// What was prepared, by shape.
    private var prepared: [Shape: Prepared] = [:]

    /// cublasLtMatmulHeuristicResult_t
    struct Heuristic {
        var algorithm: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0, 0, 0, 0)
        var workspaceSize = 0
        var state: Int32 = 0
        var wavesCount: Float = 0
        var reserved: (Int32, Int32, Int32, Int32) = (0, 0, 0, 0)
    }

    private struct Shape: Hashable {
        let (m, n, k): (Int, Int, Int)
        let (transposesA, transposesB): (Bool, Bool)
        let (strideA, strideB, strideC): (Int, Int, Int)
        let batches: Int
        let (batchStrideA, batchStrideB, batchStrideC): (Int, Int, Int)
        let factors: FactorFormat
        /// Bytes that divide every address: an algorithm may read several numbers at a time.
        let alignment: UInt32
    }

    private struct Prepared {
        let (description, a, b, c): (Handle, Handle, Handle, Handle)
        let heuristic: Heuristic
    }

    /// - Throws: `CUDAError`.
    init(_ context: CUDAContext, precision: ProductPrecision) throws(CUDAError) {
        library = try CUDALibrary(
            ["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"],
            advice: "it comes with the CUDA toolkit, with PyTorch, or by pip install nvidia-cublas")
        self.precision = precision
        self.context = context
        let create: @convention(c) (UnsafeMutablePointer<Handle?>) -> Int32 = try library.function("cublasLtCreate")
        let getVersion: @convention(c) () -> Int = try library.function("cublasLtGetVersion")
        destroy = try library.function("cublasLtDestroy")
        statusString = try library.function("cublasLtGetStatusString")
        descriptionCreate = try library.function("cublasLtMatmulDescCreate")
        descriptionDestroy = try library.function("cublasLtMatmulDescDestroy")
        descriptionSet = try library.function("cublasLtMatmulDescSetAttribute")
        layoutCreate = try library.function("cublasLtMatrixLayoutCreate")
        layoutDestroy = try library.function("cublasLtMatrixLayoutDestroy")
        layoutSet = try library.function("cublasLtMatrixLayoutSetAttribute")
        preferenceCreate = try library.function("cublasLtMatmulPreferenceCreate")
        preferenceDestroy = try library.function("cublasLtMatmulPreferenceDestroy")
        preferenceSet = try library.function("cublasLtMatmulPreferenceSetAttribute")
        chooseAlgorithm = try library.function("cublasLtMatmulAlgoGetHeuristic")
        matmul = try library.function("cublasLtMatmul")
        let number = getVersion()
        version = "\(number / 10_000).\(number / 100 % 100).\(number % 100)"
        var made: Handle?
        let code = create(&made)
        guard code == 0, let made else {
            throw .call(
                function: "cublasLtCreate", code: Int(code), name: "cuBLASLt",
                text: statusString(code).map { String(cString: $0) } ?? "no handle")
        }
        handle = made
        workspace = try DeviceArray(Self.workspaceBytes, on: context)
    }

    deinit {
        for made in prepared.values {
            _ = descriptionDestroy(made.description)
            for layout in [made.a, made.b, made.c] { _ = layoutDestroy(layout) }
        }
        _ = destroy(handle)
    }

    /// What NVIDIA recommends for Hopper.
    static let workspaceBytes = 32 << 20

    /// C = factor·A B + kept·C of row-major matrices: C [m, n], A [m, k], B [k, n], or the transposes of what lies in memory;
    /// of `batches` such, as far apart as the slices say. Both factors have one form.
    ///
    /// - Throws: `CUDAError.call`.
    func multiply(
        _ a: DeviceSlice, _ b: DeviceSlice, into c: DeviceSlice, m: Int, n: Int, k: Int, batches: Int = 1,
        factor: Float = 1, keeping kept: Float = 0, on stream: OpaquePointer
    ) throws(CUDAError) {
        precondition(a.format == b.format && c.format == .single, "factors of two forms")
        // Cᵀ = op(B)ᵀ op(A)ᵀ: the library's first factor is B, and what it sees of each is the transpose.
        let shape = Shape(
            m: n, n: m, k: k, transposesA: b.isTransposed, transposesB: a.isTransposed, strideA: b.stride,
            strideB: a.stride, strideC: c.stride, batches: batches, batchStrideA: b.batchStride,
            batchStrideB: a.batchStride, batchStrideC: c.batchStride, factors: a.format,
            alignment: Self.alignment(
                a.address | b.address | c.address
                    | UInt64(a.format.size * (a.batchStride | b.batchStride) | 4 * c.batchStride)))
        let plan = try prepare(shape)
        try context.timed("product") { () throws(CUDAError) in
            try launch(plan, a, b, c, factor: factor, keeping: kept, on: stream, "\(m) × \(k) and \(k) × \(n)")
        }
    }

    private func launch(
        _ plan: Prepared, _ a: DeviceSlice, _ b: DeviceSlice, _ c: DeviceSlice, factor: Float, keeping kept: Float,
        on stream: OpaquePointer, _ sizes: @autoclosure () -> String
    ) throws(CUDAError) {
        var (alpha, beta) = (factor, kept)
        let code = withUnsafePointer(to: plan.heuristic.algorithm) { algorithm in
            matmul(
                handle, plan.description, &alpha, b.address, plan.a, a.address, plan.b, &beta, c.address, plan.c,
                c.address, plan.c, algorithm, workspace.address, Self.workspaceBytes, stream)
        }
        try check(code, "cublasLtMatmul of \(sizes())")
    }

    /// 256, which the library takes for granted, or less.
    private static func alignment(_ addresses: UInt64) -> UInt32 {
        1 << UInt32(min(8, addresses.trailingZeroBitCount))
    }

    private func prepare(_ shape: Shape) throws(CUDAError) -> Prepared {
        if let made = prepared[shape] { return made }
        let real = FactorFormat.single.type
        var description: Handle?
        try check(
            descriptionCreate(&description, precision.computeType(of: shape.factors), real), "cublasLtMatmulDescCreate")
        var (first, second): (Int32, Int32) = (shape.transposesA ? 1 : 0, shape.transposesB ? 1 : 0)
        try check(descriptionSet(description!, 3, &first, 4), "CUBLASLT_MATMUL_DESC_TRANSA")
        try check(descriptionSet(description!, 4, &second, 4), "CUBLASLT_MATMUL_DESC_TRANSB")
        func layout(
            _ rows: Int, _ columns: Int, _ stride: Int, _ batchStride: Int, _ type: Int32
        ) throws(CUDAError) -> Handle {
            var made: Handle?
            try check(
                layoutCreate(&made, type, UInt64(rows), UInt64(columns), Int64(stride)), "cublasLtMatrixLayoutCreate")
            guard shape.batches > 1 else { return made! }
            var (count, distance) = (Int32(shape.batches), Int64(batchStride))
            try check(layoutSet(made!, 5, &count, 4), "CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT")
            try check(layoutSet(made!, 6, &distance, 8), "CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET")
            return made!
        }
        let factors = shape.factors.type
        let a =
            try shape.transposesA
            ? layout(shape.k, shape.m, shape.strideA, shape.batchStrideA, factors)
            : layout(shape.m, shape.k, shape.strideA, shape.batchStrideA, factors)
        let b =
            try shape.transposesB
            ? layout(shape.n, shape.k, shape.strideB, shape.batchStrideB, factors)
            : layout(shape.k, shape.n, shape.strideB, shape.batchStrideB, factors)
        let c = try layout(shape.m, shape.n, shape.strideC, shape.batchStrideC, real)
        var preference: Handle?
        try check(preferenceCreate(&preference), "cublasLtMatmulPreferenceCreate")
        defer { _ = preferenceDestroy(preference!) }
        var bytes = Self.workspaceBytes
        try check(preferenceSet(preference!, 1, &bytes, 8), "CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES")
        // CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES and those of B, C and D
        var alignment = shape.alignment
        for attribute in Int32(5)...8 where alignment < 256 {
            try check(preferenceSet(preference!, attribute, &alignment, 4), "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT")
        }
        var (heuristic, found) = (Heuristic(), Int32(0))
        try check(
            chooseAlgorithm(handle, description!, a, b, c, c, preference!, 1, &heuristic, &found),
            "cublasLtMatmulAlgoGetHeuristic")
        guard found > 0 else {
            throw .call(
                function: "cublasLtMatmulAlgoGetHeuristic", code: 0, name: "cuBLASLt",
                text: "no way to multiply \(shape.n) × \(shape.k) and \(shape.k) × \(shape.m)")
        }
        let made = Prepared(description: description!, a: a, b: b, c: c, heuristic: heuristic)
        prepared[shape] = made
        return made
    }

    private func check(_ code: Int32, _ function: @autoclosure () -> String) throws(CUDAError) {
        guard code != 0 else { return }
        throw .call(
            function: function(), code: Int(code), name: "cuBLASLt",
            text: statusString(code).map { String(cString: $0) } ?? "no text")
    }
}
