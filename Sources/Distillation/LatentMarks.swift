import Attribution

extension LatentMark {
    /// Marks by latent, of every latent that a core has or that some method scored.
    ///
    /// A method's name that comes twice gets the number of the one that it is of its name, so that none is lost.
    public static func marks(core: [CoreLatent], scores: [MethodScores]) -> [Int: LatentMark] {
        var marks: [Int: LatentMark] = [:]
        for (place, latent) in core.enumerated() {
            var mark = LatentMark()
            (mark.core_rank, mark.born, mark.selected_in) = (place + 1, latent.born, latent.selectedIn)
            mark.scores["core.json"] = latent.score
            marks[latent.index] = mark
        }
        var times: [String: Int] = [:]
        for method in scores {
            times[method.name, default: 0] += 1
            let name = times[method.name] == 1 ? method.name : "\(method.name) (\(times[method.name] ?? 0))"
            // NaN stands for latents of which a method says nothing.
            for (latent, value) in method.values.enumerated() where value.isFinite {
                marks[latent, default: LatentMark()].scores[name] = value
            }
        }
        return marks
    }
}
