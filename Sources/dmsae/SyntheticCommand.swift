import ArgumentParser
import LinearAlgebra
import SyntheticFeatures
import TensorFiles

/// `dmsae synthetic`: a world of known features, and text of it.
struct SyntheticCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "synthetic", abstract: "Make a world of known features, to ask whether an SAE finds them.",
        discussion: """
            Writes a folder that every command takes as a model: activations are sums of known features, in superposition, with Zipf \
            frequencies, parents and topics, and the next token depends on some of them. In its folder text are sequences that it draws \
            itself, in truth the features, to be read by other tools. `dmsae distill synthetic` runs the method there, `dmsae eval synthetic` holds an SAE against the features.

            Settings (--set NAME=VALUE):
            \(SyntheticSettings.listed)

            Example: dmsae synthetic --out world --set features=1024 --set width=128
            """)

    @Option(
        name: .shortAndLong, help: "Folder to write; default synthetic in the cache, which the recipe synthetic takes.")
    var out: String?
    @Option(help: ArgumentHelp("Change one setting; may be repeated.", valueName: "NAME=VALUE"))
    var set: [String] = []
    @Option(help: "Tokens of text to draw, rounded up to whole sequences; a tenth as many again for evaluation.")
    var tokens = 600_000
    @OptionGroup var output: OutputOptions

    func validate() throws { try require("--tokens", tokens, in: 1...100_000_000) }

    func run() throws {
        output.apply()
        Interruption.install(advice: "interrupted; run the same command again")
        try Surroundings.prepareToCompute(advice: "lower --tokens")
        var settings = SyntheticSettings()
        for assignment in set {
            let parts = assignment.split(separator: "=", maxSplits: 1)
            guard parts.count == 2 else {
                throw ValidationError("--set \(printable(assignment)) is no NAME=VALUE")
            }
            let value = (try? JSONValue(parsing: String(parts[1]))) ?? .string(String(parts[1]))
            try settings.set(String(parts[0]), value, file: "--set")
        }
        try settings.check(file: "--set")
        let place = try out.map { SyntheticPlace(folder: $0) } ?? SyntheticPlace.inCache()
        try OutputPlace.requireFolder(place.folder, holdingOnly: SyntheticModel.file)
        let world = SyntheticModel(try SyntheticWorld(settings))
        try createFolder(place.textFolder)
        try createFolder(place.folder + "/truth")
        let rows = (tokens - 1) / settings.context + 1, others = (rows - 1) / 10 + 1
        var need = MemoryNeed("drawing \(tokens) tokens needs", advice: "lower --tokens")
        // Ids as they are drawn and as the file has them; of a tenth the features that fire.
        need.add("ids", 16, rows, settings.context)
        need.add("features", 28, others * settings.context, Int(settings.firing) + 1)
        try need.check()
        Terminal.shared.begin("draw text", total: (rows + others) * settings.context, unit: "tokens")
        try write(place.train, world, rows: 0..<rows)
        try write(place.test, world, rows: rows..<rows + others)
        Terminal.shared.end()
        try writeTruth(place, world)
        // Last, so that a folder with it is whole.
        try AtomicFile.write(settings.text, to: place.folder + "/" + SyntheticModel.file)
        print("\(place.folder): \(settings.features) features, \(rows) sequences of \(settings.context) tokens")
    }

    private func write(_ path: String, _ model: SyntheticModel, rows: Range<Int>) throws {
        var ids: [Int64] = []
        for first in stride(from: rows.lowerBound, to: rows.upperBound, by: 256) {
            try Interruption.request.check()
            let part = first..<min(first + 256, rows.upperBound)
            ids += model.sample(rows: part).map(Int64.init)
            Terminal.shared.advance(by: part.count * model.world.settings.context, detail: "")
        }
        var writer = SafetensorsWriter(
            metadata: try origin([], ["world": model.world.settings.text, "first row": "\(rows.lowerBound)"]))
        writer.add("input_ids", integers: ids, shape: [rows.count, model.world.settings.context])
        try writer.write(to: path)
    }

    /// What the features are, and which fire on the evaluation text: for who wants to look with other tools.
    private func writeTruth(_ place: SyntheticPlace, _ model: SyntheticModel) throws {
        let world = model.world
        var writer = SafetensorsWriter(metadata: try origin([], ["world": world.settings.text]))
        writer.add("directions", world.directions)
        writer.add("bias", world.bias)
        writer.add("probabilities", doubles: world.probabilities)
        writer.add("parents", integers: world.parents.map { Int64($0 ?? -1) })
        writer.add("useful", integers: world.isUseful.map { $0 ? 1 : 0 })
        let firing = model.firings(of: try readTokens(place.test))
        writer.add("test.offsets", integers: firing.offsets.map(Int64.init))
        writer.add("test.features", integers: firing.features.map(Int64.init))
        writer.add("test.magnitudes", firing.magnitudes)
        try writer.write(to: place.truth)
    }
}

/// Where a world lies.
struct SyntheticPlace {
    /// What is given as the model.
    let folder: String
    /// Not in the model's folder itself: its files are what the model is.
    var textFolder: String { folder + "/text" }
    var train: String { textFolder + "/train.safetensors" }
    var test: String { textFolder + "/test.safetensors" }
    /// directions `[n, d]`, bias `[1, d]`, probabilities, parents (−1 for none) and useful `[n]`; of the text for evaluation the features that
    /// fire, test.features with test.magnitudes, those of position p from test.offsets[p] to the next.
    var truth: String { folder + "/truth/features.safetensors" }

    /// `synthetic` in the cache.
    ///
    /// - Throws: `FetchError.noHome`.
    static func inCache() throws -> SyntheticPlace {
        guard let root = CacheFolder.path else { throw FetchError.noHome }
        return SyntheticPlace(folder: root + "/synthetic")
    }
}

/// The world of the cache has not been made.
struct MissingWorld: Error, CustomStringConvertible {
    let folder: String
    var description: String { printable("\(folder) holds no world of known features; run: dmsae synthetic") }
}
