import ArgumentParser
import CUDABackend
import Glibc
import LinearAlgebra
import SparseCoding

/// Options of commands that train.
struct DeviceOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Where trainings are computed: cpu, cuda or cuda:N; default DMSAE_DEVICE, or else cpu.", valueName: "device"
        ))
    var device: String?

    @Option(
        help:
            "Of matrix products on a card: fp32, tf32 (factors rounded to 10 bits of mantissa) or bf16 (7 bits); default tf32."
    )
    var precision: ProductPrecision?

    /// Opens the device.
    ///
    /// - Throws: `CUDAError`; `ValidationError` for a precision that nothing follows.
    func trainingDevice() throws -> any TrainingDevice {
        switch try Device(named: device) {
        case .cpu:
            guard precision == nil else {
                throw ValidationError("--precision is for products on a card; add --device cuda, or leave it out")
            }
            return Lanes.shared
        case .cuda(let index): return CUDATraining(try CUDAContext(index: index), precision: precision ?? .tf32)
        }
    }
}

extension ProductPrecision: ExpressibleByArgument {}

/// What `--device` and DMSAE_DEVICE name.
enum Device: Equatable {
    case cpu
    case cuda(Int)

    /// The device of that name, of DMSAE_DEVICE without one, or the processors.
    ///
    /// - Throws: `CUDAError.badDevice`.
    init(named name: String?) throws {
        let variable = getenv("DMSAE_DEVICE").map { String(cString: $0) } ?? ""
        let text = name ?? (variable.isEmpty ? "cpu" : variable)
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        switch (parts.first, parts.count) {
        case ("cpu", 1): self = .cpu
        case ("cuda", 1): self = .cuda(0)
        case ("cuda", 2):
            guard let index = Int(parts[1]), (0...1023).contains(index), String(index) == parts[1] else { fallthrough }
            self = .cuda(index)
        default: throw CUDAError.badDevice(text)
        }
    }
}
