import Attribution
import CDMSAE
import CLibFFI
import Glibc
import LinearAlgebra
import TOMLKit

/// What a plain function is called with: the TOML file beside its shared object.
///
///     version = 1
///     symbol = "score"
///     args = ["entries:i64", "activations:f32*", "scores:f32*"]
///     returns = "i32"
///
/// An argument is NAME:TYPE. Scalars are passed by value (`i64`, `i32`) or, as Fortran has them, by reference (`i64*`, `i32*`);
/// arrays have one type each. `returns` is "void" or "i32", where anything but 0 is an error.
struct KernelSignature: Decodable, Equatable {
    var version: Int
    var symbol: String
    var args: [String]
    var returns: String

    /// N, m, d, the number of entries and S; an array's element type.
    static let scalars: Set<String> = ["tokens", "latents", "dimension", "entries", "sequences"]
    static let arrays: [String: String] = [
        "row_offsets": "i64*", "columns": "i32*", "activations": "f32*", "decoder": "f32*", "decoder_bias": "f32*",
        "gradient": "f32*", "residual": "f32*", "reconstruction": "f32*", "loss": "f32*", "token_ids": "i32*",
        "sequence_offsets": "i64*", "scored": "u8*", "scores": "f32*",
    ]

    /// The TOML file of a shared object, whether it is there or not.
    static func path(of library: String) -> String {
        (library.hasSuffix(".so") ? String(library.dropLast(3)) : library) + ".toml"
    }

    /// The signature of the function in `library`, nil if there is no TOML file beside it.
    /// - Throws: `PluginError.badKernel`.
    static func read(of library: String) throws -> KernelSignature? {
        let path = path(of: library)
        guard access(path, F_OK) == 0 else { return nil }
        func bad(_ reason: String) -> PluginError { .badKernel(path: path, reason: reason) }
        guard let file = fopen(path, "re") else { throw bad(String(cString: strerror(errno))) }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 64 * 1024 + 1)
        let got = fread(&bytes, 1, bytes.count, file)
        guard got < bytes.count else { throw bad("it is longer than 64 KiB") }
        let signature: KernelSignature
        do {
            signature = try TOMLDecoder().decode(
                KernelSignature.self, from: String(decoding: bytes[..<got], as: UTF8.self))
        } catch {
            throw bad("it is not TOML with version, symbol, args and returns: \(error)")
        }
        try signature.check(bad)
        return signature
    }

    /// NAME and TYPE of each argument.
    var arguments: [(name: String, type: String)] {
        args.map { text in
            let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            return (String(parts[0]), parts.count > 1 ? String(parts[1]) : "")
        }
    }

    private func check(_ bad: (String) -> PluginError) throws {
        guard version == 1 else { throw bad("version is \(version); this dmsae reads 1") }
        guard returns == "i32" || returns == "void" else {
            throw bad("returns is '\(returns)'; write \"i32\" or \"void\"")
        }
        guard (1...64).contains(args.count) else { throw bad("there are \(args.count) args; at least 1, at most 64") }
        for (text, (name, type)) in zip(args, arguments) {
            if Self.scalars.contains(name) {
                guard ["i64", "i32", "i64*", "i32*"].contains(type) else {
                    throw bad("argument '\(text)': \(name) is a number; write \(name):i64, :i32, :i64* or :i32*")
                }
            } else if let wanted = Self.arrays[name] {
                guard type == wanted else { throw bad("argument '\(text)': write \(name):\(wanted)") }
            } else {
                let known = Array(Self.scalars) + Array(Self.arrays.keys)
                let near = nearest(name, among: known.sorted()).map { ", perhaps '\($0)'" } ?? ""
                throw bad(
                    "argument '\(text)': there is no '\(name)'\(near); there are \(known.sorted().joined(separator: ", "))"
                )
            }
        }
        guard arguments.count(where: { $0.name == "scores" }) == 1 else {
            throw bad("scores, where the function writes, must be among the args once")
        }
    }
}

/// A scorer that is a plain function: called once a batch through libffi, with what its signature names.
///
/// That a signature is the function's own cannot be checked: a wrong one is what isolation is for.
public final class KernelScorer: AttributionScorer, LoadedPlugin {
    /// The function's symbol.
    public let name: String
    /// The signature's.
    public let version: String
    /// The shared object.
    public let path: String
    /// A plain function has none.
    public let parameters: [PluginReference.Parameter] = []
    private let signature: KernelSignature
    nonisolated(unsafe) private let function: UnsafeMutableRawPointer

