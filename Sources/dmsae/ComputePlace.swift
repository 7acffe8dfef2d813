import CUDABackend
import LanguageModeling
import LinearAlgebra
import Ranks
import SparseCoding

/// Where trainings and models are computed, as rank 0 is told by options and the others by rank 0.
final class ComputePlace {
    let device: Device
    let precision: ProductPrecision

    /// This process's processors, or its card.
    ///
    /// - Throws: `CUDAError`.
    func trainingDevice() throws -> any TrainingDevice {
        try context().map { CUDATraining($0, precision: precision) } ?? Lanes.shared
    }

    /// The model in this process.
    ///
    /// - Throws: as `loadLanguageModel`; `CUDAError`.
    func languageModel(_ path: String) throws -> any LanguageModel {
        // The card first: one that is not there should not cost the load of a model.
        guard let context = try context() else { return try loadLanguageModel(path: path) }
        return try CUDALanguageModel(try loadDecoder(path: path), on: context, precision: precision)
    }

    private var opened: CUDAContext?

    private func context() throws -> CUDAContext? {
        if let opened { return opened }
        switch device {
        case .cpu: return nil
        case .cuda(let index?): opened = try CUDAContext(index: index)
        case .cuda(nil): opened = try CUDAContext(localRank: RankJob.localRank)
        }
        return opened
    }

    // MARK: As a message

    /// What another rank has to know to compute as this one does.
    ///
    /// - Throws: `CUDAError`.
    func message() throws -> RankMessage {
        var message = RankMessage()
        message.write(device != .cpu)
        message.write(precision.rawValue)
        message.write(try description())
        return message
    }

    /// This rank's place.
    ///
    /// - Throws: `CUDAError`; `OtherDevice` where it is not as rank 0's.
    init(reading message: inout RankMessage) throws {
        device = message.read(Bool.self) ? .cuda(nil) : .cpu
        precision = ProductPrecision(rawValue: message.read())!
        let (first, own) = (message.read(String.self), try description())
        guard own == first else { throw OtherDevice(own: own, first: first) }
    }

    init(device: Device, precision: ProductPrecision) { (self.device, self.precision) = (device, precision) }

    /// All that numbers depend on, of a card.
    private func description() throws -> String {
        try trainingDevice().record.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
    }

    private struct OtherDevice: Error, CustomStringConvertible {
        let own: String
        let first: String

        var description: String {
            "this rank would compute on another device (\(own)) than rank 0 (\(first)), and records name one; start all on alike ones"
        }
    }
}
