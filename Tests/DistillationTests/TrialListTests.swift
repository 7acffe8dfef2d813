import Distillation
import SparseCoding
import TestSupport
import Testing

/// `final.trials`, as people write it.
@Suite struct TrialListTests {
    private func trials(_ text: String) throws -> [Trial] {
        var recipe = Recipe()
        try recipe.set("final.trials=" + text)
        return recipe.resolvedTrials
    }

    private func refusal(_ text: String) -> String {
        message {
            var recipe = Recipe()
            try recipe.set("final.trials=" + text)
            try recipe.validate()
        }
    }

    @Test func everyWayToWriteATrialIsTheSameTrial() throws {
        var other = Trial("other", core: .random)
        other.seed = 2
        for text in [
            "random,name=other,seed=2", "{core: random, name: other, seed: 2}",
            "[{name: other, seed: 2, core: random}]",
            "[\"core=random,name=other,seed=2\"]",
        ] { #expect(try trials(text) == [other], "\(text)") }
        #expect(try trials("[dmsae, baseline]") == trials("[distilled, none]"))
        #expect(try trials("[{name: unit}]") == [Trial(core: .directions)])
        #expect(try trials("[cycle:1, cycle:2]").map(\.name) == ["cycle-1", "cycle-2"])
        #expect(try trials("pooled:a,b,c,name=x") == [Trial("x", core: .pooled(["a", "b", "c"]))])
        #expect(try trials("file:/a/k=3/core.json") == [Trial(core: .file("/a/k=3/core.json"))])
        #expect(try trials("auto").map(\.name) == ["dmsae", "baseline"])
    }

    @Test func aTypoIsRefusedWithTheNearestWord() {
        for (text, meant) in [
            ("[rnadom]", "(did you mean \"random\"?)"), ("[dmse]", "(did you mean \"dmsae\"?)"),
            ("[fle:/x]", "(did you mean \"file:\"?)"),
            ("random,sead=3", "and not \"sead\"; did you mean \"seed\"?"),
            ("{core: random, tokenz: 3}", "and not \"tokenz\"; did you mean \"tokens\"?"),
        ] {
            let text = refusal(text)
            #expect(text.hasPrefix("recipe key final.trials is \"") && text.hasSuffix(meant), "\(text)")
        }
    }

    @Test func whatCannotWorkIsRefusedByTrialAndValue() {
        for (text, says) in [
            (
                "[random, random]",
                "recipe key final.trials (random) name is \"random\"; it must be the name of one trial only; give the other a "
                    + "name of its own"
            ),
            ("[]", "recipe key final.trials is \"0 trials\"; it must be a list of 1 to 1000"),
            (
                "[[dmsae]]",
                "recipe key final.trials is \"[dmsae]\"; it must be auto or a list of trials, each dmsae, baseline"
            ),
            (
                "{core: random, seed: many}",
                "is \"{core: random, seed: many}\"; it must be a trial whose seed, \"many\", is a"
            ),
            ("random,seed=-1", "recipe key final.trials (random) seed is \"-1\"; it must be 0 or more"),
            ("random,name=../x", "name is \"../x\"; it must be 1 to 64 letters"),
            ("cycle:8", "recipe key final.trials (cycle-8) core is \"cycle:8\"; it must be one of the cycles 0 to 7"),
            ("pooled:a", "core is \"pooled:a\"; it must be two SAEs or more, each once"),
            ("pooled:a,a", "two SAEs or more, each once"),
            ("none,budget=total", "core is \"none\"; it must be one that budget and core_mode can be about"),
            ("none,k=5000", "recipe key final.trials (baseline) k is \"5000\"; it must be at most the 4096 latents"),
            (
                "none,tokens=2047",
                "(baseline) tokens is \"2047\"; it must be at least two batches of 1024 (train.batch)"
            ),
            ("none,tokens=all", "a trial whose tokens, \"all\", is total-compute or a whole number"),
            ("none,core=random", "it must be a trial with one core"),
            ("seed=3", "it must be a trial whose core is one of dmsae, baseline, none"),
        ] {
            let found = refusal(text)
            #expect(found.contains(says), "\(text): \(found)")
        }
        var recipe = Recipe()
        recipe.randomCore = true
        recipe.trials = TrialList([Trial(core: .distilled)])
        #expect(
            message { try recipe.validate() }
                == "recipe key final.random_core is \"true\"; it must be false where final.trials are given; add random to them"
        )
        recipe = Recipe()
        recipe.thresholdStart = 500
        var short = Trial("short", core: .none)
        short.tokens = .count(100 * 1024)
        recipe.trials = TrialList([short])
        #expect(message { try recipe.validate() }.contains("more than train.threshold_start + 1 (501) steps of 1024"))
    }
}
