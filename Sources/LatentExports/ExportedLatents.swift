import Attribution
import TensorFiles

/// Latents as they are written for another tool: where they come from, which they are, and what is known of each.
public struct ExportedLatents {
    /// Where each fires, and what its decoder row does.
    public var inspection: LatentInspection
    /// Which are exported, rising.
    public var latents: [Int]
    /// By latent.
    public var marks: [Int: LatentMark]
    /// F, the SAE's latents.
    public var width: Int
    /// What they are of.
    public var source: Source

    /// Those of one SAE; `latents` in any order.
    public init(_ inspection: LatentInspection, latents: [Int], marks: [Int: LatentMark], width: Int, source: Source) {
        (self.inspection, self.latents, self.marks) = (inspection, Set(latents).sorted(), marks)
        (self.width, self.source) = (width, source)
    }

    /// What tools are told of an SAE and its text.
    public struct Source: Sendable {
        /// The model as the tool knows it: its name on the Hub, in TransformerLens, or its folder.
        public var model: String
        /// Its family, as configurations call it: "llama".
        public var family: String
        /// Blocks of the model.
        public var blocks: Int
        /// Where the SAE reads.
        public var hook: HookPoint
        /// What the text is called.
        public var dataset: String
        /// The SAE's name among those of the model: "res-dmsae-4k".
        public var set: String
        /// What it was published as, and by whom; as Neuronpedia wants it.
        public var release: String
        /// The release in words.
        public var title: String
        /// Where to read of it; empty for nowhere.
        public var url: String
        /// Who made it.
        public var creator: String

        /// A source that is its own release.
        public init(model: String, family: String, blocks: Int, hook: HookPoint, dataset: String, set: String) {
            (self.model, self.family, self.blocks, self.hook) = (model, family, blocks, hook)
            (self.dataset, self.set, release, title, url, creator) = (dataset, set, set, set, "", "dmsae")
        }
    }
}

/// A format of another tool.
public enum LatentFormat: String, Sendable, CaseIterable {
    /// What the NeuronpediaRunner of SAEDashboard 0.8 writes.
    case saedashboard
    /// What Neuronpedia imports.
    case neuronpedia
    /// The cache of activations of Delphi 0.1.3.
    case delphi

    /// Writes latents into a folder, which is to be finished afterwards; calls `progress` with the latents of each step.
    ///
    /// - Throws: `LatentExportError`; `TensorFileError`; what `progress` throws.
    public func write(_ exported: ExportedLatents, to folder: ExportFolder, progress: (Int) throws -> Void) throws {
        switch self {
        case .saedashboard: try SAEDashboardExport(exported).write(to: folder, progress: progress)
        case .neuronpedia: try NeuronpediaExport(exported).write(to: folder, progress: progress)
        case .delphi: try DelphiExport(exported).write(to: folder, progress: progress)
        }
        try exported.writeMarks(to: folder)
    }
}

extension ExportedLatents {
    /// Latents of one file of dashboards.
    static let batchSize = 128

    /// As SAEDashboard shows them by default: 20 contexts, the highest one a sequence, and five of each of five intervals. Its contexts
    /// are whole prompts of 128 tokens; of longer sequences what stands around the highest token.
    static var extent: LatentInspection.Extent {
        var extent = LatentInspection.Extent()
        (extent.contexts, extent.levels, extent.levelContexts) = (20, 5, 5)
        (extent.radius, extent.tokens, extent.bins, extent.related) = (64, 10, 50, 3)
        return extent
    }

    /// Dashboards, `batchSize` latents at a time, with their number.
    ///
    /// - Throws: what `body` throws; `LatentExportError.notFinite`.
    func forEachBatch(_ body: (Int, [LatentDashboard]) throws -> Void) throws {
        for (number, first) in stride(from: 0, to: latents.count, by: Self.batchSize).enumerated() {
            let batch = Array(latents[first..<min(first + Self.batchSize, latents.count)])
            let dashboards = inspection.dashboards(of: batch, Self.extent)
            if let wrong = dashboards.first(where: { !$0.record.largest.isFinite }) {
                throw LatentExportError.notFinite(latent: wrong.record.latent)
            }
            try body(number, dashboards)
        }
    }

    /// dmsae.jsonl: what formats have no place for, a latent a line.
    fileprivate func writeMarks(to folder: ExportFolder) throws {
        let share = inspection.frequencies
        try folder.write("dmsae.jsonl") { file in
            for latent in latents {
                let line = JSONText.line { text in
                    text.member("latent", latent)
                    text.member("frequency", share[latent])
                    marks[latent]?.write(to: &text)
                }
                try line.withUnsafeBytes { try file.write($0) }
            }
        }
    }
}

extension LatentMark {
    /// Its members; of what is not known none.
    func write(to text: inout JSONText) {
        if let core_rank { text.member("core_rank", core_rank) }
        if let born { text.member("born", born) }
        if let selected_in { text.member("selected_in", selected_in) }
        text.key("scores")
        text.object { for (name, score) in scores.sorted(by: { $0.key < $1.key }) { $0.member(name, score) } }
    }
}

/// Why latents cannot be written for a tool.
public enum LatentExportError: Error, CustomStringConvertible, Equatable {
    /// An activation that is no number, or too large for one.
    case notFinite(latent: Int)
    /// An activation beyond what half precision holds.
    case beyondHalf(latent: Int, value: Float)
    /// A name that is to be one of a folder and a part of an address.
    case badName(what: String, name: String)
    /// A folder with something in it.
    case notEmpty(folder: String, name: String)

    /// What failed, on which value, what to do next.
    public var description: String { printable(sentence) }

    private var sentence: String {
        switch self {
        case .notFinite(let latent):
            "the activations of latent \(latent) are no finite numbers; check the SAE's weights with `eval`"
        case .beyondHalf(let latent, let value):
            "latent \(latent) fires with \(value), and Delphi keeps activations in half precision, up to 65504; leave it out of "
                + "--latents, or scale the SAE"
        case .badName(let what, let name):
            "the \(what) \"\(name)\" becomes a folder and a part of an address: it may have letters, digits, \"-\", \"_\" and, not in "
                + "front, \".\"; give another with --about"
        case .notEmpty(let folder, let name):
            "\(folder) is not empty: \(name) is in it, and tools read all that they find; choose another --out, or remove what is there"
        }
    }
}
