import Attribution
import Distillation
import Foundation
import Reports
import TensorFiles
import TestSupport
import Testing

/// Files of `dmsae eval` on the pages of runs: that each stands with its SAE, and what differences come to.
@Suite struct EvaluationsTests {
    private let written: WrittenSweep

    /// Two runs, of a distilled, a plain and a random SAE each.
    init() throws {
        written = try WrittenSweep(over: ["distill.tau=0.9,0.5"], seeds: 1)
        for point in 0..<2 {
            try written.finish(
                point, carried: 4,
                scores: [("dmsae", "distilled", 0.95), ("baseline", "none", 0.96), ("random", "random", 0.94)])
        }
    }

    private func core(_ point: Int, _ trial: String, score: Double, tokens: Int = 8192) throws -> String {
        """
        {"eval_type_id": "core", "eval_config": {"context_size": 128}, "eval_result_metrics": {
        "model_behavior_preservation": {"kl_div_score": 0.97, "kl_div_with_ablation": 9, "kl_div_with_sae": 0.3},
        "model_performance_preservation": {"ce_loss_score": \(score), "ce_loss_with_ablation": 10, "ce_loss_with_sae": 3,
        "ce_loss_without_sae": 2.9},
        "reconstruction_quality": {"explained_variance": 0.86, "explained_variance_legacy": null, "mse": 1, "cossim": 0.96},
        "shrinkage": {"l2_norm_in": 1, "l2_norm_out": 1, "l2_ratio": 1, "relative_reconstruction_bias": 1},
        "sparsity": {"l0": 127.96, "l1": 3}, "token_stats": {"total_tokens_eval_reconstruction": 1,
        "total_tokens_eval_sparsity_variance": 1},
        "misc_metrics": {"freq_over_1_percent": 0, "freq_over_10_percent": 0, "normalized_freq_over_1_percent": 0,
        "normalized_freq_over_10_percent": 0, "average_max_encoder_cosine_sim": 0, "average_max_decoder_cosine_sim": 0,
        "frac_alive": 0.5}},
        "eval_result_unstructured": {"dmsae": {"settings": {"SAE sae_weights.safetensors.sha256":
        "\(try written.hash(point, trial))", "tokens": "\(tokens)"}, "sequences": 64, "tokens": 8000, "draws": 200, "intervals":
        {"ce_loss_score": {"value": \(score), "low": \(score - 0.003), "high": \(score + 0.003)}},
        "explained_variance_of_sae_bench_0_6": 0.99, "density_histogram": {"log10_edges": [-1, 0], "core": [1], "non_core": [1],
        "dead_core": 0, "dead_non_core": 0}}}}
        """
    }

    /// Areas of one latent and of both, task by task.
    private func probes(_ point: Int, _ trial: String, _ areas: [Double]) throws -> String {
        let mean = Interval(meanOf: areas)
        let (low, high) = (mean.low, mean.high)
        let means = ["1", "2"].map {
            #"{"set": "all", "k": \#($0), "tasks": 3, "test_auc": {"value": \#(mean.value), "low": \#(low), "high": \#(high)}}"#
        }
        let tasks = areas.enumerated().map { i, area in
            #"{"task": "t\#(i)", "train": 10, "dense": 0.9, "sets": {"all": {"1": \#(area), "2": \#(area)}}}"#
        }
        return """
            {"settings": {"SAE.sha256": "\(try written.hash(point, trial))", "seed": "0"}, "differences": [],
            "means": [\(means.joined(separator: ","))], "tasks": [\(tasks.joined(separator: ","))]}
            """
    }

    private func put(_ text: String, _ name: String, point: Int = 0) throws -> String {
        let path = try written.run(point) + "/evaluations/" + name
        try createFolder(parentFolder(of: path))
        try AtomicFile.write(text, to: path)
        return path
    }

    private func report(_ paths: [String] = []) throws -> RunReport {
        try RunReport(folder: written.run(0), evaluations: paths)
    }

    private func rows(_ markdown: String, of name: String) -> [String] {
        markdown.split(separator: "\n").map(String.init).filter { $0.hasPrefix("| \(name) |") }
    }

