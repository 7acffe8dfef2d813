import COpenBLAS
import Glibc
import Kernels

/// OpenBLAS, held at one thread and called from the lanes: two pools would fight for the same processors.
public enum BLAS {
    /// The kernels OpenBLAS uses, for run records ("Haswell", "SkylakeX"). Ends the program where there is no OpenBLAS.
    public static var core: String { loaded.core }

    /// Loads it, and takes the memory that products need for every lane: OpenBLAS 0.3.21 asks for it at the first
    /// product and, refused, asks again for ever.
    ///
    /// Without this call the first product does the same, and ends the program where it cannot.
    /// - Throws: `ResourceError`.
    public static func prepare() throws(ResourceError) { _ = try state.get() }

    static var loaded: Loaded {
        switch state {
        case .success(let loaded): loaded
        case .failure(let error): error.endProgram()
        }
    }

    struct Loaded: @unchecked Sendable {
        let table: dmsae_blas
        let core: String
    }

    /// What one lane takes of the address space, with room for the pages around it: `BUFFER_SIZE` is 128 MiB on x86-64.
    static let bytesPerLane = 132 << 20

    private static let state: Result<Loaded, ResourceError> = Result { () throws(ResourceError) in try load() }

    private static func load() throws(ResourceError) -> Loaded {
        // Before the first product, and while nothing else was promised memory.
        let lanes = try Lanes.requestedCount()
        var table = dmsae_blas()
        if let reason = dmsae_blas_load(&table) { throw .noBLAS(reason: String(cString: reason)) }
        table.set_num_threads!(1)
        switch ProcessorLevel.available {
        case .baseline: break
        case .v3: _ = dmsae_blas_choose_core(&table, "Haswell")
        case .v4: _ = dmsae_blas_choose_core(&table, "SkylakeX")
        }
        table.set_num_threads!(1)
        try requireAddressSpace(lanes: lanes)
        takeBuffers(table, count: lanes)
        return Loaded(table: table, core: String(cString: table.get_corename!()!))
    }

    /// Tries whether so much can be had, and gives it back.
    private static func requireAddressSpace(lanes: Int) throws(ResourceError) {
        let taken = (0..<lanes).map { _ in
            mmap(nil, bytesPerLane, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ?? MAP_FAILED
        }
        let refused = taken.contains(MAP_FAILED)
        for start in taken where start != MAP_FAILED { munmap(start, bytesPerLane) }
        guard refused else { return }
        // Said here; for who is asked why a later crash happened it would be a wrong track.
        errno = 0
        var need = MemoryNeed(
            "matrix products on \(lanes) lane\(lanes == 1 ? "" : "s") need",
            advice: lanes == 1 ? "raise the limit" : "set DMSAE_LANES=1, or raise the limit")
        need.add("address space of OpenBLAS", lanes, bytesPerLane)
        throw .memory(need, limit: .current)
    }

    /// The library keeps what it was once given, for whichever thread comes next.
    private static func takeBuffers(_ table: dmsae_blas, count: Int) {
        guard let allocate = table.memory_alloc, let free = table.memory_free else { return }
        let buffers = (0..<count).map { _ in allocate(0) }
        for buffer in buffers { free(buffer) }
    }
}
