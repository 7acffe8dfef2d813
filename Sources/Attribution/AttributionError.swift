import TensorFiles

/// What can go wrong between an SAE, a language model and a core.
public enum AttributionError: Error, CustomStringConvertible, Equatable {
    /// No latent has a positive score.
    case noAttribution(candidates: Int, tokens: Int, aggregate: String)
    /// τ outside (0, 1].
    case badFraction(Double)
    /// An aggregate that cannot be read.
    case badAggregate(String)
    /// A scorer wrote something that is not a number.
    case scoreNotFinite(scorer: String, token: Int, latent: Int, value: Float)
    /// An SAE and a model of different widths.
    case widthsDiffer(sae: Int, model: Int)
    /// A spliced prefix that the SAE does not have.
    case badPrefix(found: Int, width: Int)
    /// A request for an evaluation that does not fit its batch.
    case badEdit(String)
    /// A question about a whole pass of which only a part is known.
    case passUnknown
    /// More evaluations asked for than the pass has left.
    case budgetExhausted(asked: Int, remaining: Int)
    /// A stored state of another pass.
    case otherPass(path: String)
    /// States that do not make one pass.
    case shardsDoNotFit(path: String, found: Range<Int>, wanted: Int)
    /// States that are fewer than a pass.
    case shardsMissing(from: Int, of: Int)
    /// A score whose state no machine holds.
    case stateTooLarge(bytes: Int)
    /// A scorer whose terms are something else than the changes of the loss that it asked about.
    case termsAreNotChanges(scorer: String, output: String, latent: Int, sequence: Int, sum: Double, term: Double)
    /// Nothing left to score.
    case nothingScored(tokens: Int)

    /// What failed, on which value, what to do next.
    public var description: String { printable(sentence) }

    private var sentence: String {
        switch self {
        case .noAttribution(let candidates, let tokens, let aggregate):
            "none of \(candidates) candidate latents has a positive "
                + (tokens > 0 ? "\(aggregate) over \(tokens) tokens" : "score")
                + ", so there is no core to select; "
                + (aggregate.hasPrefix("quantile") && tokens > 0
                    ? "a latent active on fewer than 1% of tokens has a 0.99 quantile of 0: " : "")
                + (tokens > 0
                    ? "score more tokens, aggregate over active tokens (--over active), or train longer"
                    : "score more sequences, or train longer")
        case .badFraction(let value): "τ is \(value); the fraction to explain must be above 0 and at most 1"
        case .badAggregate(let text):
            "\"\(text)\" is no aggregate; use quantile:Q with Q in [0, 1], trimmed:P with P in [0, 0.5), mean, rms or max"
        case .scoreNotFinite(let scorer, let token, let latent, let value):
            "scorer \(scorer) wrote \(value) for latent \(latent) at token \(token); "
                + "scores must be finite, report this to its author"
        case .widthsDiffer(let sae, let model):
            "the SAE reads vectors of \(sae), the model's residual stream has \(model); use the SAE's own model"
        case .badPrefix(let found, let width):
            "prefix \(found) is not a width between 1 and the SAE's \(width) latents; pass one of its prefixes"
        case .passUnknown:
            "how active latents are in the whole pass is not known here; score with a baseline of zero, and all sequences"
        case .badEdit(let reason): "\(reason); correct the scorer that asked"
        case .budgetExhausted(let asked, let remaining):
            "\(asked) evaluations asked for, \(remaining) of the pass's budget left; raise --budget"
        case .otherPass(let path):
            "\(path) is the state of another pass: another scorer or version of it, other settings, another SAE, model or other "
                + "tokens; name another file, or delete it"
        case .shardsDoNotFit(let path, let found, let wanted):
            "\(path) holds sequences \(found), and those from \(wanted) on come next; give every shard of the pass, in order, once"
        case .shardsMissing(let from, let count):
            "the shards end before sequence \(from) of \(count); give every shard of the pass, in order, once"
        case .stateTooLarge(let bytes):
            "the scorer asks for a state of \(bytes) bytes, which cannot be had; score fewer sequences or latents"
        case .termsAreNotChanges(let scorer, let output, let latent, let sequence, let sum, let term):
            "\(output) of \(scorer) is \(term) for latent \(latent) in sequence \(sequence), and the changes of the loss that it "
                + "asked about add up to \(sum), so they are not what it is made of token by token; draws of single tokens stand "
                + "for others: evaluate all, or leave --per-token out"
        case .nothingScored(let tokens):
            "all of \(tokens) tokens are kept as the model's own (first positions, special tokens, attention sinks); "
                + "score longer sequences or relax --keep-first, --keep-special, --sinks"
        }
    }
}
