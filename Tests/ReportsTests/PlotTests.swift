import Reports
import Testing

@Suite struct PlotTests {
    private func plot(_ scale: Axis.Scale = .linear) -> Plot {
        Plot(x: Axis(title: "n", range: 0...4), y: Axis(title: "loss", scale: scale, range: 0.5...4))
    }

    private func count(_ part: String, in svg: String) -> Int { svg.components(of: part) }

    @Test func aCurveIsTornWhereAPointHasNoPlace() {
        var plot = plot()
        plot.curves = [Plot.Curve(series: Series(0), points: [(0, 1), (1, 2), (2, .nan), (3, 2), (4, 1)])]
        let svg = plot.svg(label: "")
        #expect(count("<polyline", in: svg) == 2)
        #expect(!svg.contains("nan") && !svg.contains("inf"))
    }

    @Test func aLogAxisLeavesZerosOut() {
        var plot = plot(.log)
        plot.curves = [
            Plot.Curve(
                series: Series(0), points: [(0, 0), (1, 1), (2, 2)], band: [(0, 1), (0.5, 2), (1, .nan)],
                hasMarkers: true)
        ]
        let svg = plot.svg(label: "")
        #expect(count("scale(0.7)", in: svg) == 2)
        // One point with both limits is no band.
        #expect(count("<polygon", in: svg) == 0)
        #expect(!svg.contains("nan") && !svg.contains("inf"))
    }

    @Test func withNothingToShowThereAreStillAxes() {
        let svg = plot().svg(label: "a \"plot\"")
        #expect(svg.contains(">loss</text>") && svg.contains("aria-label=\"a &quot;plot&quot;\""))
        #expect(MarkUp(svg).faults.isEmpty)
    }

    @Test func namesThatFindNoRoomAreLeftToTheLegend() {
        var plot = plot()
        plot.marks = (0..<12).map { Plot.Mark(series: Series($0), x: 2, y: 2, name: "mark \($0)") }
        let svg = plot.svg(label: "")
        let named = count(">mark ", in: svg)
        #expect(named >= 2 && named < 12)
        // In the order given: the first have the choice.
        #expect(svg.contains(">mark 0</text>"))
    }

    @Test func noTwoOfTheFirstSeriesLookAlike() {
        var plot = plot()
        plot.curves = (0..<40).map { Plot.Curve(series: Series($0), points: [(0, 1), (4, 1)]) }
        let lines = plot.svg(label: "").split(separator: "<").filter { $0.hasPrefix("polyline") }
        #expect(Set(lines).count == 40)
    }
}

extension String {
    /// How often a part is in it.
    fileprivate func components(of part: String) -> Int { indices.count { self[$0...].hasPrefix(part) } }

    @Test func itsNumbersComeWithIt() {
        var plot = Plot(x: Axis(title: "x, of all", range: 0...4), y: Axis(title: "y", range: 0...2))
        plot.curves = [
            Plot.Curve(series: Series(0), points: [(0, 1), (1.5, .nan)], band: [(0.5, 2), (0, 1)]),
            Plot.Curve(series: Series(2), points: [(3, 0.1)]),
        ]
        plot.marks = [Plot.Mark(series: Series(1), x: 2, y: -1, name: "")]
        let wanted = [
            "shown,name,\"x, of all\",y,low,high", "curve,a,0,1,0.5,2", "curve,a,1.5,,0,1", "curve,3,3,0.1,,",
            "point,\"\"\"b\"\"\",2,-1,,", "",
        ]
        let svg = plot.svg(label: "", names: ["a", "\"b\""])
        #expect(svg.contains(" data-numbers=\"\(escape(wanted.joined(separator: "\n")))\""), "\(svg)")
    }
}
