import TensorFiles

/// A grid over recipe keys and seeds; `sweep.json` in its folder. Each point is a run of its own in `point-N`.
public struct Sweep: Codable, Sendable, Equatable {
    /// What the recipe was called.
    public var name: String
    /// Its text.
    public var recipe: String
    /// Assignments to all points, as `--set` has them.
    public var assignments: [String]
    /// The last varies fastest.
    public var axes: [SweepAxis]
    /// Lanes of each process: results hang on their number, so it stays when the sweep is gone on with.
    public var lanes: Int
    /// Folders of sweeps whose finished steps are taken over.
    public var from: [String]?

    private static let mostPoints = 10_000
    /// The file that says what a folder is the sweep of.
    public static let fileName = "sweep.json"

    /// A sweep over these keys, those of the recipe's own `sweep.over` that are neither among them nor assigned, and so many seeds
    /// from the recipe's `seed` on; for nil as many as its `sweep.seeds` says, or one.
    ///
    /// - Parameter from: folders of sweeps whose finished steps are taken over.
    /// - Throws: `SweepError`; `DistillationError` for a key or value that no recipe can have.
    public init(
        name: String, recipe: String, assignments: [String], over axes: [SweepAxis], seeds: Int? = nil, lanes: Int,
        from: [String] = []
    ) throws {
        (self.name, self.recipe, self.assignments, self.lanes) = (name, recipe, assignments, lanes)
        self.from = from.isEmpty ? nil : from
        self.axes = axes
        let base = try base()
        let settled = Set(axes.map(\.key) + assignments.map { String($0.prefix { $0 != "=" }) })
        self.axes += (base.grid?.axes ?? []).filter { !settled.contains($0.key) }
        guard base.seeds == 1, !self.axes.contains(where: { $0.key == "seeds" }) else {
            throw SweepError.seedsOfRecipe
        }
        let seeds = seeds ?? (self.axes.contains { $0.key == "seed" } ? 1 : base.grid?.seeds ?? 1)
        guard !self.axes.isEmpty || seeds > 1 else { throw SweepError.nothingToSweep }
        if seeds > 1 {
            let first = base.seed
            self.axes.append(SweepAxis(key: "seed", values: (0..<seeds).map { "\(first + $0)" }))
        }
        for axis in self.axes {
            guard self.axes.count(where: { $0.key == axis.key }) == 1 else { throw SweepError.keyTwice(key: axis.key) }
            for value in axis.values {
                var recipe = base
                try recipe.set("\(axis.key)=\(value)")
            }
        }
        let count = self.axes.reduce(1) { $0.multipliedReportingOverflow(by: $1.values.count).partialValue }
        guard self.axes.allSatisfy({ $0.values.count <= Self.mostPoints }), count <= Self.mostPoints else {
            throw SweepError.tooManyPoints(most: Self.mostPoints)
        }
    }

    /// Reads the sweep of a folder.
    ///
    /// - Throws: `SweepError.noSweep`; `TensorFileError`.
    public init(folder: String) throws {
        guard exists(folder + "/" + Self.fileName) else { throw SweepError.noSweep(folder: folder) }
        self = try JSONRecord.read(Sweep.self, from: folder + "/" + Self.fileName)
    }

    /// Begins it in a folder that is locked, or makes sure that it is the one that was begun there.
    ///
    /// - Returns: the one that counts: lanes are those of its beginning.
    /// - Throws: `SweepError.otherSweep`; `TensorFileError`.
    public func open(in folder: String) throws -> Sweep {
        guard exists(folder + "/" + Self.fileName) else {
            try JSONRecord.write(self, to: folder + "/" + Self.fileName)
            return self
        }
        let old = try Sweep(folder: folder)
        for (key, was, now) in [
            ("the recipe", old.name, name), ("the recipe's text", old.recipe, recipe),
            ("--set", old.assignments.joined(separator: " "), assignments.joined(separator: " ")),
            ("--over", old.axesText, axesText),
            ("--from", (old.from ?? []).joined(separator: " "), (from ?? []).joined(separator: " ")),
        ] where was != now {
            throw SweepError.otherSweep(folder: folder, key: key, was: was, now: now)
        }
        return old
    }

    /// "distill.tau=0.5,0.7 seed=1,2"
    public var axesText: String {
        axes.map(\.text).joined(separator: " ")
    }

    /// Every key of the recipe with its meaning and value, and what it is swept over: a recipe of the same sweep.
    ///
    /// - Throws: `DistillationError`.
    public func documented() throws -> String {
        // What stands in single quotes in YAML means itself.
        let over = axes.map { "    - '" + $0.text.replacing("'", with: "''") + "'\n" }
        return try base().documented() + "\n\(RecipeGrid.section):\n  over:\n" + over.joined()
    }

    /// The recipe of all points, as far as it is the same.
    func base() throws -> Recipe {
        var recipe = try Recipe(yaml: recipe, path: name)
        for assignment in assignments { try recipe.set(assignment) }
        return recipe
    }

    /// Number of points.
    public var count: Int { axes.reduce(1) { $0 * $1.values.count } }

    /// Point `index`, from 0.
    ///
    /// - Throws: `SweepError.noSuchPoint`; `DistillationError`.
    public func point(_ index: Int) throws -> SweepPoint {
        guard (0..<count).contains(index) else { throw SweepError.noSuchPoint(index: index, count: count) }
        var (rest, values) = (index, [String]())
        for axis in axes.reversed() {
            values.insert(axis.values[rest % axis.values.count], at: 0)
            rest /= axis.values.count
        }
        var recipe = try base()
        for (axis, value) in zip(axes, values) { try recipe.set("\(axis.key)=\(value)") }
        return SweepPoint(index: index, values: values, recipe: recipe)
    }

    /// All points.
    ///
    /// - Throws: `DistillationError`.
    public func points() throws -> [SweepPoint] { try (0..<count).map(point) }

    /// What its points have to do, and share with one another and with the sweeps that it is from.
    ///
    /// - Throws: `SweepError.noSweep` for a folder of `from` that holds none; `DistillationError`; `TensorFileError`.
    public func work() throws -> SweepWork {
        let others = try (from ?? []).flatMap { folder in
            try Sweep(folder: folder).points().map { (folder + "/" + $0.folder, $0.recipe) }
        }
        return SweepWork(try points(), others: others)
    }
}

/// One point of a sweep.
public struct SweepPoint: Sendable {
    public let index: Int
    /// One of each axis.
    public let values: [String]
    public let recipe: Recipe

    /// Its run's folder within the sweep's.
    public var folder: String { Self.folder(index) }
    /// Where its error is, if it failed.
    public var failure: String { folder + ".error.json" }

    package static func folder(_ index: Int) -> String {
        let digits = String(index)
        return "point-" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    }
}

/// Why a point has no result; beside its folder.
public struct SweepFailure: Codable, Sendable, Equatable {
    public var error: String
    public init(error: String) { self.error = error }
}
