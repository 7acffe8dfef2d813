/// Seconds that the parts of a run take here: those of one token, or of one step of a training.
public struct Pace: Sendable {
    /// Of the model up to the hook point.
    let model: Double
    /// Rows to train on among the tokens, a share.
    let kept: Double
    /// A step of a training, by k.
    let steps: [Double: Double]
    let scoring: Double
    let evaluation: Double

    /// What a part of a run takes.
    func seconds(of part: SweepPart, _ recipe: Recipe) -> Double {
        let step = steps[part.k] ?? steps[recipe.k] ?? 0
        // A row of a live training is made for it.
        let rows = recipe.isLive ? Double(recipe.batch) / kept * model : 0
        return Double(part.harvested) * model + Double(part.steps) * (step + rows)
            + Double(part.evaluated) * evaluation + Double(part.scored) * scoring
    }
}
