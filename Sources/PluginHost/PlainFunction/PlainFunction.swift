import Attribution
import CDMSAE
import CLibFFI
import Glibc
import LinearAlgebra
import PluginABI

/// A scorer that is a plain function: called once a batch through libffi, with what its signature names.
///
/// That a signature is the function's own cannot be checked: a wrong one is what isolation is for.
public final class PlainFunction: AttributionScorer, LoadedPlugin {
    /// Named by its symbol.
    public let identity: PluginIdentity
    let signature: FunctionSignature
    nonisolated(unsafe) private let function: UnsafeMutableRawPointer

    /// The function that the file beside `file` describes.
    /// - Throws: an error of the file; `PluginABIError.badFunction` also for a symbol that the file does not export.
    package init(
        _ file: PluginFile, symbol: String?, signature: FunctionSignature, parameters: [PluginReference.Parameter] = []
    ) throws {
        let path = file.path
        func bad(_ reason: String) -> PluginABIError {
            .badFunction(path: FunctionText.path(of: path), reason: reason)
        }
        if let symbol, symbol != signature.symbol {
            throw bad("it describes '\(signature.symbol)', and '\(symbol)' was asked for")
        }
        let settings = try ParameterSpec.settings(
            signature.specs, parameters, plugin: signature.symbol, path: path)
        guard let function = dlsym(try file.load(), signature.symbol) else {
            throw bad("\(path) exports no symbol '\(signature.symbol)'; Fortran compilers add a '_' to a name")
        }
        self.function = function
        self.signature = signature
        identity = PluginIdentity(
            name: signature.symbol, version: "\(signature.version)", file: file, parameters: settings)
    }

    /// Scores a batch; see `AttributionScorer`.
    /// - Throws: `PluginCallError.returned` for a result other than 0, `.unwrittenScore`, `.nonFiniteScore`.
    public func score(_ batch: ScoringBatch, into scores: UnsafeMutableBufferPointer<Float>) throws {
        guard let output = scores.baseAddress, batch.codes.count > 0 else { return }
        output.update(repeating: Unwritten.float, count: scores.count)
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
            throw PluginCallError.returned(function: name, path: path, code: status)
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
            } else if let setting = identity.parameters.first(where: { $0.key == name }) {
                // Canonical, of its type.
                let bits =
                    type.hasPrefix("f64")
                    ? (Double(setting.value) ?? 0).bitPattern : UInt64(bitPattern: Int64(setting.value) ?? 0)
                slots[type.hasSuffix("*") ? count + i : i] = bits
                if type.hasSuffix("*") { slots[i] = UInt64(UInt(bitPattern: slots + count + i)) }
            } else {
                let number = numbers[name] ?? 0
                guard !type.hasPrefix("i32") || Int32(exactly: number) != nil else {
                    throw PluginABIError.badFunction(
                        path: FunctionText.path(of: path),
                        reason: "\(name) is \(number), more than an i32 holds; pass it as i64")
                }
                // Little-endian: the lower half of an i64 is the i32.
                slots[type.hasSuffix("*") ? count + i : i] = UInt64(bitPattern: number)
                if type.hasSuffix("*") { slots[i] = UInt64(UInt(bitPattern: slots + count + i)) }
            }
            let kinds = ["i32": UInt8(ascii: "i"), "i64": UInt8(ascii: "l"), "f64": UInt8(ascii: "d")]
            types.append(CChar(type.hasSuffix("*") ? UInt8(ascii: "p") : kinds[type] ?? UInt8(ascii: "l")))
        }
        var result: Int32 = 0
        let called = runningForeignCode {
            dmsae_foreign_call(
                function, count, types, &values, CChar(UInt8(ascii: signature.returns == "i32" ? "i" : "v")), &result)
        }
        guard called == 0 else {
            throw PluginABIError.badFunction(path: FunctionText.path(of: path), reason: "libffi cannot make this call")
        }
        return result
    }
}
