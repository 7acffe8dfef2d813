import ArgumentParser
import CUDABackend
import Glibc
import LanguageModeling
import LinearAlgebra
import SparseCoding
import SyntheticFeatures

/// Options of commands that train, or run a language model.
struct DeviceOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Where trainings and the model are computed: cpu, cuda or cuda:N; default DMSAE_DEVICE, or else cpu.",
            valueName: "device"
        ))
    var device: String?

    @Option(
        help:
            """
            Of matrix products on a card: fp32; tf32, which rounds factors to 10 bits of mantissa; or bf16, which keeps the model's weights \
            in half the memory and rounds what they are multiplied with to 7 bits, all else being tf32. Default tf32.
            """
    )
    var precision: ProductPrecision?

    /// Opens the device for trainings.
    ///
    /// - Throws: `CUDAError`; `ValidationError` for a precision that nothing follows.
    func trainingDevice() throws -> any TrainingDevice {
        switch try chosen() {
        case .cpu: RankJob.group.map { RankedTraining($0) } ?? Lanes.shared
        case .cuda(let index): CUDATraining(try CUDAContext(index: index), precision: precision ?? .tf32)
        }
    }

    /// Loads a model; on a card its weights are copied there.
    ///
    /// - Throws: as `loadLanguageModel`; `CUDAError`; `ValidationError` for a precision that nothing follows.
    func languageModel(_ path: String) throws -> any LanguageModel {
        let chosen = try chosen()
        // It is too small for a card.
        if SyntheticModel.isAt(path) { return try SyntheticModel(path: path) }
        switch chosen {
        case .cpu:
            guard let group = RankJob.group else { return try loadLanguageModel(path: path) }
            return try RankJob.languageModel(path, among: group)
        case .cuda(let index):
            // The card first: one that is not there should not cost the load of a model.
            let context = try CUDAContext(index: index)
            return try CUDALanguageModel(try loadDecoder(path: path), on: context, precision: precision ?? .tf32)
        }
    }

    /// Whether a card is asked for.
    ///
    /// - Throws: `CUDAError.badDevice`.
    var isCard: Bool { get throws { try Device(named: device) != .cpu } }

    private func chosen() throws -> Device {
        let chosen = try Device(named: device)
        if chosen != .cpu, let group = RankJob.group {
            throw ValidationError(
                "--device cuda is for one process, and \(group.count) were started; leave it out, or start one")
        }
        if chosen == .cpu, precision != nil {
            throw ValidationError("--precision is for products on a card; add --device cuda, or leave it out")
        }
        return chosen
    }
}

extension ProductPrecision: ExpressibleByArgument {}

extension LanguageModel {
    /// Where it is computed, for records; empty on the processors of one process.
    var deviceRecord: [String: String] {
        (self as? CUDALanguageModel)?.record ?? (self as? RankedModel)?.record ?? [:]
    }
}

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
