import Glibc

/// A library of MPI's standard ABI (MPI 5.0), opened at run time: nothing of MPI is needed to build this program, nor to run it alone. Or
/// `Shim/dmsae_mpi.c`, compiled for a library of another ABI, which has the same functions with a prefix.
///
/// Looked for in DMSAE_MPI where it is set, then where the loader looks, then beside the program `mpiexec` on PATH, whose library it has to be.
package struct MPILibrary: @unchecked Sendable {
    /// As it was opened.
    package let path: String
    private let handle: UnsafeMutableRawPointer

    // Handles are as wide as pointers and nothing that can be followed.
    typealias Communicator = UInt
    typealias Datatype = UInt
    typealias Request = UInt

    // Constants of the ABI (mpi_abi.h).
    static let world: Communicator = 0x101
    static let byte: Datatype = 0x247
    static let errorsReturn: UInt = 0x143
    static let funneled: Int32 = 1024
    private static let shimPrefix = "dmsae_"
    private static let longestVersion = 8192
    private static let longestError = 512

    let initialize:
        @convention(c) (
            UnsafeMutablePointer<Int32>?, UnsafeMutableRawPointer?, Int32, UnsafeMutablePointer<Int32>
        ) -> Int32
    let finalize: @convention(c) () -> Int32
    let abort: @convention(c) (Communicator, Int32) -> Int32
    let rank: @convention(c) (Communicator, UnsafeMutablePointer<Int32>) -> Int32
    let size: @convention(c) (Communicator, UnsafeMutablePointer<Int32>) -> Int32
    let setErrorHandler: @convention(c) (Communicator, UInt) -> Int32
    let send:
        @convention(c) (
            UnsafeRawPointer?, Int32, Datatype, Int32, Int32, Communicator, UnsafeMutablePointer<Request>
        ) -> Int32
    let receive:
        @convention(c) (
            UnsafeMutableRawPointer?, Int32, Datatype, Int32, Int32, Communicator, UnsafeMutablePointer<Request>
        ) -> Int32
    /// Whether a request is done; the status is ignored.
    let test:
        @convention(c) (UnsafeMutablePointer<Request>, UnsafeMutablePointer<Int32>, UnsafeMutableRawPointer?) -> Int32
    private let errorText: @convention(c) (Int32, UnsafeMutablePointer<CChar>, UnsafeMutablePointer<Int32>) -> Int32
    private let libraryVersion: @convention(c) (UnsafeMutablePointer<CChar>, UnsafeMutablePointer<Int32>) -> Int32
    private let abiVersion: @convention(c) (UnsafeMutablePointer<Int32>, UnsafeMutablePointer<Int32>) -> Int32

    /// - Throws: `RankError.libraryMissing`, `.symbolMissing`.
    package init() throws(RankError) {
        let candidates = Self.candidates()
        for candidate in candidates {
            // Its own libraries find what it has loaded.
            guard let handle = dlopen(candidate, RTLD_NOW | RTLD_GLOBAL) else { continue }
            try self.init(candidate, handle)
            return
        }
        throw .libraryMissing(tried: candidates)
    }

    private init(_ path: String, _ handle: UnsafeMutableRawPointer) throws(RankError) {
        (self.path, self.handle) = (path, handle)
        let prefix = dlsym(handle, Self.shimPrefix + "MPI_Init_thread") == nil ? "" : Self.shimPrefix
        func function<Function>(_ name: String) throws(RankError) -> Function {
            let name = prefix + name
            guard let symbol = dlsym(handle, name) else { throw .symbolMissing(library: path, symbol: name) }
            return unsafeBitCast(symbol, to: Function.self)
        }
        // The one that a library of another ABI does not have comes first.
        abiVersion = try function("MPI_Abi_get_version")
        initialize = try function("MPI_Init_thread")
        finalize = try function("MPI_Finalize")
        abort = try function("MPI_Abort")
        rank = try function("MPI_Comm_rank")
        size = try function("MPI_Comm_size")
        setErrorHandler = try function("MPI_Comm_set_errhandler")
        send = try function("MPI_Isend")
        receive = try function("MPI_Irecv")
        test = try function("MPI_Test")
        errorText = try function("MPI_Error_string")
        libraryVersion = try function("MPI_Get_library_version")
    }

    /// What it says of itself, in a line; may be asked before it is initialised.
    package var version: String {
        var (major, minor, length): (Int32, Int32, Int32) = (0, 0, 0)
        _ = abiVersion(&major, &minor)
        var text = [CChar](repeating: 0, count: Self.longestVersion + 1)
        _ = libraryVersion(&text, &length)
        let words = text.prefix { $0 != 0 && $0 != 10 }.map {
            UInt8(bitPattern: $0) == 9 ? UInt8(32) : UInt8(bitPattern: $0)
        }
        let line = String(decoding: words, as: UTF8.self).split(separator: " ").joined(separator: " ")
        return major < 0 ? "\(line), by dmsae_mpi.c" : "\(line), ABI \(major).\(minor)"
    }

    /// - Throws: `RankError.call` with the library's words.
    func check(_ code: Int32, _ call: String) throws(RankError) {
        guard code != 0 else { return }
        var (text, length) = ([CChar](repeating: 0, count: Self.longestError + 1), Int32(0))
        _ = errorText(code, &text, &length)
        throw .call(
            call, reason: String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self))
    }

    private static func candidates() -> [String] {
        if let named = getenv("DMSAE_MPI").map({ String(cString: $0) }), !named.isEmpty { return [named] }
        let names = ["libmpi_abi.so.1", "libmpi_abi.so"]
        let path = getenv("PATH").map { String(cString: $0) } ?? ""
        let beside = path.split(separator: ":").filter { access("\($0)/mpiexec", X_OK) == 0 }
            .flatMap { folder in names.map { "\(folder)/../lib/\($0)" } }
        return names + beside
    }
}
