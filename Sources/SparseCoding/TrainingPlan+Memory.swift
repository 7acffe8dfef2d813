import LinearAlgebra

extension TrainingPlan {
    /// What a training takes at its largest, while the SAE is written: to be asked for before anything is made.
    ///
    /// With F latents of D inputs, B tokens a step, L lanes and n prefixes, in bytes:
    /// parameters, gradients and both moments 4·8·F·D, the copy that is written 4·F·D; of R ranks this is rank 0's, 4·8·F·D/R, and all
    /// parameters, which it begins with and writes, 8·F·D, with what the ranks bring together; a few counters a latent and
    /// lane; two batches, a tile of pre-activations a lane and the panels of n + 3 matrices [B, 64] a lane; k·B entries
    /// as candidates, by token and by latent, once a lane, and a run of candidates for each token and tile; and what
    /// revives dead latents: D/2 of them a token, and the room of those they are chosen from.
    ///
    /// - Parameters:
    ///   - dIn: D.
    ///   - layout: F and n.
    ///   - k: mean active latents a token.
    ///   - batch: B.
    ///   - copies: SAEs of the same size in memory besides.
    ///   - ranks: R, among which the latents are cut.
    ///   - lanes: L.
    ///   - advice: what the user can lower, in the words of the command.
    public static func memory(
        dIn: Int, layout: PrefixLayout, k: Double, batch: Int, copies: Int = 0, ranks: Int = 1,
        lanes: Int = Lanes.shared.count,
        advice: String = "lower --width or --batch"
    ) -> MemoryNeed {
        let width = layout.latentCount
        var need = MemoryNeed(
            "training \(width) latents of \(dIn) inputs on batches of \(batch) needs",
            advice: advice)
        // Each group is cut, and of what does not divide a rank has one more.
        let share = ranks == 1 ? width : width / ranks + layout.prefixes.count
        need.add("parameters, gradients and moments", 32, share, dIn)
        need.add("parameters, gradients and moments", (ranks > 1 ? 8 : 4) + 8 * copies, width, dIn)
        need.add("parameters, gradients and moments", 64 + 24 * lanes, width)
        if ranks > 1 {
            need.add("reconstructions of all ranks", 8 * (layout.prefixes.count + 1), batch, dIn)
            // Of each a matrix at a time. At the worst each offers as many candidates as all may keep.
            need.add("rows of another rank", 8, share, dIn)
            need.add("candidates of all ranks", 40 * ranks, Int(min(Double(width), max(0, k)).rounded(.up)), batch)
        }
        need.add("batches", 8, batch, dIn)
        need.add("batches", 4 * lanes, PreactivationTiles.rows, PreactivationTiles.latents)
        need.add("batches", 4 * lanes * (layout.prefixes.count + 3), batch, min(64, dIn))
        // A core fires as it likes; half of it on every token is more than any did.
        let active = min(Double(width), max(0, k.isFinite ? k : Double(width)) + Double(layout.coreCount) / 2)
        need.add("selected entries", 24 + 28 * lanes, batch, Int(active.rounded(.up)))
        need.add("selected entries", 16, batch, (width + PreactivationTiles.latents - 1) / PreactivationTiles.latents)
        need.add("dead latents", 16, batch, RowCandidates.room(for: min(width, dIn + 128)))
        need.add("dead latents", 16 + 4 * lanes, batch, min(width, dIn / 2))
        return need
    }
}
