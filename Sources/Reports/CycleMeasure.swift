import Distillation

/// Something that is told of each cycle, and how it is drawn over cycles.
struct CycleMeasure: Sendable {
    /// As its axis is titled.
    let title: String
    /// Where its axis ends, where that is always the same.
    var limits: ClosedRange<Double>?
    /// nil for a cycle that has none.
    let value: @Sendable (CycleRecord) -> Double?

    static let coreSize = CycleMeasure(title: "latents of the core") { Double($0.coreSize) }
    static let carriedOver = CycleMeasure(title: "latents carried over") { $0.cycle > 0 ? Double($0.carriedOver) : nil }
    static let carriedShare = CycleMeasure(title: "share carried over", limits: 0...1) {
        $0.sae.frozenCore > 0 ? Double($0.carriedOver) / Double($0.sae.frozenCore) : nil
    }
    static let jaccard = CycleMeasure(title: "Jaccard with the last core", limits: 0...1) { $0.jaccard }
    static let coverage = CycleMeasure(title: "coverage of the core") { $0.coverage }
    static let coreL0 = CycleMeasure(title: "L0 of the core") {
        $0.sae.frozenCore > 0 ? $0.sae.evaluation.l0_core : nil
    }
    static let score = CycleMeasure(title: "CE loss score") { $0.sae.evaluation.ce_loss_score }

    /// Its mean over runs, with a band from the least to the largest.
    func curve(_ series: Series, of runs: [[CycleRecord]]) -> Plot.Curve {
        Plot.Curve(
            series,
            meanOf: runs.map { cycles in cycles.compactMap { cycle in value(cycle).map { (Double(cycle.cycle), $0) } }
            },
            hasMarkers: true)
    }
}

/// Cycles from first to last; one alone stands in the middle.
func cycleAxis(_ count: Int) -> Axis {
    Axis(title: "cycle", range: -0.5...(Double(max(1, count)) - 0.5), isWhole: true)
}

extension Plot.Curve {
    /// The mean of several curves wherever one of them has a value, with a band from the least to the largest where there are several.
    init(_ series: Series, meanOf curves: [[(x: Double, y: Double)]], hasMarkers: Bool = false) {
        var values: [Double: [Double]] = [:]
        for point in curves.joined() { values[point.x, default: []].append(point.y) }
        let spreads = values.sorted { $0.key < $1.key }.map { (x: $0.key, y: Spread($0.value)) }
        self.init(
            series: series, points: spreads.map { ($0.x, $0.y.mean) },
            band: curves.count > 1 ? spreads.map { ($0.y.low, $0.y.high) } : [], hasMarkers: hasMarkers)
    }

    /// Everything that its axis must have room for.
    var heights: [Double] { points.map(\.y) + band.flatMap { [$0.low, $0.high] } }
}
