import ArgumentParser
import Distillation
import Glibc
import LanguageModeling
import LinearAlgebra
import TensorFiles

/// `dmsae lm …`: the language model by itself.
struct LMCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lm", abstract: "The language model by itself: activations, losses, gradients, token ids.",
        subcommands: [Trace.self, Tokenize.self])

    /// `dmsae lm trace`.
    struct Trace: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Writes activations of the model, the per-token losses and their gradient.",
            discussion: """
                Reads input_ids [B, T] and writes activations [B, T, d], loss [B, T-1] in nats and gradient [B, T, d] \
                of the summed loss with respect to the activations; logits [B, T, V] on request.

                Example: dmsae lm trace --model smollm2.gguf --layer 15 --tokens ids.safetensors --out trace.safetensors
                """)

        @Option(help: "Hugging Face folder or .gguf file.")
        var model: String
        @Option(help: "Block whose output is traced, counted from 0.")
        var layer: Int?
        @OptionGroup var place: HookOption
        @Option(
            help:
                "Token ids [B, T]: a safetensors file with input_ids (and attention_mask where rows are padded), or .npy."
        )
        var tokens: String
        @Option(help: "Safetensors file to write.")
        var out: String
        @Option(help: "Safetensors file with activations [B, T, d] that replace what is traced.")
        var replace: String?
        @Flag(help: "Write logits too.")
        var logits = false
        @OptionGroup var device: DeviceOptions
        @OptionGroup var output: OutputOptions

        private static let sequencesPerPass = 8

        func validate() throws { _ = try place.required(layer: layer) }

        func run() throws {
            output.apply()
            let hook = try place.required(layer: layer)
            try OutputPlace.requireFile(out, reading: [model, tokens, replace])
            Interruption.install(advice: "interrupted; nothing was written to \(out)")
            try Surroundings.prepareToCompute(advice: "give fewer or shorter rows of tokens")
            let batch = try readTokens(tokens)
            let path = model
            let model = try device.languageModel(path)
            let d = model.configuration.dModel
            let (b, t) = (batch.sequenceCount, batch.length)
            let given: Matrix? = try replace.map { path in
                let file = try SafetensorsFile(path: path)
                _ = try file.require("activations", shape: [b, t, d])
                return try file.finiteMatrix("activations")
            }
            let residual = given ?? Matrix(rows: b * t, columns: d)
            let gradient = Matrix(rows: b * t, columns: d)
            let everyLogit = logits ? Matrix(rows: b * t, columns: model.configuration.vocabularySize) : nil
            var losses: [Float] = []
            Terminal.shared.begin("trace", total: b * t, unit: "tokens")
            // A few sequences at a time: for the progress, and so that a long file can be stopped.
            for first in stride(from: 0, to: b, by: Self.sequencesPerPass) {
                try Interruption.request.check()
                let part = batch.sequences(first..<min(first + Self.sequencesPerPass, b))
                let rows = (first * t)..<(first * t + part.tokenCount)
                let x = try given?.copy(rows: rows) ?? model.residual(of: part, at: hook)
                let (loss, g) = try model.lossesAndGradient(of: part, residual: x, at: hook)
                losses += loss
                residual.row(rows.lowerBound).update(from: x.elements, count: x.count)
                gradient.row(rows.lowerBound).update(from: g.elements, count: g.count)
                if let everyLogit {
                    let y = try model.logits(of: part, residual: x, at: hook)
                    everyLogit.row(rows.lowerBound).update(from: y.elements, count: y.count)
                }
                Terminal.shared.advance(by: part.tokenCount, detail: "")
            }
            Terminal.shared.end()
            let files = [
                ("model", modelFiles(path)), ("tokens", [tokens]),
                ("replaced activations", replace.map { [$0] } ?? []),
            ]
            var writer = SafetensorsWriter(
                metadata: try origin(files, hook.entries.merging(model.deviceRecord) { $1 }))
            writer.add("activations", residual, shape: [b, t, d])
            writer.add("loss", withoutLastPositions(losses, length: t), shape: [b, t - 1])
            writer.add("gradient", gradient, shape: [b, t, d])
            if let everyLogit {
                writer.add("logits", everyLogit, shape: [b, t, model.configuration.vocabularySize])
            }
            try writer.write(to: out)
            // Each sequence predicts all its tokens but the first.
            let mean = losses.reduce(0.0) { $0 + Double($1) } / Double(max(1, b * (t - 1) - batch.paddingCount))
            if output.json {
                print(try JSONRecord.text(["sequences": Double(b), "length": Double(t), "loss_mean": mean]))
            } else {
                print("\(b) × \(t) tokens, mean loss \(decimals(mean, 4)) nats, written to \(out)")
            }
        }
    }

    /// `dmsae lm tokenize`.
    struct Tokenize: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Prints the token ids of a text, or writes them as rows of input_ids.",
            discussion: """
                The text comes from standard input unless --text names a corpus. Its documents are joined by the \
                end-of-text token; with --out they are cut into rows of --context tokens and written as input_ids [B, T]. \
                With --pack no a document is printed on a line and written in rows of its own, the last one padded, and \
                attention_mask [B, T] says with what. What is printed, and every row, begins with the beginning-of-sequence \
                token where the model's tokenizer says so (Gemma, Llama), unless --bos says otherwise. Files of token ids are \
                printed and cut likewise. --exclude-tokens says which ids it means, and how many positions have them.

                Example: echo "The quick brown fox" | dmsae lm tokenize --model smollm2.gguf
                """)

        @Option(help: "Hugging Face folder or .gguf file.")
        var model: String
        @Option(
            help:
                "Corpus: .jsonl or .txt, also packed (.gz, .zst); token ids as .npy, .safetensors or .bin; or a folder of them. May be repeated. Standard input without."
        )
        var text: [String] = []
        @Option(help: "Safetensors file to write.")
        var out: String?
        @Option(help: "Tokens per row with --out; default 256.")
        var context: Int?
        @Option(help: ArgumentHelp("The older name of --context.", visibility: .hidden))
        var length: Int?
        @Option(help: "Rows to write with --out; default 64.")
        var rows: Int?
        @Option(help: "Tokens of the corpus to pass over first, with --out.")
        var skip: Int?
        @Flag(help: ArgumentHelp("The older name of --parse-special.", visibility: .hidden))
        var special = false
        @Option(
            help: ArgumentHelp(
                "Say which ids these are, and at how many positions: ids with commas between, or one token by its text. May be repeated.",
                valueName: "TOKENS"))
        var excludeTokens: [String] = []
        @OptionGroup var tokens: SequenceOptions
        @OptionGroup var reading: ReadingOptions
        @OptionGroup var output: OutputOptions

        func validate() throws {
            if let length = length ?? context { try require("--context", length, in: OptionRange.context) }
            if let rows { try require("--rows", rows, in: OptionRange.sequences) }
            if let skip { try require("--skip", skip, in: OptionRange.skip) }
            guard out == nil || !text.isEmpty else { throw ValidationError("--out needs --text") }
            guard !text.isEmpty || !reading.skipBadLines else { throw ValidationError("--skip-bad-lines needs --text") }
            if text.isEmpty, let key = reading.recorded.keys.first {
                throw ValidationError("--\(key.replacing("_", with: "-")) needs --text")
            }
            let ofRows = [("--context", context), ("--length", length), ("--rows", rows), ("--skip", skip)]
            if out == nil, let (name, _) = ofRows.first(where: { $0.1 != nil }) {
                throw ValidationError("\(name) is about the rows of --out; without it all ids are printed")
            }
        }

        func run() throws {
            output.apply()
            let tokenizer = try loadTokenizer(model: model)
            let excluded = try Tokenizer.tokens(
                named: excludeTokens, of: tokenizer, vocabularySize: tokenizer.vocabularySize)
            guard !text.isEmpty else {
                let ids = tokenizer.encode(bytes: try standardInput(), allowSpecial: allowsSpecial)
                return try printIds([ids], tokenizer, excluded)
            }
            if let out { try OutputPlace.requireFile(out, reading: [model] + text) }
            let corpus = try reading.corpus(text)
            guard let out else { return try printIds(try sequences(of: corpus, tokenizer), tokenizer, excluded) }
            let context = length ?? context ?? 256
            var cut = tokens.cut(length: context)
            (cut.skip, cut.allowsSpecial) = (skip ?? 0, allowsSpecial)
            let data = try TokenDataset(corpus, tokenizer, vocabularySize: tokenizer.vocabularySize, cut)
            guard let batch = try data.nextBatch(sequences: rows ?? 64) else {
                throw TextError.empty(path: corpus.files.path)
            }
            Terminal.shared.warn(skippedIn: corpus)
            var options = [
                "context": "\(context)", "skip": "\(skip ?? 0)", "skip_bad_lines": "\(reading.skipBadLines)",
            ]
            options.merge(tokens.recorded) { $1 }
            options.merge(reading.recorded) { $1 }
            if special { options["parse_special"] = "true" }
            var writer = SafetensorsWriter(
                metadata: try origin([("model", tokenizerFiles(model))] + corpus.roles("text"), options))
            writer.add("input_ids", widening: batch.ids, shape: [batch.sequenceCount, context])
            if let counts = batch.counts {
                let marks = counts.flatMap { count in (0..<context).map { $0 < count ? Int32(1) : 0 } }
                writer.add("attention_mask", widening: marks, shape: [batch.sequenceCount, context])
            }
            try writer.write(to: out)
            note(excluded, among: batch.idsOrPadding, tokenizer)
            print(
                "\(batch.sequenceCount) rows of \(context) tokens written to \(out)"
                    + (batch.counts == nil ? "" : ", \(batch.paddingCount) positions of padding"))
        }

        /// What of a model decides about its ids: of a folder, weights do not.
        private func tokenizerFiles(_ model: String) -> [String] {
            let files = modelFiles(model)
            // Of a GGUF file in parts the first has the metadata.
            return model.hasSuffix(".gguf") || files.count == 1
                ? [files[0]] : files.filter { $0.hasSuffix(".json") }
        }

        private var allowsSpecial: Bool { tokens.parseSpecial || special }

        /// The documents, each its ids; one stream of all where they are joined. All of them, since a bad line far down must not leave half a
        /// result behind, and the first ids are of no use without the rest.
        private func sequences(of corpus: Corpus, _ tokenizer: Tokenizer) throws -> [[Int32]] {
            var stream =
                switch corpus {
                case .text(let text):
                    TokenStream(corpus: text, tokenizer: tokenizer, allowsSpecial: allowsSpecial)
                case .tokens(let files):
                    TokenStream(files, vocabularySize: tokenizer.vocabularySize, endOfText: tokenizer.endOfText)
                }
            var result: [[Int32]] = []
            if tokens.pack == .yes {
                var stretches: [[Int32]] = []
                while let ids = try stream.next() { stretches.append(ids) }
                result = [Array(stretches.joined())]
            } else {
                var begins = true
                while let pieces = try stream.nextPieces() {
                    for piece in pieces {
                        if begins { result.append([]) }
                        result[result.count - 1] += piece.ids
                        begins = piece.endsDocument
                    }
                }
                result.removeAll(where: \.isEmpty)
            }
            Terminal.shared.warn(skippedIn: corpus)
            return result
        }

        /// Prints each sequence on a line, or as a list in a list; of joined documents there is one.
        private func printIds(_ sequences: [[Int32]], _ tokenizer: Tokenizer, _ excluded: Set<Int32>) throws {
            let beginning = try tokenizer.beginning(tokens.bos.map { $0 == .yes }).map { [$0] } ?? []
            let separator = output.json ? "," : " "
            let isList = output.json && tokens.pack == .no
            if output.json { print("{\"input_ids\":" + (isList ? "[" : ""), terminator: "") }
            for (index, sequence) in sequences.enumerated() {
                let ids = beginning + sequence
                if output.json { print((index > 0 ? "," : "") + "[", terminator: "") }
                for first in stride(from: 0, to: ids.count, by: 4096) {
                    let line = ids[first..<min(first + 4096, ids.count)].map(String.init).joined(separator: separator)
                    print((first > 0 ? separator : "") + line, terminator: "")
                }
                print(output.json ? "]" : "\n", terminator: "")
            }
            if output.json { print((isList ? "]" : "") + "}") }
            note(excluded, among: sequences.joined(), tokenizer)
        }

        private func note(_ excluded: Set<Int32>, among ids: some Sequence<Int32>, _ tokenizer: Tokenizer) {
            if excluded.isEmpty { return }
            let count = ids.reduce(0) { $0 + (excluded.contains($1) ? 1 : 0) }
            let names = excluded.sorted().map { "\($0) \(tokenizer.tokenString($0).map { "\"\($0)\"" } ?? "")" }
            Terminal.shared.note(
                "excluded: \(printable(names.joined(separator: ", "))), at \(count) position\(count == 1 ? "" : "s")")
        }

        /// - Throws: `TextError.notUTF8`, `.unreadable`: a text of which the rest is missing has other tokens.
        private func standardInput() throws -> [UInt8] {
            var bytes: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 1 << 16)
            while true {
                let count = read(STDIN_FILENO, &buffer, buffer.count)
                if count < 0 && errno == EINTR { continue }
                guard count >= 0 else {
                    throw TextError.unreadable(path: "standard input", reason: String(cString: strerror(errno)))
                }
                guard count > 0 else { break }
                bytes += buffer[..<count]
            }
            var encoding = EncodingCheck()
            if let offset = encoding.firstBadByte(in: bytes, isLast: true) {
                throw TextError.notUTF8(path: "standard input", offset: offset)
            }
            return bytes
        }
    }
}

/// Token ids [B, T] of a file.
///
/// - Throws: `TensorFileError`.
func readTokens(_ path: String) throws -> TokenBatch {
    let file = path.hasSuffix(".bin") ? nil : try TokenFile(path: path)
    guard let file, let length = file.rowLength else {
        throw TensorFileError.unusable(
            file: path, what: "it is a stream of token ids and no rows of them",
            next: "cut it: dmsae lm tokenize --text FILE --context 256 --out rows.safetensors")
    }
    guard length > 1 else {
        throw TensorFileError.unusable(
            file: path, what: "input_ids has shape [\(file.rowCount), 1], and nothing is predicted in it",
            next: "give at least one row of two tokens")
    }
    return try file.rows(0..<file.rowCount)
}

/// Losses [B, T] without the last position of each sequence, which predicts nothing: [B, T − 1].
func withoutLastPositions(_ losses: [Float], length: Int) -> [Float] {
    losses.indices.lazy.filter { $0 % length != length - 1 }.map { losses[$0] }
}
