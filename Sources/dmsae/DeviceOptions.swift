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

    /// Opens the device for trainings, on every rank of a job.
    ///
    /// - Throws: `CUDAError`; `ValidationError` for a precision that nothing follows.
    func trainingDevice() throws -> any TrainingDevice {
        let place = try place(), own = try place.trainingDevice()
        return try RankJob.group.map { RankedTraining($0, on: own, place: try place.message()) } ?? own
    }

    /// Loads a model, on every rank of a job; on a card its weights are copied there.
    ///
    /// - Throws: as `loadLanguageModel`; `CUDAError`; `ValidationError` for a precision that nothing follows.
    func languageModel(_ path: String) throws -> any LanguageModel {
        let place = try place()
        // It is too small for a card.
        if SyntheticModel.isAt(path) { return try SyntheticModel(path: path) }
        guard let group = RankJob.group else { return try place.languageModel(path) }
        return try RankJob.languageModel(path, among: group, on: place)
    }

    /// Whether a card is asked for.
    ///
    /// - Throws: `CUDAError.badDevice`.
    var isCard: Bool { get throws { try Device(named: device) != .cpu } }

    private func place() throws -> ComputePlace {
        let chosen = try Device(named: device)
        if case .cuda(.some) = chosen, let group = RankJob.group {
            throw ValidationError(
                "--device cuda:N is for one process, and \(group.count) were started; with --device cuda each takes a card of its own"
            )
        }
        if chosen == .cpu, precision != nil {
            throw ValidationError("--precision is for products on a card; add --device cuda, or leave it out")
        }
        return ComputePlace(device: chosen, precision: precision ?? .tf32)
    }
}

extension ProductPrecision: ExpressibleByArgument {}

extension LanguageModel {
    /// Where it is computed, for records; empty on the processors of one process.
    var deviceRecord: [String: String] {
        if let ranked = self as? RankedModel { return ranked.own.deviceRecord.merging(ranked.record) { $1 } }
        return (self as? CUDALanguageModel)?.record ?? [:]
    }
}

/// What `--device` and DMSAE_DEVICE name.
enum Device: Equatable {
    case cpu
    /// The card of that number, or else the first; of several ranks each has one of its own.
    case cuda(Int?)

    /// The device of that name, of DMSAE_DEVICE without one, or the processors.
    ///
    /// - Throws: `CUDAError.badDevice`.
    init(named name: String?) throws {
        let variable = getenv("DMSAE_DEVICE").map { String(cString: $0) } ?? ""
        let text = name ?? (variable.isEmpty ? "cpu" : variable)
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        switch (parts.first, parts.count) {
        case ("cpu", 1): self = .cpu
        case ("cuda", 1): self = .cuda(nil)
        case ("cuda", 2):
            guard let index = Int(parts[1]), (0...1023).contains(index), String(index) == parts[1] else { fallthrough }
            self = .cuda(index)
        default: throw CUDAError.badDevice(text)
        }
    }
}
