import Attribution
import Distillation
import TensorFiles

/// Evaluations of the SAEs of one run or several, each with the SAE that it is of.
package struct RunEvaluations: Sendable {
    /// An SAE as tables have it: those of several seeds are one.
    struct Subject: Hashable, Sendable {
        /// Of several runs, which.
        let run: String
        /// "dmsae, k = 128", "cycle 2".
        let name: String
        /// What others of its k are held against; nil for a cycle, and for that trial itself.
        let reference: String?
    }

    /// What SAEs of one name are several of.
    struct Draw: Hashable, Comparable, Sendable {
        let run: Int
        let seed: Int

        static func < (a: Draw, b: Draw) -> Bool { (a.run, a.seed) < (b.run, b.seed) }
    }

    /// One kind of evaluation with the same settings.
    struct Group: Sendable {
        let kind: EvaluationKind
        let settings: [String: String]
        /// Of each SAE the files, one a draw: a seed of a run.
        var files: [(subject: Subject, byDraw: [Draw: EvaluationFile])]
    }

    private(set) var groups: [Group] = []
    /// All SAEs that something is known of, in the order of runs.
    private(set) var subjects: [Subject] = []
    let hasRuns: Bool
    /// What draws are called: "seed", or "run" where runs are taken as draws of one.
    let draw: String

    /// The folder of a run in which evaluations are looked for.
    package static let folderName = "evaluations"

    /// Those that lie in the runs' own folders, and at other paths. Where runs are pooled, SAEs of one name are draws of one, and so it
    /// makes no difference that settings name other files.
    ///
    /// - Throws: `TensorFileError` for a file that is no evaluation, is of an SAE of none of the runs (of one in a run's folder: not of
    ///   that run), or measures what another one measures.
    package init(
        _ runs: [(name: String, folder: String, steps: FinishedSteps)], at paths: [String], pooled: Bool = false
    ) throws {
        (hasRuns, draw) = (runs.count > 1 && !pooled, pooled ? "run" : "seed")
        let isNamed = hasRuns
        let owners = runs.enumerated().map { number, run in
            Self.owners(run.steps, number: number, run: isNamed ? run.name : "")
        }
        var all: [(file: EvaluationFile, owner: Owner)] = []
        func take(_ path: String, of owners: [Owner]) throws {
            let file = try EvaluationFile(path, namesFiles: !pooled)
            let own = owners.filter { $0.has(file.sae) }
            guard !own.isEmpty else {
                let hash = file.sae.sorted { $0.key > $1.key }.first?.value.prefix(12) ?? ""
                throw TensorFileError.unusable(
                    file: path, what: "it is of an SAE (SHA-256 \(hash)…) that \(Self.isNone(of: runs.map(\.folder)))",
                    next: "leave it out, or measure an SAE of the run, in cycle-N/sae or final/")
            }
            all += own.map { (file, $0) }
        }
        for (run, owners) in zip(runs, owners) {
            let folder = run.folder + "/" + Self.folderName
            for path in exists(folder) ? try EvaluationFile.files(at: folder) : [] { try take(path, of: owners) }
        }
        for path in try paths.flatMap({ try EvaluationFile.files(at: $0) }) {
            try take(path, of: owners.flatMap { $0 })
        }
        try sort(all, in: owners.flatMap { $0 }.map(\.subject).distinct)
    }

    private static func isNone(of folders: [String]) -> String {
        folders.count == 1 ? "is none of \(folders[0])" : "is of none of the runs"
    }

    /// Puts files of one kind and settings together, subjects in their order.
    private mutating func sort(_ all: [(file: EvaluationFile, owner: Owner)], in order: [Subject]) throws {
        for kind in EvaluationKind.allCases {
            let own = all.filter { $0.file.kind == kind }
            for settings in own.map(\.file.settings).distinct {
                let same = own.filter { $0.file.settings == settings }
                var group = Group(kind: kind, settings: settings, files: [])
                for subject in order {
                    var byDraw: [Draw: EvaluationFile] = [:]
                    for (file, owner) in same where owner.subject == subject {
                        if let other = byDraw[owner.draw] {
                            throw TensorFileError.unusable(
                                file: file.path, what: "it measures the same of the same SAE as \(other.path)",
                                next: "leave one of them out")
                        }
                        byDraw[owner.draw] = file
                    }
                    if !byDraw.isEmpty { group.files.append((subject, byDraw)) }
                }
                groups.append(group)
            }
        }
        subjects = order.filter { subject in groups.contains { $0.files.contains { $0.subject == subject } } }
    }

    /// An SAE of a run.
    private struct Owner {
        let subject: Subject
        let draw: Draw
        let hashes: [String: String]

        /// Whether these are files of it.
        func has(_ sae: [String: String]) -> Bool {
            sae.allSatisfy { name, hash in name.isEmpty ? hashes.values.contains(hash) : hashes[name] == hash }
        }
    }

    /// Trials first, as in other tables, then cycles.
    private static func owners(_ steps: FinishedSteps, number: Int, run: String) -> [Owner] {
        let trials = TrialTable(steps.seeds.map(\.trials))
        func subject(_ place: FinishedSAE.Place) -> Subject {
            switch place {
            case .cycle(let cycle): return Subject(run: run, name: "cycle \(cycle)", reference: nil)
            case .trial(let trial):
                let reference = trials.reference(at: trial.k)?.trial.name
                return Subject(
                    run: run, name: name(trial.name, trial.k),
                    reference: reference == trial.name ? nil : reference.map { name($0, trial.k) })
            }
        }
        let all = steps.seeds.flatMap { seed in
            seed.saes.map {
                Owner(subject: subject($0.place), draw: Draw(run: number, seed: seed.seed), hashes: $0.hashes)
            }
        }
        let isTrial = { (owner: Owner) in !owner.subject.name.hasPrefix("cycle ") }
        return all.filter(isTrial) + all.filter { !isTrial($0) }
    }

    private static func name(_ trial: String, _ k: Double) -> String {
        "\(trial), k = \(short(k, k == k.rounded() ? 0 : 1))"
    }
}
