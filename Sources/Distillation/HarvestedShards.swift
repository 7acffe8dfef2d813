import Glibc
import TensorFiles

/// The shards of a harvest that is not finished, and where in the text each became full; `harvest.json`, removed when the store is
/// whole. From time to time the rows of the shard that is not full are kept too, as they came. A harvest that was cut short goes on
/// after the last of these that is as it was written.
struct HarvestedShards: Codable {
    /// How far a harvest was when a shard was full or its rows were kept.
    struct Mark: Codable {
        /// Tokens of the batches that were gone through.
        var tokens = 0
        /// Positions that were gone through of the batch after them.
        var position = 0
        /// Positions left out as first or special.
        var special = 0
        /// Positions left out as attention sinks.
        var sinks = 0
        /// Rows with norms far above the others'; nil in what an earlier version left.
        var outlying: Int?
        /// Σ ‖x‖² over the rows.
        var square = 0.0
        /// Rows of the shard.
        var rows = 0
        /// SHA-256 of the shard's file.
        var sha256 = ""
    }

    /// All that the rows depend on.
    var causes: Causes
    /// In the order of the shards.
    var marks: [Mark] = []
    /// Of the rows after them.
    var unfinished: Mark?
    /// SHA-256 of this without this line.
    var seal = ""

    init(causes: Causes) { self.causes = causes }

    /// Where it lies in a store's folder.
    static func path(in folder: String) -> String { folder + "/harvest.json" }

    /// The file of the rows of a shard that is not full.
    static func path(of unfinished: Mark, in folder: String) -> String {
        "\(folder)/unfinished-\(unfinished.tokens).safetensors"
    }

    /// Where a harvest goes on: at the start of the text if nothing is there.
    var last: Mark { unfinished ?? marks.last ?? Mark() }

    private func sealed() throws -> HarvestedShards {
        var result = self
        result.seal = ""
        result.seal = SHA256.hexadecimal(SHA256.digest(of: try JSONRecord.text(result)))
        return result
    }

    /// - Throws: `TensorFileError.unwritable`.
    func write(to folder: String) throws { try JSONRecord.write(try sealed(), to: Self.path(in: folder)) }

    /// Removes it with the rows of what was not finished.
    static func clear(_ folder: String) {
        unlink(path(in: folder))
        removeUnfinished(but: nil, in: folder)
    }

    /// Removes kept rows, all or all but those of one mark.
    static func removeUnfinished(but kept: Mark?, in folder: String) {
        for name in (try? namesInFolder(folder)) ?? [] where name.hasPrefix("unfinished-") {
            let path = folder + "/" + name
            if kept.map({ Self.path(of: $0, in: folder) }) != path { unlink(path) }
        }
    }

    /// What a harvest that was cut short left in `folder`, up to the first shard that is not as it was written; nothing where it
    /// left nothing.
    ///
    /// - Throws: `DistillationError.startedOtherwise`.
    static func left(
        in folder: String, causes: Causes, goesOnElsewhere: Bool, warn: (String) -> Void
    ) throws -> HarvestedShards {
        let path = path(in: folder)
        guard exists(path) else { return HarvestedShards(causes: causes) }
        guard var left = try? JSONRecord.read(HarvestedShards.self, from: path),
            (try? left.sealed().seal) == left.seal
        else {
            warn("\(path) is not as the harvest wrote it; harvesting from the start of the text")
            return HarvestedShards(causes: causes)
        }
        let elsewhere = goesOnElsewhere ? Causes.machineNames : []
        if let (key, was, now) = causes.difference(from: left.causes, except: elsewhere) {
            throw DistillationError.startedOtherwise(what: "harvest", folder: folder, key: key, was: was, now: now)
        }
        if let (key, was, now) = causes.difference(from: left.causes) {
            warn("the harvest goes on with \(key) = \(now), it was \(was): not to the bits of an uninterrupted one")
        }
        left.causes = causes
        for (index, mark) in left.marks.enumerated() {
            let shard = ActivationStore.shardPath(folder, index)
            guard (try? SHA256.hexadecimal(ofFile: shard)) != mark.sha256 else { continue }
            warn("\(shard) is not as the harvest wrote it; harvesting from there on")
            left.marks.removeSubrange(index...)
            left.unfinished = nil
            break
        }
        if let mark = left.unfinished {
            let rows = Self.path(of: mark, in: folder)
            if (try? SHA256.hexadecimal(ofFile: rows)) != mark.sha256 {
                warn("\(rows) is not as the harvest wrote it; harvesting from the last whole shard on")
                left.unfinished = nil
            }
        }
        return left
    }
}
