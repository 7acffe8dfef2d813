import TensorFiles

/// What can go wrong in harvesting, training and distilling as a whole.
public enum DistillationError: Error, CustomStringConvertible, Equatable {
    /// A signal asked to stop.
    case interrupted
    /// A recipe that cannot be read.
    case badRecipe(path: String, reason: String)
    /// A key that no recipe has.
    case unknownKey(key: String, nearest: String?)
    /// A value of the wrong type or out of range.
    case badValue(key: String, value: String, wanted: String)
    /// A run folder that is in use.
    case runExists(folder: String)
    /// A store that is there already.
    case storeExists(folder: String)
    /// Finished parts of a run without the record of what they were made from.
    case recordMissing(folder: String, part: String)
    /// Nothing to resume.
    case nothingToResume(folder: String)
    /// A resumed run whose recipe is another.
    case recipeChanged(folder: String, key: String, was: String, now: String)
    /// Something that was cut short, where it is to be begun.
    case cutShort(what: String, folder: String, after: String, kept: String)
    /// Something that was cut short, gone on with from other beginnings.
    case startedOtherwise(what: String, folder: String, key: String, was: String, now: String)
    /// An SAE that cannot take the place of cycle 0's.
    case badStart(path: String, reason: String, advice: String)
    /// A finished step of a run whose files do not fit together.
    case badStep(folder: String, reason: String)
    /// What of a finished step is not as it was written.
    case stepDiffers(String)
    /// A log that is not this run's.
    case logOfAnother(path: String)
    /// The outcome of a run that is not what its steps came to.
    case otherOutcome(path: String)
    /// A rule that failed when it was asked for the form in which the SAE is used; what was trained is in `folder`.
    case formMissing(rule: String, reason: String, folder: String)
    /// Files of a core that contradict each other.
    case badCore(path: String, reason: String)
    /// A core whose encoder vectors are not those of the SAE that it is looked up in.
    case coreOfAnother(path: String, latent: Int)
    /// Fewer rows than a batch.
    case tooFewRows(rows: Int, batch: Int)
    /// A batch that a store cannot be read in.
    case batchNotInChunks(batch: Int, chunk: Int)
    /// A text of which every position is left out.
    case nothingHarvested(tokens: Int)
    /// A residual stream that is not made of numbers.
    case notFinite(hook: HookPoint, token: Int)
    /// A place in a text where no sequence begins.
    case badPlace(tokens: Int)
    /// Blocks of live activations with more rows than can be counted.
    case blockTooLarge(tokens: Int)
    /// Activations that are all zero.
    case allZero(file: String)
    /// A store of another width, or damaged.
    case badStore(path: String, reason: String)
    /// No core was left.
    case emptyCore(cycle: Int, previous: Int, selected: Int)
    /// Less text than asked for.
    case textTooShort(wanted: Int, found: Int, purpose: String)

    /// What failed, on which value, what to do next.
    public var description: String { printable(sentence) }

