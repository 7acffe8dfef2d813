import Distillation
import Reports
import TensorFiles
import TestSupport

/// A sweep whose points were written and not run.
struct WrittenSweep {
    let folder = TemporaryFolder()
    var path: String { folder.file("sweep") }
    let sweep: Sweep

    init(over axes: [String], seeds: Int) throws {
        sweep = try Sweep(
            name: "r", recipe: "seed: 1\ndistill: {cycles: 1}\n", assignments: [],
            over: try axes.map { try SweepAxis($0) },
            seeds: seeds, lanes: 1)
        try createFolder(folder.file("sweep"))
        try JSONRecord.write(sweep, to: path + "/" + Sweep.fileName)
    }

    /// The folder of a point's run.
    func run(_ index: Int) throws -> String { path + "/" + (try sweep.point(index)).folder }

    /// SHA-256 of the weights of a point's trial.
    func hash(_ index: Int, _ trial: String) throws -> String {
        try SHA256.hexadecimal(ofFile: run(index) + "/final/k-12/\(trial)/sae_weights.safetensors")
    }

    private func write(_ text: String, _ name: String, _ point: SweepPoint) throws {
        let path = path + "/" + point.folder + "/" + name
        try createFolder(parentFolder(of: path))
        try AtomicFile.write(text, to: path)
    }

    private func sae(frozen: Int, score: Double) -> String {
        """
        {"deadLatents": 1, "frozenCore": \(frozen), "seed": 1, "width": 64, "evaluation": {"ce_loss_score": \(score),
        "ce_loss_with_ablation": 10, "ce_loss_with_sae": 3, "ce_loss_without_sae": 2, "cossim": 0.9, "explained_variance": 0.8,
        "explained_variance_legacy": 0.8, "frac_alive": 1, "l0": 12, "l0_core": \(frozen), "l0_non_core": 8, "l2_ratio": 1,
        "relative_reconstruction_bias": 1, "tokens": 100}}
        """
    }

    /// A point of two cycles: the core of the second has `carried` of four latents from the first, and trials have these scores.
    func finish(_ index: Int, carried: Int, scores: [(trial: String, core: String, score: Double)]?) throws {
        let point = try sweep.point(index)
        try write(
            """
            {"blasCore": "Haswell", "hashes": {}, "kernelLevel": 3, "lanes": 1, "model": "m", "recipe": {"layer": "1", "seed":
            "\(point.recipe.seed)", "distill.cycles": "1", "distill.tau": "\(point.recipe.tau)"}, "rule": "batchtopk", "scorer": "s", "seeds": [1], "version": "0"}
            """, "run.json", point)
        let run = path + "/" + point.folder
        let identity = try JSONRecord.read(RunRecord.self, from: run + "/run.json").identity
        var (cycles, last) = ([String](), "")
        for (t, born) in [[0, 0, 0, 0], (0..<5).map { $0 < carried ? 0 : 1 }].enumerated() {
            let kept = t == 0 ? 0 : carried
            cycles.append(
                """
                {"candidates": 16, "carriedOver": \(kept), "coreSize": \(born.count), "coverage": 0.5, "cycle": \(t),
                \(t == 0 ? "" : #""jaccard": 0.5,"#) "sae": \(sae(frozen: t == 0 ? 0 : 4, score: 0.9))}
                """)
            try write(cycles[t], "cycle-\(t)/metrics.json", point)
            let latents = born.enumerated().map { i, b in
                #"{"index": \#(i), \#(b < t ? #""previousIndex": \#(i),"# : "") "born": \#(b), "selectedIn": [\#(b)], "score": 1}"#
            }
            func core(_ latents: [String]) -> String {
                #"{"cycle": \#(t), "candidates": 16, "coverage": 0.5, "previousSize": 0, "latents": [\#(latents.joined(separator: ","))]}"#
            }
            if t == 1, scores != nil { try write(core(Array(latents.prefix(carried))), "final/core.json", point) }
            try write(core(latents), "cycle-\(t)/core.json", point)
            try write("\(point.index) \(t)", "cycle-\(t)/sae/sae_weights.safetensors", point)
            last = try StepMark.write(
                ["metrics.json", "core.json", "sae/sae_weights.safetensors"], of: run + "/cycle-\(t)", run: identity,
                after: last)
        }
        var log = #"{"event": "run", "identity": "\#(identity)"}"# + "\n"
        func train(_ name: String, core: Double) {
            for step in [0, 10, 20] {
                log +=
                    #"{"event": "step", "run": "\#(name)", "record": {"step": \#(step), "meanActiveCore": \#(core), "prefixLosses": [1]}}"#
                    + "\n"
            }
        }
        train("cycle-0", core: 0)
        train("cycle-1", core: Double(carried))
        let trials = try (scores ?? []).map { trial, core, score in
            let plan = #"{"name": "\#(trial)", "core": "\#(core)", "k": 12, "seed": 1, "tokens": 640}"#
            let sae = sae(frozen: core == "none" ? 0 : carried, score: score)
            try write(plan, "final/k-12/\(trial)/trial.json", point)
            try write(sae, "final/k-12/\(trial)/metrics.json", point)
            try write("\(point.index) \(trial)", "final/k-12/\(trial)/sae_weights.safetensors", point)
            try StepMark.write(
                ["metrics.json", "trial.json", "sae_weights.safetensors"], of: run + "/final/k-12/" + trial,
                run: identity, after: last)
            train("final/k-12/" + trial, core: core == "none" ? 0 : Double(carried))
            return #"{"trial": \#(plan), "sae": \#(sae)}"#
        }
        try write(log, "events.jsonl", point)
        guard scores != nil else {
            return try JSONRecord.write(SweepFailure(error: "it failed"), to: path + "/" + point.failure)
        }
        try write(
            #"{"coreSize": \#(carried), "cycles": [\#(cycles.joined(separator: ","))], "trials": [\#(trials.joined(separator: ","))]}"#,
            "result.json", point)
    }
}
