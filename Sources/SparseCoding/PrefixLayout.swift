/// How the latents of a Matryoshka SAE are nested: the core first, then the groups.
///
/// With a core of c latents, group i has ⌊gᵢ·(F − c)/F⌋ latents, the remainder goes to the last; m₁ = c + group 1,
/// mᵢ = mᵢ₋₁ + group i, mₙ = F. The innermost prefix, the one attribution looks at, is m₁; where the loss has a prefix for the
/// core alone, that one is m₀ = c, and n + 1 prefixes share the loss.
public struct PrefixLayout: Equatable, Sendable {
    /// Group sizes without a core; they sum to F.
    public let groups: [Int]
    /// c, the latents 0..<c.
    public let coreCount: Int
    /// Whether the core alone is a prefix.
    public let coreIsPrefix: Bool
    /// m₁ < … < mₙ = F, those whose reconstructions the loss is about; m₀ = c before them where the core is one.
    public let prefixes: [Int]

    /// The layout of `groups` around a core.
    ///
    /// - Throws: `SparseCodingError` when a group is or becomes empty, or the core leaves nothing.
    public init(groups: [Int], coreCount: Int = 0, coreIsPrefix: Bool = false) throws {
        guard !groups.isEmpty else {
            throw SparseCodingError.badSetting(name: "groups", value: "empty", wanted: "a list of sizes")
        }
        if let bad = groups.firstIndex(where: { $0 <= 0 }) {
            throw SparseCodingError.emptyGroup(groups: groups, index: bad)
        }
        let width = Self.sum(groups)
        guard width <= Self.widest else {
            throw SparseCodingError.badSetting(
                name: "width", value: "\(width)", wanted: "at most \(Self.widest) latents")
        }
        guard coreCount >= 0 else {
            throw SparseCodingError.badSetting(name: "core", value: "\(coreCount)", wanted: "0 or more latents")
        }
        guard coreCount < width else { throw SparseCodingError.coreFillsWidth(core: coreCount, width: width) }
        // Twice the width of a word: sizes may come from a file.
        var sizes = groups.map { width.dividingFullWidth($0.multipliedFullWidth(by: width - coreCount)).quotient }
        sizes[sizes.count - 1] += width - coreCount - sizes.reduce(0, +)
        if let bad = sizes.firstIndex(where: { $0 <= 0 }) {
            throw SparseCodingError.coreEmptiesGroup(core: coreCount, group: bad, groups: groups)
        }
        self.groups = groups
        self.coreCount = coreCount
        var end = coreCount
        self.coreIsPrefix = coreIsPrefix && coreCount > 0
        prefixes =
            (self.coreIsPrefix ? [coreCount] : [])
            + sizes.map {
                end += $0
                return end
            }
    }

    /// Of some of the latents of another layout: `sizes` of the groups as they are, and what is left of the core, which may be nothing.
    init(core: Int, sizes: [Int], coreIsPrefix: Bool) {
        (groups, coreCount, self.coreIsPrefix) = (sizes, core, coreIsPrefix)
        var end = core
        prefixes =
            (coreIsPrefix ? [core] : [])
            + sizes.map {
                end += $0
                return end
            }
    }

    /// Group sizes that must sum to `width`.
    public init(groups: [Int], width: Int, coreCount: Int = 0, coreIsPrefix: Bool = false) throws {
        guard Self.sum(groups) == width else {
            throw SparseCodingError.groupsDoNotSum(groups: groups, width: width)
        }
        try self.init(groups: groups, coreCount: coreCount, coreIsPrefix: coreIsPrefix)
    }

    /// Latents are counted in 32 bits; 2²⁴ of them are far beyond any SAE, so more is a slip of the finger that must
    /// not end in a failed allocation.
    private static let widest = 1 << 24

    /// Σ groups, the largest number there is where that does not fit.
    package static func sum(_ groups: [Int]) -> Int {
        groups.reduce(0) {
            let (sum, overflow) = $0.addingReportingOverflow($1)
            return overflow ? .max : sum
        }
    }

    /// F, all latents.
    public var latentCount: Int { prefixes[prefixes.count - 1] }

    /// m₁: core and first group.
    public var innermost: Int { prefixes[coreIsPrefix ? 1 : 0] }

    /// The fractions 1/32, 1/16, 1/8, 1/4 and the rest, of arXiv:2503.17547's reference runs.
    public static func standardGroups(width: Int) -> [Int] {
        var groups = [width / 32, width / 16, width / 8, width / 4]
        groups.append(width - groups.reduce(0, +))
        return groups
    }
}