    @Test func anEvaluationStandsWithItsSAE() throws {
        #expect(try !report().html().contains("id=\"evaluations\""))
        _ = try put(core(0, "baseline", score: 0.97), "b.json")
        // In another folder, and named for another SAE: only the record counts.
        let outside = written.folder.file("baseline.json")
        try AtomicFile.write(try core(0, "dmsae", score: 0.96), to: outside)
        let page = try report([outside]), html = page.html(), markdown = page.evaluations.markdown
        #expect(html.contains("id=\"evaluations\"") && MarkUp(html).faults.isEmpty)
        // Trials stand in the order of the recipe; L0 has no interval here.
        let own = "| dmsae, k = 12 | 0.960 [0.957, 0.963] | 0.970 | 0.860 | 0.960 | 128.0 | 0.500 |"
        #expect(rows(markdown, of: "dmsae, k = 12") == [own], "\(markdown)")
        #expect(rows(markdown, of: "baseline, k = 12")[0].hasPrefix("| baseline, k = 12 | 0.970 [0.967, 0.973] |"))
        #expect(html.contains("<td>0.960<small>0.957 to 0.963</small></td>"))
        // Nothing pairs two evaluations of one seed that are no means over tasks.
        #expect(!markdown.contains("Differences") && !markdown.contains("All evaluations"))
        // The figure's numbers have the intervals.
        #expect(html.contains("point,&quot;dmsae, k = 12&quot;,CE score,0.96,0.957,0.963"))
    }

    @Test func probesAreHeldAgainstEachOtherTaskByTask() throws {
        _ = try put(probes(0, "dmsae", [0.6, 0.7, 0.8]), "dmsae/probes.json")
        _ = try put(probes(0, "baseline", [0.61, 0.73, 0.82]), "baseline/probes.json")
        _ = try put(core(0, "dmsae", score: 0.97), "dmsae.json")
        let page = try report(), markdown = page.evaluations.markdown
        // .01, .03 and .02: a mean of .02, a deviation of .01, and Student's t of 2 degrees is 4.3027.
        let half = 4.302653 * 0.01 / 3.0.squareRoot()
        let shown = "0.0200 [\(short(0.02 - half, 4)), \(short(0.02 + half, 4))]"
        let row = "| baseline, k = 12 less dmsae, k = 12 | \(shown) | \(shown) |"
        #expect(markdown.contains(row) && markdown.contains("Differences, paired by tasks"), "\(markdown)")
        // All evaluations side by side; what an SAE was not measured by is a dash.
        let overview = markdown.split(separator: "###")[0]
        #expect(overview.contains("| SAE | CE score | expl. variance | L0 | AUC, 1 | AUC, all |"), "\(overview)")
        #expect(overview.contains("| baseline, k = 12 | – | – | – | 0.720 ["))
        #expect(MarkUp(page.html()).faults.isEmpty)
    }

    private func absorption(_ trial: String, _ fractions: [Double]) throws -> String {
        let mean = Interval(meanOf: fractions)
        let interval = #"{"value": \#(mean.value), "low": \#(mean.low), "high": \#(mean.high)}"#
        let sets = ["all", "prefix 16", "prefix 32", "core"].map {
            #"{"set": "\#($0)", "latents": 64, "main_f1": \#(interval), "main_latents": \#(interval), "absorption_fraction": \#(interval), "full_absorption": \#(interval)}"#
        }
        let letters = zip("abc", fractions).map {
            #"{"first_letter": "\#($0)", "mean_absorption_fraction": \#($1), "full_absorption_rate": 0, "num_full_absorption": 0, "num_probe_true_positives": 9, "num_split_features": 1}"#
        }
        return """
            {"eval_type_id": "absorption_first_letter", "eval_config": {"max_k_value": 10}, "eval_result_metrics": {"mean": {
            "mean_absorption_fraction_score": 0, "mean_full_absorption_score": 0, "mean_num_split_features": 1,
            "std_dev_absorption_fraction_score": 0, "std_dev_full_absorption_score": 0, "std_dev_num_split_features": 0}},
            "eval_result_details": [\(letters.joined(separator: ","))], "eval_result_unstructured": {"dmsae": {"settings":
            {"SAE sae_weights.safetensors.sha256": "\(try written.hash(0, trial))"}, "train_words": 9, "test_words": 9,
            "spelled_words": 9, "summary": {"sets": [\(sets.joined(separator: ","))], "differences": [{"set": "core", "from": "all",
            "draws": 5, "main_f1": \(interval), "absorption_fraction": {"value": -0.24, "low": -0.34, "high": -0.14},
            "full_absorption": \(interval), "less_absorbed_letters": 3}], "groups": [], "letters": [], "words": []}}}}
            """
    }

