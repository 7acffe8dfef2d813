import ArgumentParser
import Attribution
import Distillation
import Glibc
import LanguageModeling
import PluginHost
import Reports
import TensorFiles

/// `dmsae compare`: several scorers on one SAE.
struct CompareCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare", abstract: "Compare attribution methods on one SAE and the same tokens.",
        discussion: """
            The model runs once for all scorers. Writes comparison.json, comparison.safetensors (every score) and \
            report.html into the folder --out, and goes on where an interrupted comparison stopped. Intervals hold 95 of 100 \
            results from sequences drawn again with replacement. The first scorer is the one that the table compares others with.

            The table: latents in the core at --tau; Spearman's ρ and the cores' Jaccard with the first scorer; ρ between two \
            random halves of the sequences; removal area and kept area, under the curve of the loss that removing the top n \
            latents adds and above that of keeping only them, over log n, larger for a better ranking; how often latents of the \
            core fire; seconds.

            Example: dmsae compare --model smollm2.gguf --sae sae --tokens ids.safetensors --scorer gxa \
            --scorer ablation,draws=4 --scorer ig --scorer frequency --scorer random --out comparison
            """)

    @OptionGroup var input: ScoringInput
    @Option(help: "Scorer: a shipped name, a path to a .so, or path.so:ID; parameters after commas. Give two or more.")
    var scorer: [String]
    @Option(help: "How scores of tokens become one number a latent: quantile:Q, mean, rms, max or trimmed:P.")
    var aggregate = "quantile:0.99"
    @Option(help: "Aggregate over all scored tokens or over those where the latent is active.")
    var over: AggregateScope = .all
    @Flag(help: "Aggregate signed scores instead of absolute ones.")
    var signed = false
    @Option(help: "Fraction of all attribution that the core has where only one core is shown.")
    var tau = 0.9
    @Option(help: "Safetensors file with input_ids [B, T] for the loss curves; default the scored tokens.")
    var curveTokens: String?
    @Option(help: "Sequences of the loss curves, 2 or more; 0 for no curves.")
    var curveSequences = 8
    @Option(help: "Samples of sequences for the intervals.")
    var draws = 200
    @Option(help: "What they are drawn from.")
    var seed: UInt64 = 1
    @Option(help: "Latents of each core that the report shows.")
    var show = 6
    @Option(help: "Folder to write.")
    var out: String
    @OptionGroup var plugins: PluginOptions
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard scorer.count >= 2 else {
            throw ValidationError("a comparison needs two scorers or more; give --scorer again")
        }
        guard Set(scorer).count == scorer.count else { throw ValidationError("a scorer is given twice") }
        // One sequence drawn again is itself, and an interval without width would find every difference.
        guard curveSequences == 0 || curveSequences >= 2, show >= 0, (20...10_000).contains(draws) else {
            throw ValidationError(
                "--curve-sequences must be 0, or 2 or more for an interval, --show 0 or more, --draws 20 to 10000")
        }
    }

    func run() throws {
        output.apply()
        Interruption.install(advice: "interrupted; run the same command again to go on from \(out)")
        guard tau > 0 && tau <= 1 else { throw AttributionError.badFraction(tau) }
        var settings = Comparison.Settings()
        settings.aggregate = try Aggregate(aggregate)
        settings.scope = over
        settings.isSigned = signed
        settings.tau = tau
        settings.draws = draws
        settings.seed = seed
        try createFolder(out + "/parts")
        try AtomicFile.requireWritable(out + "/comparison.json")
        let loadedPlugins = try scorer.map { try plugins.scorer($0, output: out + "/comparison.json") }
        let loaded = try input.load()
        try requireSeveral(loaded.tokens, in: input.tokens)
        let curveBatch = try curves(loaded)
        var key = try input.key()
        key["scorers"] = zip(scorer, loadedPlugins).map { "\($0): \($1.identity)" }.joined(separator: "; ")

        let limit = try evaluationLimit(loaded)
        key["budget"] = limit.map(String.init) ?? "none"
        let pass = ComparisonPass(
            loaded.spliced,
            zip(scorer, loadedPlugins).map {
                ComparedScorer(label: $0, $1, budget: Terminal.evaluations(of: $0, limit: limit))
            },
            sequences: loaded.tokens.sequenceCount, length: loaded.tokens.length,
            means: loaded.means(step: input.sequences), clock: seconds)
        try score(pass, loaded, key: try JSONRecord.text(key, pretty: false))
        loaded.warnOfMisfit()
        for compared in pass.scorers {
            if let failure = compared.failure { Terminal.shared.warn("\(compared.label) is left out: \(failure)") }
        }
        let comparison = Comparison(pass, settings)
        key["settings"] = "\(aggregate) \(over) \(signed)"
        key["curves"] = try curveTokens.map { try SHA256.hexadecimal(ofFile: $0) } ?? "the scored tokens"
        key["curve sequences"] = "\(curveSequences)"
        var (points, counts, losses): ([String: CurvePoints], [Int], ComparisonRecord.CurveLosses) = ([:], [], .init())
        if let curveBatch {
            (points, counts, losses) = try curves(
                comparison, loaded, curveBatch, key: try JSONRecord.text(key, pretty: false))
        }
        Terminal.shared.begin("draw sequences again", total: draws, unit: "draws")
        var record = try comparison.record(curves: points, counts: counts) {
            try Interruption.request.check()
            Terminal.shared.advance(by: 1, detail: "")
        }
        Terminal.shared.end()
        record.curve_losses = losses
        record.about = about(loaded, loadedPlugins)
        record.peak_memory = peakMemory()
        record.summary = record.findings()
        let inspection = pass.inspection(sae: loaded.sae, tokenizer: loaded.tokenizer, tokens: loaded.tokens)
        record.latents = inspection.records(of: shown(record))
        try JSONRecord.write(record, to: out + "/comparison.json")
        try write(record, pass)
        try AtomicFile.write(ComparisonReport(record).html(), to: out + "/report.html")
        if output.json { return print(try JSONRecord.text(record)) }
        printTable(record)
    }

    /// The limit in forwards. Of a time it is kept, so that an interrupted comparison goes on with the same.
    private func evaluationLimit(_ loaded: ScoringInput.Loaded) throws -> Int? {
        guard let budget = input.budget else { return nil }
        let path = out + "/parts/budget.json"
        if case .time = budget, exists(path) {
            let kept = try JSONRecord.read([String: Int].self, from: path)
            if let limit = kept["\(budget)"] { return limit }
        }
        let limit = try budget.forwards(loaded)
        try JSONRecord.write(["\(budget)": limit], to: path)
        return limit
    }

    /// Runs the sequences that no part in the folder holds.
    private func score(_ pass: ComparisonPass, _ loaded: ScoringInput.Loaded, key: String) throws {
        Terminal.shared.begin("score", total: loaded.tokens.tokenCount, unit: "tokens")
        var number = 0
        while pass.sequencesSeen < loaded.tokens.sequenceCount {
            try Interruption.request.check()
            let first = pass.sequencesSeen
            let last = min(first + input.sequences, loaded.tokens.sequenceCount)
            let path = out + "/parts/scores-\(number).safetensors"
            number += 1
            if exists(path) {
                let part = try ComparisonPart(
                    path: path, key: key, scorers: scorer.count, latentCount: loaded.spliced.candidateCount,
                    length: loaded.tokens.length)
                guard part.sequences.lowerBound == first, part.sequences.upperBound <= loaded.tokens.sequenceCount
                else {
                    throw AttributionError.shardsDoNotFit(path: path, found: part.sequences, wanted: first)
                }
                pass.resume(part)
                Terminal.shared.advance(by: part.sequences.count * loaded.tokens.length, detail: "")
                continue
            }
            let part = try pass.run(try loaded.sample(first..<last)) { error in
                if case PluginError.cancelled = error { return true }
                return error is TensorFileError || error is LanguageModelError
            }
            try part.write(to: path, key: key)
            Terminal.shared.advance(by: (last - first) * loaded.tokens.length, detail: "")
        }
        Terminal.shared.end()
    }

    private func curves(_ loaded: ScoringInput.Loaded) throws -> TokenBatch? {
        guard curveSequences > 0 else { return nil }
        let batch = try curveTokens.map { try readTokens($0) } ?? loaded.tokens
        try requireSeveral(batch, in: curveTokens ?? input.tokens)
        return batch.sequences(0..<min(curveSequences, batch.sequenceCount))
    }

    private func requireSeveral(_ batch: TokenBatch, in path: String) throws {
        guard batch.sequenceCount >= 2 else {
            throw ValidationError(
                "\(path) holds one sequence, and intervals come from drawing sequences; give two or more")
        }
    }

    /// A method's points as they are kept between runs.
    private struct Kept: Codable {
        var key: String
        var points: CurvePoints
    }

    private func curves(
        _ comparison: Comparison, _ loaded: ScoringInput.Loaded, _ batch: TokenBatch, key: String
    ) throws -> ([String: CurvePoints], [Int], ComparisonRecord.CurveLosses) {
        let samples = try stride(from: 0, to: batch.sequenceCount, by: input.sequences).map {
            try loaded.sample(batch.sequences($0..<min($0 + input.sequences, batch.sequenceCount)))
        }
        let curves = try FaithfulnessCurves(loaded.spliced, samples: samples, policy: loaded.policy)
        let inner = curves.counts.dropFirst().dropLast()
        Terminal.shared.begin(
            "curves", total: (3 + comparison.orders.count * inner.count * 2) * curves.tokenCount, unit: "tokens")
        func point(_ order: [Int], _ n: Int, removed: Bool, _ name: String) throws -> FaithfulnessCurves.SequenceLosses
        {
            try Interruption.request.check()
            defer { Terminal.shared.advance(by: curves.tokenCount, detail: name) }
            return try curves.losses(order, top: n, removed: removed)
        }
        let original = try curves.original()
        Terminal.shared.advance(by: curves.tokenCount, detail: "")
        let none = try point([], 0, removed: false, "no latents"),
            every = try point([], 0, removed: true, "all latents")
        var points: [String: CurvePoints] = [:]
        for (number, (name, order)) in comparison.orders.enumerated() {
            let path = out + "/parts/curves-\(number).json"
            if exists(path), let kept = try? JSONRecord.read(Kept.self, from: path), kept.key == key + name {
                points[name] = kept.points
                Terminal.shared.advance(by: curves.tokenCount * inner.count * 2, detail: name)
                continue
            }
            let kept = try inner.map { try point(order, $0, removed: false, name) }
            let removed = try inner.map { try point(order, $0, removed: true, name) }
            let own = CurvePoints(kept: [none] + kept + [every], removed: [every] + removed + [none])
            try JSONRecord.write(Kept(key: key + name, points: own), to: path)
            points[name] = own
        }
        Terminal.shared.end()
        let ones = [Int](repeating: 1, count: batch.sequenceCount)
        var losses = ComparisonRecord.CurveLosses()
        losses.sequences = batch.sequenceCount
        losses.held_out = curveTokens != nil
        losses.original = original.mean(ones)
        losses.every = every.mean(ones)
        losses.none = none.mean(ones)
        return (points, curves.counts, losses)
    }

    private func about(_ loaded: ScoringInput.Loaded, _ plugins: [any LoadedPlugin]) -> [ComparisonRecord.Fact] {
        [
            .init("model", lastComponent(input.model)), .init("SAE", lastComponent(input.sae)),
            .init("layer", "\(loaded.layer)"),
            .init("candidates", "\(loaded.spliced.candidateCount) of \(loaded.sae.dSAE)"),
            .init("spliced prefix", "\(loaded.spliced.splicedWidth)" + (input.errorTerm ? ", error term added" : "")),
            .init("tokens", "\(lastComponent(input.tokens)), \(loaded.tokens.sequenceCount) × \(loaded.tokens.length)"),
            .init("scorers", plugins.map { "\($0.name) \($0.version)" }.joined(separator: ", ")),
            .init("dmsae", DMSAE.version),
        ]
    }

    /// The first latents of every method's core, each once, in the methods' order.
    private func shown(_ record: ComparisonRecord) -> [Int] {
        var seen = Set<Int>()
        return record.methods.flatMap { method in
            (method.cores.first { $0.tau == 0.9 } ?? method.cores.last)?.latents.prefix(show) ?? []
        }.filter { seen.insert($0).inserted }
    }

    private func write(_ record: ComparisonRecord, _ pass: ComparisonPass) throws {
        var writer = SafetensorsWriter(metadata: ["methods": record.methods.map(\.name).joined(separator: "\n")])
        for method in record.methods { writer.add("scores.\(method.name)", doubles: method.scores) }
        pass.add(to: &writer)
        try writer.write(to: out + "/comparison.safetensors")
    }

    private func printTable(_ record: ComparisonRecord) {
        print(
            "\(record.candidates) candidates, \(record.scored_tokens) scored tokens of \(record.sequences) sequences; "
                + "core at τ = \(short(tau, 2)), intervals of 95% from \(draws) draws "
                + "of sequences\n")
        let width = max(6, record.methods.map(\.name.count).max() ?? 0)
        let first = record.methods.first?.name ?? ""
        func pair(_ name: String) -> ComparisonRecord.Pair? {
            record.pairs.first { $0.first == first && $0.second == name }
        }
        func show(_ interval: Interval?) -> String {
            guard let interval, !interval.value.isNaN else { return "-" }
            return "\(short(interval.value, 2)) [\(short(interval.low, 2)), \(short(interval.high, 2))]"
        }
        let heads = [
            ("core", 5), ("ρ with \(first)", 19), ("Jaccard", 17), ("ρ of halves", 17), ("removal area", 17),
            ("kept area", 17),
            ("fires", 6), ("seconds", 8),
        ]
        print(padRight("method", width) + heads.map { pad($0.0, $0.1 + 2) }.joined())
        for method in record.methods {
            let core = (try? CoreSelection(method.scores, fraction: tau).latents.count) ?? 0
            let cells = [
                "\(core)", show(pair(method.name)?.spearman), show(pair(method.name)?.jaccard),
                show(method.halves?.spearman), show(method.faithfulness?.removed_area),
                show(method.faithfulness?.kept_area),
                short(method.core_frequency.mean, 2), method.cost.map { short($0.seconds, 1) } ?? "-",
            ]
            print(padRight(method.name, width) + zip(cells, heads).map { pad($0, $1.1 + 2) }.joined())
        }
        print("")
        for sentence in record.summary { print(sentence) }
        print("\n\(out)/report.html")
    }

    private func pad(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: max(0, width - text.count)) + text
    }

    private func padRight(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }
}

/// Of a clock that only goes forward.
func seconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}

/// The largest resident memory of this process so far, MiB.
func peakMemory() -> Double {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return Double(usage.ru_maxrss) / 1024
}
