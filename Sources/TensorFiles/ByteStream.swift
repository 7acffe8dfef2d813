import Glibc

/// A file's bytes from the first to the last, unpacked as they are read where the name says how they are packed (.gz, .zst): memory
/// does not grow with the file, packed or not.
public final class ByteStream {
    /// As given by the caller; for messages.
    public let path: String
    private let descriptor: Int32
    private let unpacking: (any Unpacking)?
    private var input: [UInt8] = []
    private var (start, ended) = (0, false)
    private var (packedCount, unpackedCount) = (0, 0)
    private let allowance: Int

    private static let chunk = 1 << 18

    /// Opens a file.
    ///
    /// - Throws: `TensorFileError.unreadable`.
    public convenience init(path: String) throws { try self.init(path: path, allowance: 1 << 30) }

    /// The same, with so many unpacked bytes before their number is compared with that of the packed ones.
    package init(path: String, allowance: Int) throws {
        self.path = path
        self.allowance = allowance
        descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw TensorFileError.unreadable(file: path, reason: String(cString: strerror(errno)))
        }
        switch Packing(of: path) {
        case .gzip?: unpacking = Gunzip()
        case .zstandard?: unpacking = Unzstandard()
        case nil: unpacking = nil
        }
    }

    deinit { close(descriptor) }

    /// Reads at least one byte into `target`, which has room for one, and returns how many; 0 at the end.
    ///
    /// - Throws: `TensorFileError.unreadable`, and `.malformed` for packed bytes that are cut short, damaged, or unpack to absurdly much.
    public func read(into target: UnsafeMutableRawBufferPointer) throws -> Int {
        guard let unpacking else { return try readFile(into: target) }
        while true {
            if start == input.count, !ended { try fill() }
            let taken: Int
            let given: Int
            do {
                (taken, given) = try input.withUnsafeBytes {
                    try unpacking.unpack(UnsafeRawBufferPointer(rebasing: $0[start...]), into: target)
                }
            } catch let error as UnpackingError { throw damaged("it cannot be unpacked: \(error.reason)", unpacking) }
            start += taken
            unpackedCount += given
            guard unpackedCount <= allowance || unpackedCount - allowance <= Self.mostRatio * packedCount else {
                throw TensorFileError.malformed(
                    file: path, what: "it unpacks to more than \(Self.mostRatio) times its size, as no text does",
                    next: "if it is right, unpack it by hand and give what comes of it")
            }
            if given > 0 { return given }
            if start == input.count, ended {
                guard unpacking.isAtEnd else { throw damaged("it is cut short", unpacking) }
                return 0
            }
            if taken == 0, start < input.count { throw damaged("it cannot be unpacked", unpacking) }
        }
    }

    /// Beyond this, and beyond a gibibyte, somebody wants to see a program go on for ever. Text packs to a third or a tenth.
    private static let mostRatio = 500

    private func fill() throws {
        input = [UInt8](repeating: 0, count: Self.chunk)
        let count = try input.withUnsafeMutableBytes { try readFile(into: $0) }
        input.removeLast(Self.chunk - count)
        (start, ended) = (0, count == 0)
        packedCount += count
    }

    private func readFile(into target: UnsafeMutableRawBufferPointer) throws -> Int {
        while true {
            let count = Glibc.read(descriptor, target.baseAddress, target.count)
            if count >= 0 { return count }
            guard errno == EINTR else {
                throw TensorFileError.unreadable(file: path, reason: String(cString: strerror(errno)))
            }
        }
    }

    private func damaged(_ what: String, _ unpacking: any Unpacking) -> TensorFileError {
        .malformed(file: path, what: what, next: "check it with \(unpacking.checkedBy), and fetch it again")
    }
}

/// How a file is packed, by its name.
public enum Packing: String, Sendable, CaseIterable {
    case gzip = ".gz"
    case zstandard = ".zst"

    /// nil for a name that says nothing of it.
    public init?(of name: String) {
        guard let found = Self.allCases.first(where: { name.hasSuffix($0.rawValue) }) else { return nil }
        self = found
    }

    /// A name without what says how the file is packed.
    public static func unpackedName(_ name: String) -> String {
        String(name.dropLast(Packing(of: name)?.rawValue.count ?? 0))
    }
}