    @Test func absorptionIsHeldAgainstTheOtherLetterByLetter() throws {
        _ = try put(absorption("dmsae", [0.6, 0.7, 0.8]), "dmsae.json")
        _ = try put(absorption("random", [0.61, 0.73, 0.82]), "random.json")
        let markdown = try report().evaluations.markdown
        // As for probes: letters are units as tasks are.
        let half = 4.302653 * 0.01 / 3.0.squareRoot()
        let row = "| random, k = 12 less dmsae, k = 12 | 0.0200 [\(short(0.02 - half, 4)), \(short(0.02 + half, 4))] |"
        #expect(markdown.contains(row) && markdown.contains("Differences, paired by letters"), "\(markdown)")
        for part in [
            "Of all latents", "Of the first prefix alone", "Of main latents of the core", "−0.240 [−0.340, −0.140]",
        ] {
            #expect(markdown.contains(part), "\(part)")
        }
    }

    @Test func knownFeaturesAreShownWithTheirControls() throws {
        func set(_ worth: Double, chance: String = "") -> String {
            #"{"latents": 21, "matched": 1, "features": 21, "useful_found": 0.81, "usefulness": \#(worth)\#(chance)}"#
        }
        _ = try put(
            """
            {"origin": {"SAE sae_weights.safetensors.sha256": "\(try written.hash(0, "dmsae"))", "tokens": "2048"}, "findings": {
            "tokens": 2048, "true_l0": 8, "sae_l0": 7.96, "dead_latents": 0, "shrinkage": 1, "explained_variance": 0.9, "mcc": 0.775,
            "uniqueness": 0.6, "classification": {"precision": 1, "recall": 1, "f1_score": 0.7, "accuracy": 1}, "sets": {"core":
            \(set(0.95, chance: #", "chance": {"mean": 0.1, "low": 0.03, "high": 0.2}"#)), "most frequent": \(set(0.84))}}}
            """, "dmsae.json")
        let markdown = try report().evaluations.markdown
        #expect(markdown.contains("| dmsae, k = 12 | 0.775 | 0.600 | 0.700 | 0.900 | 8.0 |"), "\(markdown)")
        #expect(markdown.contains("| dmsae, k = 12 | 1.000 | 0.810 | 0.950 | 0.100 [0.030, 0.200] |"), "\(markdown)")
        #expect(markdown.contains("**Of as many most frequent latents**"))
    }

    /// Both runs are draws of each trial: means over them, and differences run by run.
    @Test func pooledRunsAreDrawsOfOne() throws {
        let written = try WrittenSweep(over: ["distill.tau=0.9,0.5,0.7"], seeds: 1)
        for point in 0..<3 {
            try written.finish(point, carried: 4, scores: [("dmsae", "distilled", 0.9), ("baseline", "none", 0.9)])
        }
        let (own, plain) = ([0.5, 0.6, 0.7], [0.4, 0.7, 0.9])
        for point in 0..<3 {
            for (trial, worth) in [("dmsae", own[point]), ("baseline", plain[point])] {
                // Each run has a world of its own.
                let text = """
                    {"origin": {"SAE.sha256": "\(try written.hash(point, trial))", "world.sha256": "\(point)"}, "findings": {"tokens": 1,
                    "true_l0": 8, "sae_l0": 8, "dead_latents": 0, "shrinkage": 1, "mcc": \(worth), "uniqueness": 0.5,
                    "classification": {"precision": 1, "recall": 1, "f1_score": 0.5, "accuracy": 1}, "sets": {}}}
                    """
                let place = try written.run(point) + "/evaluations"
                try createFolder(place)
                try AtomicFile.write(text, to: place + "/\(trial).json")
            }
        }
        let folders = try (0..<3).map { try written.run($0) }
        let apart = try RunsReport(folders: folders).evaluations.markdown
        #expect(apart.contains("(world.sha256 2…)") && apart.contains("| point-0002 | baseline, k = 12 | 0.900 |"))
        let markdown = try RunsReport(folders: folders, pooled: true).evaluations.markdown
        let mean = Interval(meanOf: own), less = Interval(meanOf: zip(plain, own).map { $0 - $1 })
        func text(_ interval: Interval, _ places: Int) -> String {
            "\(short(interval.value, places)) [\(short(interval.low, places)), \(short(interval.high, places))]"
        }
        #expect(markdown.contains("| dmsae, k = 12 | \(text(mean, 3)) |"), "\(markdown)")
        #expect(markdown.contains("| baseline, k = 12 less dmsae, k = 12 | \(text(less, 4)) |"), "\(markdown)")
        #expect(markdown.contains("Differences, paired by run") && !markdown.contains("sha256"))
    }