    private var sentence: String {
        switch self {
        case .interrupted: "interrupted"
        case .badRecipe(let path, let reason):
            "recipe \(path): \(reason); `dmsae distill --print-recipe demo` shows one"
        case .unknownKey(let key, let nearest):
            "recipe key \"\(key)\" does not exist"
                + (nearest.map { "; did you mean \"\($0)\"?" } ?? "; `dmsae distill --print-recipe demo` lists them all")
        case .badValue(let key, let value, let wanted): "recipe key \(key) is \"\(value)\"; it must be \(wanted)"
        case .runExists(let folder):
            "\(folder) already holds a run; continue it with --resume, or choose another --out"
        case .storeExists(let folder):
            "\(folder) already holds an activation store; use it, delete it, or choose another --out"
        case .recordMissing(let folder, let part):
            "\(folder) has \(part) but no run.json, which says what it was made from; "
                + "choose another --out, or delete the folder"
        case .nothingToResume(let folder): "\(folder) holds no run to resume; leave out --resume to start one"
        case .recipeChanged(let folder, let key, let was, let now):
            "the run in \(folder) was started with \(key) = \(was), now it is \(now); "
                + (RunRecord.isOfMachine(key)
                    ? "resume it there, or here with --elsewhere, to other bits"
                    : "resume it with its own recipe or choose another --out")
        case .cutShort(let what, let folder, let after, let kept):
            "a \(what) into \(folder) was cut short after \(after); go on with it by --resume, or delete \(kept) to begin again"
        case .startedOtherwise(let what, let folder, let key, let was, let now):
            "the \(what) into \(folder) was started with \(key) = \(was), now it is \(now); "
                + (RunRecord.isOfMachine(key)
                    ? "resume it there, or here with --elsewhere, to other bits"
                    : "resume it with what it was started with, or choose another --out")
        case .badStart(let path, let reason, let advice):
            "\(path) cannot be the SAE of cycle 0 (distill.cycle0): \(reason); \(advice)"
        case .stepDiffers(let reason): reason
        case .badStep(let folder, let reason):
            "\(folder) cannot be read back: \(reason). Delete \(folder) and resume: it is made again"
        case .logOfAnother(let path):
            "\(path) is not the log of the run that it lies in, by its first line; put the run's own back, or delete it: nothing "
                + "is built upon a log"
        case .otherOutcome(let path):
            "\(path) is not what the finished steps of the run came to; delete it and resume the run: it is made again"
        case .formMissing(let rule, let reason, let folder):
            "the training is done, but the sparsity rule \(rule) could not say in which form the SAE is used: \(reason). The weights "
                + "are in \(folder), without thresholds; go on from them with `dmsae train --init \(folder)` and a rule that can"
        case .badCore(let path, let reason):
            "\(path): \(reason); use the core.json and core.safetensors of one selection together"
        case .coreOfAnother(let path, let latent):
            "\(path) is of another SAE: the encoder vector of its latent \(latent) is not the one here; give the SAE that the core was "
                + "selected from"
        case .batchNotInChunks(let batch, let chunk):
            "a batch of \(batch) cannot be read from an activation store, which keeps \(chunk) rows together; "
                + "choose a --batch that is a multiple of \(chunk)"
        case .allZero(let file):
            "\(file): every activation is 0, so there is no scale to measure and nothing to learn; "
                + "check how it was made"
        case .badPlace(let tokens):
            "the training was \(tokens) tokens into the text when it was kept, and no sequence begins there now; give the text that it "
                + "was started with"
        case .blockTooLarge(let tokens):
            "a block of \(tokens) tokens is too large to be shuffled; lower --buffer, --sequences or --context (in a recipe "
                + "harvest.buffer, sequences, context) to \(Int32.max) tokens at most"
        case .nothingHarvested(let tokens):
            "all positions of \(tokens) tokens are left out (first of a sequence, special, attention sinks), so there is "
                + "nothing to store; give longer sequences or relax --keep-first, --keep-special, --sinks "
                + "(in a recipe splice.keep_first, splice.sinks)"
        case .notFinite(let hook, let token):
            "the model's activations at \(hook.name) hold NaN or infinity in the sequences from token \(token) "
                + "on; check the model's file"
        case .tooFewRows(let rows, let batch):
            "\(rows) rows of activations do not fill one batch of \(batch); harvest more tokens or lower the batch"
        case .badStore(let path, let reason): "activation store \(path): \(reason); harvest it again"
        case .emptyCore(let cycle, let previous, let selected):
            "cycle \(cycle): none of the \(previous) latents of the last core is among the \(selected) selected now, so "
                + "the core is empty; give a k near the size of the core (the paper carried nothing over at k ≤ 80, and at 640), "
                + "train longer, or lower τ"
        case .textTooShort(let wanted, let found, let purpose):
            "the text has \(found) of the \(wanted) tokens wanted for \(purpose); "
                + "give more text or ask for fewer tokens"
        }
    }
}