    /// The function that the TOML file beside `path` describes.
    /// - Throws: a `PluginError`; `.badKernel` also for a symbol that the file does not export.
    init(path: String, symbol: String?, signature: KernelSignature, parameters: [PluginReference.Parameter]) throws {
        func bad(_ reason: String) -> PluginError {
            .badKernel(path: KernelSignature.path(of: path), reason: reason)
        }
        if let symbol, symbol != signature.symbol {
            throw bad("it describes '\(signature.symbol)', and '\(symbol)' was asked for")
        }
        if let first = parameters.first {
            throw PluginError.unknownParameter(plugin: signature.symbol, path: path, key: first.key, known: [])
        }
        try SharedObjectHeader.check(path)
        let handle = keepingFloatingPointEnvironment { dlopen(path, RTLD_NOW | RTLD_LOCAL | Int32(RTLD_NODELETE)) }
        guard let handle else {
            throw PluginError.notLoaded(path: path, reason: dlerror().map { String(cString: $0) } ?? "no reason given")
        }
        guard let function = dlsym(handle, signature.symbol) else {
            throw bad("\(path) exports no symbol '\(signature.symbol)'; Fortran compilers add a '_' to a name")
        }
        self.function = function
        self.signature = signature
        self.path = path
        name = signature.symbol
        version = "\(signature.version)"
    }

    /// Scores a batch; see `AttributionScorer`.
    /// - Throws: `PluginError.failed` for a result other than 0, `.unwrittenScore`, `.nonFiniteScore`.
    public func score(_ batch: ScoringBatch, into scores: UnsafeMutableBufferPointer<Float>) throws {
        guard let output = scores.baseAddress, batch.codes.count > 0 else { return }
        output.update(repeating: Float(bitPattern: ScoreCheck.unwritten), count: scores.count)
        let numbers: [String: Int64] = [
            "tokens": Int64(batch.codes.rows), "latents": Int64(batch.codes.columns),
            "dimension": Int64(batch.decoder.columns), "entries": Int64(batch.codes.count),
            "sequences": Int64(batch.sequenceOffsets.count - 1),
        ]
        let status = try batch.withArgument { argument in
            let c = argument.pointee
            func address(_ tensor: UnsafePointer<dmsae_tensor>) -> UnsafeRawPointer {
                UnsafeRawPointer(tensor.pointee.data)
            }
            let arrays: [String: UnsafeRawPointer] = [
                "row_offsets": UnsafeRawPointer(c.codes.pointee.row_offsets),
                "columns": UnsafeRawPointer(c.codes.pointee.column_indices),
                "activations": UnsafeRawPointer(c.codes.pointee.values), "decoder": address(c.decoder),
                "decoder_bias": address(c.decoder_bias), "gradient": UnsafeRawPointer(batch.gradient.elements),
                "residual": address(c.residual), "reconstruction": address(c.reconstruction),
                "loss": UnsafeRawPointer(c.loss), "token_ids": UnsafeRawPointer(c.tokens),
                "sequence_offsets": UnsafeRawPointer(c.sequence_offsets), "scored": UnsafeRawPointer(c.scored),
                "scores": UnsafeRawPointer(output),
            ]
            return try call(numbers, arrays)
        }
        guard status == 0 else {
            throw PluginError.failed(
                plugin: name, path: path, function: name, status: status, text: "it returned \(status)", parameters: [])
        }
        try ScoreCheck.check(UnsafeBufferPointer(scores), batch.codes, plugin: name, path: path)
    }

    private func call(_ numbers: [String: Int64], _ arrays: [String: UnsafeRawPointer]) throws -> Int32 {
        // Eight bytes an argument: the number or pointer itself; and for numbers by reference eight more to point at.
        let count = signature.args.count
        let slots = UnsafeMutablePointer<UInt64>.allocate(capacity: 2 * count)
        slots.initialize(repeating: 0, count: 2 * count)
        defer { slots.deallocate() }
        var types: [CChar] = []
        var values: [UnsafeMutableRawPointer?] = []
        for (i, (name, type)) in signature.arguments.enumerated() {
            values.append(UnsafeMutableRawPointer(slots + i))
            if let array = arrays[name] {
                slots[i] = UInt64(UInt(bitPattern: array))
            } else {
                let number = numbers[name] ?? 0
                guard !type.hasPrefix("i32") || Int32(exactly: number) != nil else {
                    throw PluginError.badKernel(
                        path: KernelSignature.path(of: path),
                        reason: "\(name) is \(number), more than an i32 holds; pass it as i64")
                }
                // Little-endian: the lower half of an i64 is the i32.
                slots[type.hasSuffix("*") ? count + i : i] = UInt64(bitPattern: number)
                if type.hasSuffix("*") { slots[i] = UInt64(UInt(bitPattern: slots + count + i)) }
            }
            types.append(CChar(type.hasSuffix("*") ? UInt8(ascii: "p") : UInt8(ascii: type == "i32" ? "i" : "l")))
        }
        var result: Int32 = 0
        let called = keepingFloatingPointEnvironment {
            dmsae_foreign_call(
                function, count, types, &values, CChar(UInt8(ascii: signature.returns == "i32" ? "i" : "v")), &result)
        }
        guard called == 0 else {
            throw PluginError.badKernel(path: KernelSignature.path(of: path), reason: "libffi cannot make this call")
        }
        return result
    }
}
