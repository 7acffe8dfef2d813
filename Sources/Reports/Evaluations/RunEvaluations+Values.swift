import Attribution

extension RunEvaluations.Group {
    /// Every measure that some SAE has, in the order of the first that has it.
    var measures: [EvaluationMeasure] {
        let all = files.flatMap { $0.byDraw.sorted { $0.key < $1.key }.map(\.value) }
        return all.flatMap(\.measures).map(\.measure).distinct
    }

    private func values(
        _ measure: EvaluationMeasure, of subject: RunEvaluations.Subject
    ) -> [RunEvaluations.Draw: EvaluatedMeasure] {
        let own = files.first { $0.subject == subject }?.byDraw ?? [:]
        return own.compactMapValues { file in file.measures.first { $0.measure == measure } }
    }

    /// What it came to: of one draw the value with the interval of its evaluation, of several the mean with its t interval over them.
    func value(_ measure: EvaluationMeasure, of subject: RunEvaluations.Subject) -> Interval? {
        let all = values(measure, of: subject).sorted { $0.key < $1.key }.map(\.value.value)
        return all.count > 1 ? Interval(meanOf: all.map(\.value)) : all.first
    }

    /// Whether some SAE is a mean over draws.
    var hasDraws: Bool { files.contains { $0.byDraw.count > 1 } }

    /// An SAE less its reference: paired by draw where there are several, else by task or letter; nil where there is neither.
    func difference(_ measure: EvaluationMeasure, of subject: RunEvaluations.Subject) -> Interval? {
        guard let name = subject.reference,
            let reference = files.map(\.subject).first(where: { $0.run == subject.run && $0.name == name })
        else { return nil }
        let (own, other) = (values(measure, of: subject), values(measure, of: reference))
        let draws = own.keys.filter { other[$0] != nil }.sorted()
        if draws.count > 1 {
            return Interval(
                meanOf: draws.compactMap { draw in
                    own[draw].flatMap { a in other[draw].map { a.value.value - $0.value.value } }
                })
        }
        guard let draw = draws.first, let a = own[draw]?.units, let b = other[draw]?.units, !a.isEmpty,
            a.keys == b.keys
        else { return nil }
        return Interval(meanOf: a.keys.sorted().compactMap { unit in a[unit].flatMap { x in b[unit].map { x - $0 } } })
    }
}