    @Test func oneOfAnotherRunIsRefused() throws {
        let path = try put(core(1, "dmsae", score: 0.97), "core.json")
        let hash = try written.hash(1, "dmsae").prefix(12)
        #expect { try report() } throws: { error in
            "\(error)".contains(path)
                && "\(error)".contains("SHA-256 \(hash)…) that is none of \((try? written.run(0)) ?? "")")
        }
        // Of both runs it is fine if it is named, and not where it lies in the folder of one that it is not of.
        let both = [try written.run(0), try written.run(1)]
        #expect(throws: TensorFileError.self) { try RunsReport(folders: both) }
        let elsewhere = written.folder.file("core.json")
        try AtomicFile.write(try core(1, "dmsae", score: 0.97), to: elsewhere)
        try FileManager.default.removeItem(atPath: path)
        let markdown = try RunsReport(folders: both, evaluations: [elsewhere]).evaluations.markdown
        #expect(markdown.contains("| point-0001 | dmsae, k = 12 | 0.970"), "\(markdown)")
    }

    @Test func twoOfTheSameAreRefusedAndOtherSettingsApart() throws {
        _ = try put(core(0, "dmsae", score: 0.97), "a.json")
        let twin = try put(core(0, "dmsae", score: 0.97), "b.json")
        #expect { try report() } throws: { error in
            "\(error)".contains("b.json: it measures the same of the same SAE as") && "\(error)".contains("a.json")
        }
        try AtomicFile.write(try core(0, "dmsae", score: 0.975, tokens: 4096), to: twin)
        let markdown = try report().evaluations.markdown
        #expect(
            markdown.contains("### Core metrics (tokens 8192)") && markdown.contains("### Core metrics (tokens 4096)"))
    }

    @Test func whatIsNoEvaluationIsNamed() throws {
        for (text, what) in [
            ("{", "b.json"), ("[]", "it is no evaluation"), (#"{"eval_type_id": "ravel"}"#, "of the kind \"ravel\""),
            (#"{"eval_type_id": "core"}"#, "it does not say of which SAE's files it is"),
            (
                try core(0, "dmsae", score: 0.9).replacing("\"sparsity\"", with: "\"Sparsity\""),
                "\"sparsity\" is missing"
            ),
            (
                try core(0, "dmsae", score: 0.9).replacing("SAE sae_weights", with: "sae_weights"),
                "the SHA-256 of the SAE that it is of is missing"
            ),
            (
                try probes(0, "dmsae", [0.5, 0.5, 0.5]).replacing(
                    "\"differences\"", with: "\"more\": 1, \"differences\""),
                "\"more\" is no key of it"
            ),
        ] {
            let path = try put(text, "b.json")
            #expect { try report() } throws: { "\($0)".contains(path) && "\($0)".contains(what) }
        }
    }

    /// What sae-probes would write lies there before the summary does.
    @Test func probesThatAreNotFinishedArePassedOver() throws {
        _ = try put("[]", "dmsae/baseline_results_m/normal_setting/t_l2.json")
        _ = try put(core(0, "dmsae", score: 0.97), "core.json")
        #expect(try report().evaluations.markdown.contains("0.970"))
    }
}
