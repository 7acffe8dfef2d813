import Attribution
import TensorFiles

/// What the list of a page says of a latent, and what it is sorted, filtered and searched by.
struct LatentSummary {
    let latent: Int
    let frequency: Double
    let mark: LatentMark?
    private let largest: Double
    /// Tokens that it promotes and those that it fires most on.
    private let words: [String]

    init(_ dashboard: LatentDashboard, _ mark: LatentMark?) {
        let record = dashboard.record
        (latent, frequency, largest, self.mark) = (record.latent, record.frequency, record.largest, mark)
        let peaks = record.contexts.filter { $0.tokens.indices.contains($0.peak) }.map { $0.tokens[$0.peak] }
        var seen = Set<String>()
        words = (peaks + record.promoted.map(\.text)).filter { seen.insert($0).inserted }
    }

    func write(to text: inout JSONText, methods: [String]) {
        text.member("j", latent)
        text.member("f", frequency)
        text.member("m", largest)
        if let rank = mark?.core_rank { text.member("r", rank) }
        if let born = mark?.born { text.member("b", born) }
        if let selected = mark?.selected_in { text.member("s", selected) }
        text.member("w", words.map(shownText))
        text.key("v")
        text.list { list in for name in methods { list.value(mark?.scores[name] ?? .nan) } }
    }
}

/// The details of a chunk of latents, as the page's script reads them: texts of tokens once, and everything else by their numbers.
struct LatentDetails {
    private var numbers: [String: Int] = [:]
    private var texts: [String] = []

    static func json(_ dashboards: [LatentDashboard]) -> [UInt8] {
        var details = LatentDetails()
        return JSONText.document { text in
            text.key("latents")
            text.list { list in for dashboard in dashboards { list.object { details.write(dashboard, to: &$0) } } }
            text.member("texts", details.texts)
        }
    }

    private mutating func number(_ token: String) -> Int {
        if let known = numbers[token] { return known }
        numbers[token] = texts.count
        texts.append(shownText(token))
        return texts.count - 1
    }

    private mutating func write(_ dashboard: LatentDashboard, to text: inout JSONText) {
        let record = dashboard.record
        text.member("j", record.latent)
        for (name, tokens) in [("up", record.promoted), ("down", record.suppressed)] {
            text.key(name)
            text.list { list in
                for token in tokens {
                    list.list {
                        $0.value(number(token.text))
                        $0.value(token.value)
                    }
                }
            }
        }
        for (name, others) in [
            ("near", record.neighbours.map { ($0.latent, $0.cosine) }),
            ("with", dashboard.correlated.map { ($0.latent, $0.pearson) }),
        ] {
            text.key(name)
            text.list { list in
                for (latent, value) in others {
                    list.list {
                        $0.value(latent)
                        $0.value(value)
                    }
                }
            }
        }
        for (name, histogram) in [("acts", dashboard.activations), ("logits", dashboard.logits)] {
            text.key(name)
            text.object {
                $0.member("low", histogram.low)
                $0.member("high", histogram.high)
                $0.member("counts", histogram.counts)
            }
        }
        text.key("top")
        write(record.contexts, to: &text)
        text.key("levels")
        text.list { list in
            for level in dashboard.levels {
                list.object {
                    $0.member("low", level.low)
                    $0.member("high", level.high)
                    $0.member("tokens", level.tokens)
                    $0.key("contexts")
                    write(level.contexts, to: &$0)
                }
            }
        }
    }

    /// Contexts as [numbers of tokens], the place of the highest, and [place, activation, …] where it fires.
    private mutating func write(_ contexts: [LatentRecord.Context], to text: inout JSONText) {
        text.list { list in
            for context in contexts {
                list.list {
                    $0.list { for token in context.tokens { $0.value(number(token)) } }
                    $0.value(context.peak)
                    $0.list {
                        for (i, value) in context.activations.enumerated() where value > 0 && value.isFinite {
                            $0.value(i)
                            $0.value(value)
                        }
                    }
                }
            }
        }
    }
}

/// A token as a page's script may show it: on one line, and what would not show or would turn what is around it by its number.
private func shownText(_ token: String) -> String { withControlsShown(withBreaksShown(token)) }
