import Attribution

extension RunEvaluations.Group {
    /// Every measure that some SAE has, in the order of the first that has it.
    var measures: [EvaluationMeasure] {
        let all = files.flatMap { $0.bySeed.sorted { $0.key < $1.key }.map(\.value) }
        return all.flatMap(\.measures).map(\.measure).distinct
    }

    private func files(of subject: RunEvaluations.Subject) -> [Int: EvaluationFile] {
        files.first { $0.subject == subject }?.bySeed ?? [:]
    }

    private func values(_ measure: EvaluationMeasure, of subject: RunEvaluations.Subject) -> [Int: EvaluatedMeasure] {
        files(of: subject).compactMapValues { file in file.measures.first { $0.measure == measure } }
    }

    /// What it came to: of one seed the value with the interval of its evaluation, of several the mean with its t interval over seeds.
    func value(_ measure: EvaluationMeasure, of subject: RunEvaluations.Subject) -> Interval? {
        let all = values(measure, of: subject).sorted { $0.key < $1.key }.map(\.value.value)
        return all.count > 1 ? Interval(meanOf: all.map(\.value)) : all.first
    }

    /// Whether some SAE is a mean over seeds.
    var hasSeeds: Bool { files.contains { $0.bySeed.count > 1 } }

    /// An SAE less its reference: paired by seed where there are several, else by task or letter; nil where there is neither.
    func difference(_ measure: EvaluationMeasure, of subject: RunEvaluations.Subject) -> Interval? {
        guard let name = subject.reference,
            let reference = files.map(\.subject).first(where: { $0.run == subject.run && $0.name == name })
        else { return nil }
        let (own, other) = (values(measure, of: subject), values(measure, of: reference))
        let seeds = own.keys.filter { other[$0] != nil }.sorted()
        if seeds.count > 1 {
            return Interval(
                meanOf: seeds.compactMap { seed in
                    own[seed].flatMap { a in other[seed].map { a.value.value - $0.value.value } }
                })
        }
        guard let seed = seeds.first, let a = own[seed]?.units, let b = other[seed]?.units, !a.isEmpty,
            a.keys == b.keys
        else { return nil }
        return Interval(meanOf: a.keys.sorted().compactMap { unit in a[unit].flatMap { x in b[unit].map { x - $0 } } })
    }
}
