import ArgumentParser
import Distillation
import LinearAlgebra
import SAEFormats
import SparseCoding
import TensorFiles

/// `dmsae stability A B …`: whether several SAEs have the same latents.
struct StabilityCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stability",
        abstract: "Compare the directions of several SAEs or cores: are these the same features?",
        discussion: """
            Of every pair: the mean of each latent's largest cosine in the other, both ways (MMCS); the mean over the optimal \
            assignment (MCC, whose mean over all pairs is PW-MCC, arXiv:2505.20254) and the shares of it of at least 0.7 and 0.9. \
            Of every SAE: how many of its latents have a cosine of at least --same with one of each of the others. Cosines are \
            signed; latents without a direction are left out.

            Example: dmsae stability runs/a/cycle-3/sae runs/b/cycle-3/sae --latents core
            """)

    @Argument(help: "SAEs in any format that convert reads, or core.json files, whose directions are of the encoder.")
    var saes: [String]
    @Option(
        help: ArgumentHelp(
            "Compare all latents, those of the innermost prefix, or those of the core.", valueName: "all|inner|core"))
    var latents: Part = .all
    @Option(help: ArgumentHelp("Compare encoder or decoder vectors; default both.", valueName: "encoder|decoder"))
    var directions: Directions.Side?
    @Option(help: "Cosine from which on two latents are the same, for counting those that reappear.")
    var same: Double = 0.7
    @Flag(help: "Leave the optimal assignment out: it takes long beyond some ten thousand latents.")
    var noAssignment = false
    @Option(help: "Safetensors file for each latent's largest cosines and in how many others it reappears.")
    var out: String?
    @OptionGroup var output: OutputOptions

    enum Part: String, ExpressibleByArgument, CaseIterable { case all, inner, core }

    func validate() throws {
        guard saes.count >= 2 else { throw ValidationError("give two SAEs or more; it is \(saes.count)") }
        guard Set(saes).count == saes.count else { throw ValidationError("an SAE is named twice") }
        guard same > 0, same <= 1 else { throw ValidationError("--same is \(same); it must be above 0 and at most 1") }
    }

    func run() throws {
        output.apply()
        Interruption.install(advice: "interrupted; run the same command again")
        try Surroundings.prepareToCompute(advice: "compare fewer latents, with --latents")
        if latents == .inner, let core = saes.first(where: isCore) {
            throw ValidationError("\(core) is a core and has no prefixes; leave --latents inner out")
        }
        if let out { try OutputPlace.requireFile(out, reading: saes) }
        let sides = directions.map { [$0] } ?? (saes.contains(where: isCore) ? [.encoder] : [.encoder, .decoder])
        if sides.contains(.decoder), let core = saes.first(where: isCore) {
            throw ValidationError("\(core) has encoder vectors only; leave --directions decoder out")
        }
        var report = Report(saes: saes, same: same, sides: [])
        var writer = SafetensorsWriter(
            metadata: try origin(
                saes.enumerated().map { ("SAE \($0)", isCore($1) ? [$1] : SAEFormats.files($1)) },
                ["same": "\(same)", "latents": latents.rawValue]))
        var dIn: Int?
        for side in sides {
            let sets = try saes.map { try vectors(of: $0, side, dIn: &dIn) }
            report.sides.append(try compare(sets, side, &writer))
        }
        if let out { try writer.write(to: out) }
        if output.json { return print(try JSONRecord.text(report)) }
        report.lines.forEach { print($0) }
    }

    private func isCore(_ path: String) -> Bool { lastComponent(path) == "core.json" }

    private func vectors(of path: String, _ side: Directions.Side, dIn: inout Int?) throws -> Directions {
        let rows: Matrix
        if isCore(path) {
            rows = try Core.encoderRows(at: path, dIn: dIn)
        } else {
            let sae = try SAEFormats.read(path).sae
            let all = side == .encoder ? sae.encoder : sae.decoder
            let count =
                switch latents {
                case .all: sae.dSAE
                case .inner: sae.layout.innermost
                case .core: sae.layout.coreCount
                }
            guard count > 0 else {
                throw ValidationError("\(path) has no core; leave --latents core out, or give a core.json")
            }
            rows = all.copy(rows: 0..<count)
        }
        guard dIn == nil || dIn == rows.columns else {
            throw ValidationError(
                "\(path) is of a residual stream of \(rows.columns) numbers, and \(saes[0]) of one of \(dIn ?? 0); compare SAEs "
                    + "of one model")
        }
        dIn = rows.columns
        guard rows.isFinite else {
            throw TensorFileError.unusable(
                file: path, what: "its \(side.rawValue) holds NaN or infinity", next: "check how it was made")
        }
        let directions = Directions(rows)
        guard !directions.latents.isEmpty else {
            throw TensorFileError.unusable(
                file: path, what: "its \(side.rawValue) vectors are all 0", next: "check how it was made")
        }
        return directions
    }

    private func compare(
        _ sets: [Directions], _ side: Directions.Side, _ writer: inout SafetensorsWriter
    ) throws -> SideReport {
        var result = SideReport(side: side, pairs: [], sets: [])
        var counts = sets.map { [Int64](repeating: 0, count: $0.latents.count) }
        for (i, a) in sets.enumerated() {
            for j in (i + 1)..<sets.count {
                let b = sets[j], pairs = min(a.latents.count, b.latents.count)
                Terminal.shared.begin("compare \(i) and \(j), \(side.rawValue)", total: pairs, unit: "latents")
                defer { Terminal.shared.end() }
                let match = try DirectionMatch(a, b, assigning: !noAssignment) {
                    try Interruption.request.check()
                    Terminal.shared.advance(by: 1, detail: "")
                }
                result.pairs.append(PairReport(i, j, match))
                for (own, other, best) in [(i, j, match.best), (j, i, match.bestBack)] {
                    for (at, found) in best.enumerated() where Double(found.cosine) >= same { counts[own][at] += 1 }
                    let name = "\(side.rawValue).\(own).in.\(other)"
                    writer.add(name + ".cosine", best.map(\.cosine))
                    writer.add(name + ".latent", integers: best.map { Int64(sets[other].latents[$0.index]) })
                }
            }
        }
        for (i, set) in sets.enumerated() {
            let chance = try DirectionMatch(
                set, .random(set.latents.count, dIn: set.rows.columns, seed: 1), assigning: false)
            result.sets.append(SetReport(latents: set.latents.count, counts[i], others: sets.count - 1, chance))
            writer.add("\(side.rawValue).\(i).latents", integers: set.latents.map(Int64.init))
            writer.add("\(side.rawValue).\(i).reappears", integers: counts[i])
        }
        return result
    }
}

