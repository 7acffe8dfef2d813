import Glibc

/// NVIDIA's library by which cards of several processes send each other numbers (NCCL 2.23 or later), opened at run time.
///
/// Looked for in DMSAE_NCCL where it is set, a file or a folder, or `none`; or else in DMSAE_CUDA_PATH and wherever CUDA's libraries may be.
struct NCCLLibrary: Sendable {
    typealias Communicator = OpaquePointer

    let library: CUDALibrary
    /// "2.27.3"
    let version: String
    private let getErrorString: @convention(c) (Int32) -> UnsafePointer<CChar>?
    private let getUniqueId: @convention(c) (UnsafeMutableRawPointer) -> Int32
    // Unlike ncclCommInitRank it takes the id by address.
    private let initRank:
        @convention(c) (
            UnsafeMutablePointer<Communicator?>, Int32, Int32, Int32, UnsafeMutableRawPointer, UnsafeMutableRawPointer?
        ) -> Int32
    let destroy: @convention(c) (Communicator) -> Int32
    let groupStart: @convention(c) () -> Int32
    let groupEnd: @convention(c) () -> Int32
    let send: @convention(c) (CUDADriver.Address, Int, Int32, Int32, Communicator, OpaquePointer) -> Int32
    let receive: @convention(c) (CUDADriver.Address, Int, Int32, Int32, Communicator, OpaquePointer) -> Int32

    /// ncclFloat32
    static let float: Int32 = 7
    /// NCCL_UNIQUE_ID_BYTES
    static let idBytes = 128

    /// The one there is, nil for none.
    ///
    /// - Throws: as `init`, where DMSAE_NCCL names one: whoever did so is not to get another way of adding in silence.
    static func ifThere() throws(CUDAError) -> NCCLLibrary? {
        let named = getenv("DMSAE_NCCL").map { String(cString: $0) } ?? ""
        if named.isEmpty { return try? NCCLLibrary() }
        return named == "none" ? nil : try NCCLLibrary()
    }

    /// - Throws: `CUDAError.libraryMissing`, `.symbolMissing`.
    private init() throws(CUDAError) {
        library = try CUDALibrary(
            ["libnccl.so.2"], variable: "DMSAE_NCCL",
            advice: "pip install nvidia-nccl-cu13 and name its file in DMSAE_NCCL, or say none there")
        let getVersion: @convention(c) (UnsafeMutablePointer<Int32>) -> Int32 = try library.function("ncclGetVersion")
        getErrorString = try library.function("ncclGetErrorString")
        getUniqueId = try library.function("ncclGetUniqueId")
        initRank = try library.function("ncclCommInitRankScalable")
        destroy = try library.function("ncclCommDestroy")
        groupStart = try library.function("ncclGroupStart")
        groupEnd = try library.function("ncclGroupEnd")
        send = try library.function("ncclSend")
        receive = try library.function("ncclRecv")
        var number: Int32 = 0
        _ = getVersion(&number)
        version = "\(number / 10000).\(number % 10000 / 100).\(number % 100)"
    }

    /// Turns what a call returned into an error that says its name.
    func check(_ code: Int32, _ function: String) throws(CUDAError) {
        guard code != 0 else { return }
        throw .exchange(
            function: function, code: Int(code), version: version,
            text: getErrorString(code).map { String(cString: $0) } ?? "no text")
    }

    /// What the processes of a job have to know to find each other.
    func makeId() throws(CUDAError) -> [UInt8] {
        var id = [UInt8](repeating: 0, count: Self.idBytes)
        try check(id.withUnsafeMutableBytes { getUniqueId($0.baseAddress!) }, "ncclGetUniqueId")
        return id
    }

    /// Meets the other processes that have the id, all at once, each with the card that is current on its thread.
    func join(_ id: [UInt8], rank: Int, of count: Int) throws(CUDAError) -> Communicator {
        var (id, made) = (id, Communicator?.none)
        try check(
            id.withUnsafeMutableBytes {
                initRank(&made, Int32(count), Int32(rank), 1, $0.baseAddress!, nil)
            }, "ncclCommInitRankScalable")
        return made!
    }
}
