// Gradient × activation: score[t, j] = -a · ⟨g_t, ŵ_j⟩ with a = f[t, j] and ŵ_j = W_dec[j] / ‖W_dec[j]‖.
//
// Its magnitude is the attribution of "Distilled Matryoshka SAEs"; its sign is the one of scorer.h: positive where
// removing the latent raises the loss, to first order.
//
// Goals, in this order: the exact value (products of floats are exact in Double, so only the last bits of a sum in
// Double are lost, and the result does not depend on the processor's width); then speed: one pass over the entries.

import CDMSAE
import Glibc

/// A text that lives as long as the process, as C sees it.
private func cString(_ text: StaticString) -> UnsafePointer<CChar> {
    UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
}

/// A value in memory that is never freed: the host may read it until the process ends.
private func immortal<Value>(_ value: Value) -> UnsafePointer<Value> {
    let memory = UnsafeMutablePointer<Value>.allocate(capacity: 1)
    memory.initialize(to: value)
    return UnsafePointer(memory)
}

/// What `create` makes: how to ask the host whether to stop. Behind the opaque `dmsae_instance`.
private struct Instance {
    let host: UnsafePointer<dmsae_host>
    let cancel: UnsafePointer<dmsae_host_cancel>?

    var isCancelled: Bool { cancel.map { $0.pointee.is_cancelled(host) != 0 } ?? false }
}

/// Σ x_i·y_i over `count` floats, in Double.
private func dot(_ x: UnsafePointer<Float>, _ y: UnsafePointer<Float>, _ count: Int) -> Double {
    let x = UnsafeRawPointer(x), y = UnsafeRawPointer(y)
    func four(_ p: UnsafeRawPointer, _ i: Int) -> SIMD4<Double> {
        SIMD4<Double>((p + 4 * i).loadUnaligned(as: SIMD4<Float>.self))
    }
    // Two sums hide the latency of the addition.
    var even = SIMD4<Double>(), odd = SIMD4<Double>()
    var i = 0
    while i + 8 <= count {
        even += four(x, i) * four(y, i)
        odd += four(x, i + 4) * four(y, i + 4)
        i += 8
    }
    var sum = (even + odd).sum()
    while i < count {
        sum += Double((x + 4 * i).load(as: Float.self)) * Double((y + 4 * i).load(as: Float.self))
        i += 1
    }
    return sum
}

/// Copies `message` into the caller's buffer and returns `status`.
private func fail(
    _ status: dmsae_status, _ message: String, _ call: UnsafeMutablePointer<dmsae_call>
) -> dmsae_status {
    guard let error = call.pointee.error, call.pointee.error_capacity > 0 else { return status }
    let text = Array(message.utf8CString.dropLast().prefix(Int(call.pointee.error_capacity) - 1)) + [0]
    for (i, byte) in text.enumerated() { error[i] = byte }
    return status
}

private func score(
    _ instance: OpaquePointer, _ batch: UnsafePointer<dmsae_scorer_batch>, _ scores: UnsafeMutablePointer<Float>,
    _ call: UnsafeMutablePointer<dmsae_call>
) -> dmsae_status {
    guard call.pointee.flags >> 32 == 0 else { return .DMSAE_ERR_UNSUPPORTED }
    guard let gradientView = batch.pointee.gradient else {
        return fail(.DMSAE_ERR_INVALID_ARGUMENT, "the batch has no gradient (DMSAE-SCORER-02)", call)
    }
    let instance = UnsafePointer<Instance>(instance).pointee
    let codes = batch.pointee.codes.pointee
    let d = Int(gradientView.pointee.shape[1])
    let gradient = UnsafePointer(gradientView.pointee.data.assumingMemoryBound(to: Float.self))
    let decoder = UnsafePointer(batch.pointee.decoder.pointee.data.assumingMemoryBound(to: Float.self))

    // ‖W_dec[j]‖, of the latents that fire only: in a wide SAE most rows would be read for nothing. -1: not yet known.
    let norms = UnsafeMutablePointer<Double>.allocate(capacity: Int(codes.columns))
    norms.initialize(repeating: -1, count: Int(codes.columns))
    defer { norms.deallocate() }

    for t in 0..<Int(codes.rows) {
        if t % 64 == 0 && instance.isCancelled { return .DMSAE_CANCELLED }
        let g = gradient + t * d
        for e in Int(codes.row_offsets[t])..<Int(codes.row_offsets[t + 1]) {
            let j = Int(codes.column_indices[e])
            let w = decoder + j * d
            if norms[j] < 0 { norms[j] = dot(w, w, d).squareRoot() }
            // A zero row has no direction and adds nothing to x̂: removing it changes no loss.
            scores[e] = norms[j] == 0 ? 0 : Float(-Double(codes.values[e]) * dot(g, w, d) / norms[j])
        }
    }
    return .DMSAE_OK
}

// The tables are written once, before the entry function first returns, and only read afterwards.
nonisolated(unsafe) private let scorer = immortal(
    dmsae_scorer_per_token(
        struct_size: UInt32(MemoryLayout<dmsae_scorer_per_token>.size), reserved: 0,
        score: { score($0, $1, $2, $3) }))

nonisolated(unsafe) private let about = immortal(
    dmsae_descriptor(
        struct_size: UInt32(MemoryLayout<dmsae_descriptor>.size), kind: .DMSAE_KIND_SCORER, id: cString("gxa"),
        name: cString("Gradient × activation"), version: cString("1.0.0"), license: cString("Apache-2.0"),
        description: cString("-a·⟨g, ŵ⟩: how the loss changes, to first order, along the latent's direction"),
        extensions: immortal(cString("dmsae.scorer.per_token/1")), extension_count: 1, reserved: 0,
        flags: DMSAE_PLUGIN_DETERMINISTIC | DMSAE_PLUGIN_REENTRANT | DMSAE_PLUGIN_NEEDS_GRADIENT, parameters: nil,
        parameter_count: 0, reserved2: 0))

nonisolated(unsafe) private let entry = immortal(
    dmsae_entry(
        magic: DMSAE_MAGIC, struct_size: UInt32(MemoryLayout<dmsae_entry>.size), abi_major: DMSAE_ABI_MAJOR,
        abi_minor_min: DMSAE_ABI_MINOR_REQUIRED, plugin_count: 1,
        descriptor: { _, index in index == 0 ? about : nil },
        create: { _, _, host, parameters, count, out, call in
            if count > 0 {
                let key = String(cString: parameters[0].key)
                return fail(
                    .DMSAE_ERR_UNKNOWN_PARAMETER, "unknown parameter '\(key)'; gxa takes none", call)
            }
            let cancel = host.pointee.get_extension(host, DMSAE_CANCEL)
            let instance = UnsafeMutablePointer<Instance>.allocate(capacity: 1)
            instance.initialize(
                to: Instance(host: host, cancel: cancel?.assumingMemoryBound(to: dmsae_host_cancel.self)))
            out.pointee = OpaquePointer(instance)
            return .DMSAE_OK
        },
        destroy: { UnsafeMutablePointer<Instance>($0).deallocate() },
        get_extension: { _, id in
            strcmp(id, DMSAE_SCORER_PER_TOKEN) == 0 ? UnsafeRawPointer(scorer) : nil
        }))

/// The one exported symbol; checked against its declaration in entry.h.
@c @implementation
public func dmsae_plugin_entry(_ host: UnsafePointer<dmsae_host_info>) -> UnsafePointer<dmsae_entry>? { entry }