/// What `stability` found.
private struct Report: Encodable {
    var saes: [String]
    var same: Double
    var sides: [SideReport]

    var lines: [String] {
        saes.enumerated().map { "\($0): \($1)" }
            + sides.flatMap { side in
                ["", "\(side.side.rawValue) vectors"] + side.pairLines + [""] + side.setLines(same)
            }
    }
}

private struct SideReport: Encodable {
    var side: Directions.Side
    var pairs: [PairReport]
    var sets: [SetReport]

    var pairLines: [String] {
        var table = TextTable([("pair", 8), ("MMCS there", 10), ("back", 6), ("MCC", 6), ("≥ 0.7", 6), ("≥ 0.9", 6)])
        func shown(_ value: Double?) -> String { value.map { decimals($0, 3) } ?? "-" }
        for pair in pairs {
            table.add(
                ["\(pair.a), \(pair.b)"]
                    + [pair.mmcs, pair.mmcsBack, pair.mcc, pair.share07, pair.share09].map(shown))
        }
        let all = pairs.compactMap(\.mcc)
        guard all.count > 1 else { return table.lines }
        return table.lines + ["PW-MCC \(decimals(all.reduce(0, +) / Double(all.count), 3))"]
    }

    func setLines(_ same: Double) -> [String] {
        var table = TextTable([
            ("SAE", 8), ("latents", 8), ("in all others", 13), ("in some", 8), ("in none", 8), ("MMCS by chance", 14),
        ])
        for (i, set) in sets.enumerated() {
            table.add(
                ["\(i)", "\(set.latents)", "\(set.inAll)", "\(set.inSome)", "\(set.inNone)", decimals(set.chance, 3)])
        }
        return table.lines + ["Latents with a cosine of at least \(same) with one of the others."]
    }
}

private struct PairReport: Encodable {
    var a: Int
    var b: Int
    /// Mean largest cosine of a's latents in b.
    var mmcs: Double?
    var mmcsBack: Double?
    var mcc: Double?
    var share07: Double?
    var share09: Double?

    init(_ a: Int, _ b: Int, _ match: DirectionMatch) {
        (self.a, self.b) = (a, b)
        (mmcs, mmcsBack, mcc) = (match.meanBest, match.meanBestBack, match.meanMatched)
        (share07, share09) = (match.shareMatched(atLeast: 0.7), match.shareMatched(atLeast: 0.9))
    }
}

private struct SetReport: Encodable {
    var latents: Int
    var inAll: Int
    /// In one at least, and not in all.
    var inSome: Int
    var inNone: Int
    /// Mean largest cosine with as many random directions.
    var chance: Double

    init(latents: Int, _ counts: [Int64], others: Int, _ chance: DirectionMatch) {
        self.latents = latents
        inAll = counts.count { $0 == others }
        inNone = counts.count { $0 == 0 }
        inSome = counts.count - inAll - inNone
        self.chance = chance.meanBest
    }
}

extension Directions.Side: ExpressibleByArgument {}
