import TensorFiles

/// What can go wrong between an SAE, a language model and a core.
public enum AttributionError: Error, CustomStringConvertible, Equatable {
    /// No latent has a positive score.
    case noAttribution(candidates: Int, tokens: Int, measure: ScoreMeasure)
    /// A score of a latent that is not a number, or so large that no sum of them is.
    case aggregateNotFinite(latent: Int, value: Double)
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
    /// A metric or backward rule that nobody computes here.
    case metricUnsupported(String)
    /// A question about a whole pass of which only a part is known.
    case passUnknown
    /// Shards of a scorer that has one state for all.
    case sequential(scorer: String)
    /// More evaluations asked for than the pass has left.
    case budgetExhausted(asked: Int, remaining: Int)
    /// A stored state of another pass.
    case otherPass(path: String, difference: String)
    /// A stored state of another size than the scorer's.
    case otherState(path: String, bytes: Int, wanted: Int)
    /// States that do not make one pass.
    case shardsDoNotFit(path: String, found: Range<Int>, wanted: Int)
    /// A checkpoint of another part of the pass.
    case otherShard(path: String, found: Range<Int>, wanted: Range<Int>)
    /// States that are fewer than a pass.
    case shardsMissing(from: Int, of: Int)
    /// A score whose state no machine holds.
    case stateTooLarge(bytes: Int)
    /// A scorer whose terms are something else than the changes of the loss that it asked about.
    case termsAreNotChanges(scorer: String, output: String, latent: Int, sequence: Int, sum: Double, term: Double)
    /// Nothing left to score.
    case nothingScored(tokens: Int)
    /// No position at which a loss is averaged.
    case noLoss(tokens: Int)
    /// No loss that is averaged comes at or after a reconstructed position.
    case nothingReached(tokens: Int)
    /// A measure of an evaluation that is no number.
    case measureUndefined(name: String, why: String)
    /// No position whose loss enters an average.
    case nothingAveraged(tokens: Int)
    /// A loss that is no number.
    case lossNotFinite(sequence: Int, value: Double)
    /// No latent to look at.
    case nothingFires(latents: Int, tokens: Int)
    /// Fewer than two scorers that have something to say.
    case nothingToCompare(left: [String], failures: [ComparisonRecord.Fact])

    /// What failed, on which value, what to do next.
    public var description: String { printable(sentence) }

    private var sentence: String {
        switch self {
        case .noAttribution(let candidates, let tokens, let measure):
            "none of \(candidates) candidate latents has a positive "
                + (tokens > 0 ? "\(measure.name) over \(tokens) tokens" : "score") + ", so there is no core to select; "
                + measure.advice
        case .aggregateNotFinite(let latent, let value):
            "the score of latent \(latent) is \(value); scores must be finite, and their sum too: score again, and report it to "
                + "the scorer's author if it comes again"
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
        case .sequential(let scorer):
            "scorer \(scorer) looks at all sequences in order, from one state, so that its pass has no shards; leave --shard and "
                + "--merge out"
        case .passUnknown:
            "how active latents are in the whole pass is not known here; score with a baseline of zero, and without draws"
        case .metricUnsupported(let reason): "the metric or backward rule is not computed here: \(reason)"
        case .badEdit(let reason): "\(reason); correct the scorer that asked"
        case .budgetExhausted(let asked, let remaining):
            "\(asked) evaluations asked for, \(remaining) of the pass's budget left; raise --budget"
        case .otherPass(let path, let difference):
            "\(path) is the state of another pass (\(difference)); give what it was made with, name another file or folder, or "
                + "delete it"
        case .otherState(let path, let bytes, let wanted):
            "\(path) holds a state of \(bytes) bytes, and the scorer's has \(wanted); delete it and score again"
        case .shardsDoNotFit(let path, let found, let wanted):
            "\(path) holds sequences \(found), and those from \(wanted) on come next; give every shard of the pass, in order, once"
        case .otherShard(let path, let found, let wanted):
            "\(path) holds sequences \(found), and \(wanted) are to be scored: it is the checkpoint of another shard; name another file"
        case .shardsMissing(let from, let count):
            "the shards end before sequence \(from) of \(count); give every shard of the pass, in order, once"
        case .stateTooLarge(let bytes):
            "the scorer asks for a state of \(bytes) bytes, which cannot be had; give fewer sequences in --tokens, or a smaller --prefix"
        case .termsAreNotChanges(let scorer, let output, let latent, let sequence, let sum, let term):
            "\(output) of \(scorer) is \(term) for latent \(latent) in sequence \(sequence), and the changes of the loss that it "
                + "asked about add up to \(sum), so they are not what it is made of token by token; draws of single tokens stand "
                + "for others: evaluate all, or leave --per-token out"
        case .noLoss(let tokens):
            "no position of \(tokens) tokens has a loss to average: its own token or its target is special everywhere; "
                + "give other text"
        case .nothingReached(let tokens):
            "no loss that is averaged depends on a reconstruction: in all sequences of \(tokens) tokens the reconstructed "
                + "positions come after the last of them; give longer sequences or relax --keep-first, --keep-special, --sinks "
                + "(in a recipe splice.keep_first, splice.sinks)"
        case .measureUndefined(let name, let why):
            "\(name) has no value: \(why); evaluate on more tokens, or look for huge numbers in the SAE"
        case .nothingScored(let tokens):
            "all of \(tokens) tokens are kept as the model's own (first positions, special tokens, attention sinks); "
                + "score longer sequences or relax --keep-first, --keep-special, --sinks (in a recipe splice.keep_first, splice.sinks)"
        case .nothingAveraged(let tokens):
            "no loss of the curves' \(tokens) tokens enters an average: each is the last of its sequence, special, or predicts a "
                + "special token; give other --curve-tokens, --keep-special no, or --curve-sequences 0 for no curves"
        case .lossNotFinite(let sequence, let value):
            "the losses of sequence \(sequence) of the curves sum to \(value); check the model's and the SAE's weights with `eval`"
        case .nothingFires(let latents, let tokens):
            "none of \(latents) latents fires on \(tokens) tokens; give --latents, another --text, or the --layer that the SAE "
                + "was trained on"
        case .nothingToCompare(let left, let failures):
            "\(left.isEmpty ? "no scorer is" : "only \(left.joined(separator: ", ")) is") left, and a comparison needs two: "
                + failures.map { "\($0.name) is left out (\($0.value))" }.joined(separator: "; ")
                + "; correct or replace what is left out, and compare into another folder"
        }
    }
}
