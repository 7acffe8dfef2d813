// DMSAEPlugin.swift: the Swift face of dmsae's plugin ABI, for scorers. One file, compiled into the plugin's own
// module, so that a plugin needs nothing but the Swift runtime and CDMSAE, the C header.
//
// A plugin is a type that conforms to `Scorer` or `TotalsScorer` and one exported function:
//
//     @c @implementation
//     public func dmsae_plugin_entry(_ host: UnsafePointer<dmsae_host_info>) -> UnsafePointer<dmsae_entry>? {
//         pluginEntry(of: MyScorer.self)
//     }

import CDMSAE

/// What a plugin says about itself.
struct PluginAbout {
    /// What users type: a-z, 0-9, '-', '_', '.'.
    var id: StaticString
    /// The name that people see.
    var name: StaticString
    /// Of the plugin.
    var version: StaticString = "1.0.0"
    /// An SPDX expression.
    var license: StaticString = "Apache-2.0"
    /// What it does, in one line.
    var description: StaticString
    /// Bits DMSAE_PLUGIN_…, of entry.h.
    var flags: UInt64 = DMSAE_PLUGIN_DETERMINISTIC
    /// The settings it takes.
    var settings: [Setting] = []
}

/// A setting that users may give, as `scorer.so,KEY=VALUE`.
struct Setting {
    enum Kind {
        case bool, text
        case integer(ClosedRange<Double>)
        case number(ClosedRange<Double>)
        case choice([StaticString])

        /// Whether a text is a legal value: an older host passes whatever the user wrote (DMSAE-ENTRY-07).
        fileprivate func accepts(_ text: String) -> Bool {
            switch self {
            case .bool: text == "true" || text == "false"
            case .text: true
            case .integer(let range): Int(text).map { range.contains(Double($0)) } ?? false
            case .number(let range): Double(text).map { $0.isFinite && range.contains($0) } ?? false
            case .choice(let legal): legal.contains { "\($0)" == text }
            }
        }
    }

    var key: StaticString
    var kind: Kind
    /// As a user would write it.
    var defaultValue: StaticString
    /// What it does, in a line.
    var description: StaticString
}

/// The values of all settings: the host has checked them and filled in the defaults.
struct Settings {
    fileprivate var values: [String: String]

    /// The text of a setting.
    subscript(key: String) -> String { values[key] ?? "" }
    /// A setting that is a number.
    func number(_ key: String) -> Double { Double(self[key]) ?? 0 }
    /// A setting that is a whole number.
    func integer(_ key: String) -> Int { Int(self[key]) ?? 0 }
    /// A setting that is true or false.
    func flag(_ key: String) -> Bool { self[key] == "true" }
}

/// An error whose text the user sees.
struct PluginFailure: Error {
    var status: dmsae_status = .DMSAE_ERR_FAILED
    var text: String
}

/// What every plugin has.
protocol Plugin: AnyObject {
    static var about: PluginAbout { get }
    /// Made once, with the user's settings.
    init(_ settings: Settings, _ host: Host) throws
}

/// A scorer: one score for every active latent of every token, positive where the latent helps.
protocol Scorer: Plugin {
    /// Writes `scores[e]` for every entry e of the batch; every one, and finite.
    func score(_ batch: Batch, into scores: UnsafeMutableBufferPointer<Float>) throws
}

/// A scorer of the whole pass: it adds up numbers for each latent, batch by batch, and makes one score of them at the end.
protocol TotalsScorer: Plugin {
    /// How many numbers it adds up for each latent.
    static var sumCount: Int { get }
    /// The unit of its scores, "nats per token" or "1".
    static var unit: StaticString { get }
    /// Adds what the batch says.
    func add(_ batch: Batch, to sums: Sums) throws
    /// The score of a latent from its sums [sumCount], positive where it helps; nil where nothing speaks for or against it.
    func score(_ sums: UnsafeBufferPointer<Double>, scoredTokens: Int) -> Double?
}

/// Sums over a pass, [m, sumCount], 0 when it begins.
struct Sums {
    fileprivate let values: UnsafeMutablePointer<Double>
    fileprivate let width: Int

    /// Number i of latent j.
    subscript(latent: Int, i: Int) -> Double {
        get { values[latent * width + i] }
        nonmutating set { values[latent * width + i] = newValue }
    }
}

/// What the host offers while the scorer lives.
struct Host {
    fileprivate let pointer: UnsafePointer<dmsae_host>
    fileprivate let cancel: UnsafePointer<dmsae_host_cancel>?
    fileprivate let log: UnsafePointer<dmsae_host_log>?
    fileprivate let eval: UnsafePointer<dmsae_host_eval>?
    fileprivate let means: UnsafePointer<dmsae_host_means>?

    fileprivate init(_ pointer: UnsafePointer<dmsae_host>) {
        self.pointer = pointer
        cancel = pointer.pointee.get_extension(pointer, DMSAE_CANCEL)?.assumingMemoryBound(to: dmsae_host_cancel.self)
        log = pointer.pointee.get_extension(pointer, DMSAE_LOG)?.assumingMemoryBound(to: dmsae_host_log.self)
        eval = pointer.pointee.get_extension(pointer, DMSAE_EVAL)?.assumingMemoryBound(to: dmsae_host_eval.self)
        means = pointer.pointee.get_extension(pointer, DMSAE_MEANS)?.assumingMemoryBound(to: dmsae_host_means.self)
    }

    /// Throws once the user wants the call to stop: to be asked every 50 ms (DMSAE-HOST-03).
    func checkCancellation() throws {
        if let cancel, cancel.pointee.is_cancelled(pointer) != 0 {
            throw PluginFailure(status: .DMSAE_CANCELLED, text: "")
        }
    }

    /// A line for the user's log.
    func log(_ level: dmsae_log_level = .DMSAE_LOG_INFO, _ text: String) { log?.pointee.log(pointer, level, text) }
}

/// A change of one latent's activation in some tokens of the batch, all of one sequence.
struct Change {
    enum Kind {
        /// Times a factor where it fires; 0 removes it.
        case scale(Float)
        /// To a value at every scored token, whether it fires there or not.
        case set(Float)
    }

    var latent: Int
    var tokens: Range<Int>
    var kind = Kind.scale(0)

    fileprivate var c: dmsae_edit {
        let (operation, value): (dmsae_edit_operation, Float) =
            switch kind {
            case .scale(let factor): (.DMSAE_EDIT_SCALE, factor)
            case .set(let value): (.DMSAE_EDIT_SET, value)
            }
        return dmsae_edit(
            first_token: Int64(tokens.lowerBound), end_token: Int64(tokens.upperBound), latent: Int32(latent),
            operation: operation, value: value, reserved: 0, rows: nil, reserved2: 0)
    }
}

// Questions about the batch of the running call. A plugin that asks declares DMSAE_PLUGIN_NEEDS_EVALUATION.
extension Host {
    /// What each list of changes, acting together in its sequence, does to the loss: Σ (after - before) of the
    /// sequence, in nats; removing a latent that helps gives a positive number. Many lists in one call cost less
    /// than one by one.
    /// - Throws: `PluginFailure`; with the status DMSAE_BUDGET_EXHAUSTED if they are more than `remainingQuestions`.
    func lossChanges(_ questions: [(sequence: Int, changes: [Change])], of batch: Batch) throws -> [Double] {
        guard let eval else { throw missing(DMSAE_EVAL) }
        var edits: [dmsae_edit] = []
        var groups = questions.map { question -> dmsae_edit_group in
            let first = edits.count
            edits += question.changes.map(\.c)
            return dmsae_edit_group(
                sequence: Int64(question.sequence), first_edit: Int64(first), edit_count: Int64(question.changes.count),
                losses: nil, loss_change: 0, reserved: (0, 0))
        }
        guard !groups.isEmpty else { return [] }
        if edits.isEmpty { edits = [Change(latent: 0, tokens: 0..<0).c] }
        try asking {
            eval.pointee.losses(pointer, batch.c, &groups, Int64(groups.count), edits, Int64(edits.count), $0)
        }
        return groups.map(\.loss_change)
    }

    /// How many lists of changes may still be asked about in this pass; `Int.max` without a limit.
    var remainingQuestions: Int { eval.map { Int(clamping: $0.pointee.remaining(pointer)) } ?? 0 }

    /// The mean activation of each latent over the scored tokens of the whole pass, [m], and how many those are.
    /// - Throws: `PluginFailure`; on a host of 0.1, which has none.
    func meanActivations(of batch: Batch) throws -> (means: [Double], scoredTokens: Int) {
        guard let means else { throw missing(DMSAE_MEANS) }
        var values = [Double](repeating: 0, count: batch.latentCount)
        var scored: Int64 = 0
        try asking { means.pointee.activations(pointer, batch.c, &values, &scored, $0) }
        return (values, Int(scored))
    }

    private func missing(_ id: String) -> PluginFailure {
        PluginFailure(status: .DMSAE_ERR_UNSUPPORTED, text: "this host has no \(id)")
    }

    private func asking(_ body: (UnsafeMutablePointer<dmsae_call>) -> dmsae_status) throws {
        try withUnsafeTemporaryAllocation(of: CChar.self, capacity: 1024) { text in
            text.initialize(repeating: 0)
            var call = dmsae_call(
                struct_size: UInt32(MemoryLayout<dmsae_call>.size), reserved: 0, flags: 0, error: text.baseAddress,
                error_capacity: UInt64(text.count), stream: nil)
            let status = body(&call)
            guard status != .DMSAE_OK else { return }
            let words = text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
            throw PluginFailure(status: status, text: String(decoding: words, as: UTF8.self))
        }
    }
}

/// Whole sequences, one after the other: N tokens, m latents, d dimensions. Lent for the call; nothing is copied.
struct Batch {
    /// The C view, for what has no name here.
    let c: UnsafePointer<dmsae_scorer_batch>
    private let codes: dmsae_csr
    private let decoder: UnsafePointer<Float>
    private let gradient: UnsafePointer<Float>?

    fileprivate init(_ c: UnsafePointer<dmsae_scorer_batch>) {
        self.c = c
        codes = c.pointee.codes.pointee
        decoder = Self.floats(c.pointee.decoder)
        gradient = c.pointee.gradient.map(Self.floats)
        dimension = Int(c.pointee.decoder.pointee.shape[1])
    }

    private static func floats(_ tensor: UnsafePointer<dmsae_tensor>) -> UnsafePointer<Float> {
        UnsafePointer((tensor.pointee.data + Int(tensor.pointee.byte_offset)).assumingMemoryBound(to: Float.self))
    }

    /// d, numbers in a row of the residual stream.
    let dimension: Int
    /// N, tokens of the batch.
    var tokenCount: Int { Int(codes.rows) }
    /// How many sequences.
    var sequenceCount: Int { Int(c.pointee.sequence_count) }
    /// The tokens of sequence s, counted in the batch.
    func tokens(ofSequence s: Int) -> Range<Int> {
        Int(c.pointee.sequence_offsets[s])..<Int(c.pointee.sequence_offsets[s + 1])
    }
    /// m, the candidates.
    var latentCount: Int { Int(codes.columns) }
    /// Active latents of token t: entries, parallel to the scores.
    func entries(ofToken t: Int) -> Range<Int> { Int(codes.row_offsets[t])..<Int(codes.row_offsets[t + 1]) }
    /// The latent of entry e.
    func latent(_ e: Int) -> Int { Int(codes.column_indices[e]) }
    /// Its activation, above 0.
    func activation(_ e: Int) -> Float { codes.values[e] }
    /// The decoder row W_dec[j], [d].
    func decoderRow(_ j: Int) -> UnsafePointer<Float> { decoder + j * dimension }
    /// g_t, [d], in nats per unit of x̂.
    /// - Throws: `PluginFailure` unless the plugin declares DMSAE_PLUGIN_NEEDS_GRADIENT.
    func gradientRow(_ t: Int) throws -> UnsafePointer<Float> {
        guard let gradient else {
            throw PluginFailure(
                status: .DMSAE_ERR_INVALID_ARGUMENT, text: "the batch has no gradient (DMSAE-SCORER-02)")
        }
        return gradient + t * dimension
    }
    /// Whether token t counts: others have no entries.
    func isScored(_ t: Int) -> Bool { c.pointee.scored[t] != 0 }
    /// Loss in nats of token t predicting t + 1.
    func loss(_ t: Int) -> Float { c.pointee.loss[t] }
}

/// The file's entry, for the one exported function; made once.
func pluginEntry<Score: Scorer>(of type: Score.Type) -> UnsafePointer<dmsae_entry> {
    entry(of: type, id: text("dmsae.scorer.per_token/1"), table: UnsafeRawPointer(perToken))
}

/// As for scorers of tokens. An older host than 0.1 has no use for one.
func pluginEntry<Score: TotalsScorer>(of type: Score.Type) -> UnsafePointer<dmsae_entry> {
    entry(of: type, id: text("dmsae.scorer.accumulate/1"), table: UnsafeRawPointer(accumulate), oldestMinor: 1)
}

private func entry(
    of type: any Plugin.Type, id: UnsafePointer<CChar>, table: UnsafeRawPointer, oldestMinor: UInt32 = 0
) -> UnsafePointer<dmsae_entry> {
    if let made = registered { return made.entry }
    let made = Registered(type, id: id, table: table, oldestMinor: max(oldestMinor, DMSAE_ABI_MINOR_REQUIRED))
    registered = made
    return made.entry
}

// One plugin a file. Written once, by the first call of the entry function, which a host makes when it loads the file.
nonisolated(unsafe) private var registered: Registered?

/// C functions cannot capture: what they need of the plugin's type is here.
private final class Registered {
    let type: any Plugin.Type
    let id: String
    let table: UnsafeRawPointer
    let settings: [Setting]
    let descriptor: UnsafePointer<dmsae_descriptor>
    let entry: UnsafePointer<dmsae_entry>
    /// Of a scorer of totals: how many sums a latent has, and what the score is.
    let sumCount: Int
    let output: UnsafePointer<dmsae_output>

    init(_ type: any Plugin.Type, id: UnsafePointer<CChar>, table: UnsafeRawPointer, oldestMinor: UInt32) {
        (self.type, self.id, self.table) = (type, String(cString: id), table)
        let about = type.about, totals = type as? any TotalsScorer.Type
        settings = about.settings
        sumCount = totals?.sumCount ?? 0
        output = immortal(
            dmsae_output(
                struct_size: UInt32(MemoryLayout<dmsae_output>.size), shape: .DMSAE_OUTPUT_LATENT, name: text("score"),
                unit: text(totals?.unit ?? "1"), description: text(about.description),
                flags: DMSAE_OUTPUT_HIGHER_IS_BETTER, standard_error_of: -1, count_of: -1))
        let specifications = about.settings.map { immortal(specification($0)) }
        descriptor = immortal(
            dmsae_descriptor(
                struct_size: UInt32(MemoryLayout<dmsae_descriptor>.size), kind: .DMSAE_KIND_SCORER, id: text(about.id),
                name: text(about.name), version: text(about.version), license: text(about.license),
                description: text(about.description), extensions: immortal(id), extension_count: 1, reserved: 0,
                flags: about.flags, parameters: array(specifications), parameter_count: UInt32(specifications.count),
                reserved2: 0))
        entry = immortal(
            dmsae_entry(
                magic: DMSAE_MAGIC, struct_size: UInt32(MemoryLayout<dmsae_entry>.size), abi_major: DMSAE_ABI_MAJOR,
                abi_minor_min: oldestMinor, plugin_count: 1,
                descriptor: { _, index in index == 0 ? registered?.descriptor : nil },
                create: { _, _, host, parameters, count, out, call in
                    guard let plugin = registered else { return .DMSAE_ERR_FAILED }
                    return reporting(to: call) {
                        out.pointee = OpaquePointer(
                            Unmanaged.passRetained(try plugin.create(host, parameters, Int(count)) as AnyObject)
                                .toOpaque())
                    }
                },
                destroy: { Unmanaged<AnyObject>.fromOpaque(UnsafeRawPointer($0)).release() },
                get_extension: { _, id in String(cString: id) == registered?.id ? registered?.table : nil }))
    }

    /// An older host passes what the user wrote, unchecked (DMSAE-ENTRY-07); a newer one has filled the defaults in.
    func create(
        _ host: UnsafePointer<dmsae_host>, _ parameters: UnsafePointer<dmsae_parameter>, _ count: Int
    ) throws -> any Plugin {
        var values = Dictionary(uniqueKeysWithValues: settings.map { ("\($0.key)", "\($0.defaultValue)") })
        for i in 0..<count {
            let key = String(cString: parameters[i].key), value = String(cString: parameters[i].value)
            guard let setting = settings.first(where: { "\($0.key)" == key }) else {
                throw PluginFailure(status: .DMSAE_ERR_UNKNOWN_PARAMETER, text: "unknown parameter '\(key)'")
            }
            guard setting.kind.accepts(value) else {
                throw PluginFailure(status: .DMSAE_ERR_INVALID_ARGUMENT, text: "\(key) is '\(value)'")
            }
            values[key] = value
        }
        return try type.init(Settings(values: values), Host(host))
    }
}

nonisolated(unsafe) private let perToken = immortal(
    dmsae_scorer_per_token(
        struct_size: UInt32(MemoryLayout<dmsae_scorer_per_token>.size), reserved: 0,
        score: { object, batch, scores, call in
            reporting(to: call) {
                let scorer = try instance(object, as: (any Scorer).self)
                let count = Int(batch.pointee.codes.pointee.count)
                try scorer.score(Batch(batch), into: UnsafeMutableBufferPointer(start: scores, count: count))
            }
        }))

/// A state: the number of scored tokens, then the sums [m, sumCount], all Double.
private struct TotalsState {
    let plan: UnsafePointer<dmsae_scoring_plan>

    var width: Int { registered?.sumCount ?? 0 }
    var latentCount: Int { Int(plan.pointee.latent_count) }
    var count: Int { 1 + latentCount * width }

    func numbers(_ state: UnsafeMutableRawPointer) -> UnsafeMutablePointer<Double> {
        state.assumingMemoryBound(to: Double.self)
    }
    func numbers(_ state: UnsafeRawPointer) -> UnsafePointer<Double> { state.assumingMemoryBound(to: Double.self) }
}

nonisolated(unsafe) private let accumulate = immortal(
    dmsae_scorer_accumulate(
        struct_size: UInt32(MemoryLayout<dmsae_scorer_accumulate>.size), state_version: 1, output_count: { _ in 1 },
        output: { _, index in index == 0 ? registered?.output : nil },
        state_size: { _, plan, bytes, call in
            reporting(to: call) {
                bytes.pointee = UInt64(TotalsState(plan: plan).count * MemoryLayout<Double>.stride)
            }
        },
        begin: { _, _, _, call in reporting(to: call) {} },
        accumulate: { object, plan, batch, state, call in
            reporting(to: call) {
                let layout = TotalsState(plan: plan), batch = Batch(batch)
                let numbers = layout.numbers(state)
                try instance(object, as: (any TotalsScorer).self)
                    .add(batch, to: Sums(values: numbers + 1, width: layout.width))
                numbers[0] += Double((0..<batch.tokenCount).count(where: batch.isScored))
            }
        },
        merge: { _, plan, state, other, call in
            reporting(to: call) {
                let layout = TotalsState(plan: plan)
                let (into, from) = (layout.numbers(state), layout.numbers(other))
                for i in 0..<layout.count { into[i] += from[i] }
            }
        },
        finish: { object, plan, state, outputs, call in
            reporting(to: call) {
                let layout = TotalsState(plan: plan), numbers = layout.numbers(state)
                let scorer = try instance(object, as: (any TotalsScorer).self)
                for j in 0..<layout.latentCount {
                    let sums = UnsafeBufferPointer(start: numbers + 1 + j * layout.width, count: layout.width)
                    outputs[0][j] = scorer.score(sums, scoredTokens: Int(numbers[0])) ?? .nan
                }
            }
        }))

private func instance<Kind>(_ pointer: OpaquePointer, as kind: Kind.Type) throws -> Kind {
    let object = Unmanaged<AnyObject>.fromOpaque(UnsafeRawPointer(pointer)).takeUnretainedValue()
    guard let plugin = object as? Kind else { throw PluginFailure(text: "called for what it is not") }
    return plugin
}

/// Does a call that has nothing that must be understood; turns what `body` throws into a status and a text
/// (DMSAE-STATUS-02).
private func reporting(to call: UnsafeMutablePointer<dmsae_call>, _ body: () throws -> Void) -> dmsae_status {
    guard call.pointee.flags >> 32 == 0 else { return .DMSAE_ERR_UNSUPPORTED }
    do {
        try body()
        return .DMSAE_OK
    } catch {
        let failure = error as? PluginFailure ?? PluginFailure(text: "\(error)")
        if let buffer = call.pointee.error, call.pointee.error_capacity > 0 {
            let bytes = failure.text.utf8.prefix(Int(clamping: call.pointee.error_capacity) - 1)
            for (i, byte) in bytes.enumerated() { buffer[i] = CChar(bitPattern: byte) }
            buffer[bytes.count] = 0
        }
        return failure.status
    }
}

private func specification(_ setting: Setting) -> dmsae_parameter_spec {
    var type = dmsae_parameter_type.DMSAE_PARAMETER_TEXT
    var range = 0.0...0.0
    var choices: [UnsafePointer<CChar>] = []
    switch setting.kind {
    case .bool: type = .DMSAE_PARAMETER_BOOL
    case .text: break
    case .integer(let legal): (type, range) = (.DMSAE_PARAMETER_INTEGER, legal)
    case .number(let legal): (type, range) = (.DMSAE_PARAMETER_NUMBER, legal)
    case .choice(let legal): (type, choices) = (.DMSAE_PARAMETER_CHOICE, legal.map(text))
    }
    return dmsae_parameter_spec(
        struct_size: UInt32(MemoryLayout<dmsae_parameter_spec>.size), type: type, key: text(setting.key),
        description: text(setting.description), default_value: text(setting.defaultValue), unit: nil,
        minimum: range.lowerBound, maximum: range.upperBound, choices: array(choices),
        choice_count: UInt32(choices.count),
        reserved: 0, flags: 0)
}

/// A text that lives as long as the process, as C sees it.
private func text(_ text: StaticString) -> UnsafePointer<CChar> {
    UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
}

/// A value in memory that is never freed: the host may read it until the process ends.
private func immortal<Value>(_ value: Value) -> UnsafePointer<Value> {
    let memory = UnsafeMutablePointer<Value>.allocate(capacity: 1)
    memory.initialize(to: value)
    return UnsafePointer(memory)
}

/// As `immortal`; nil for no elements.
private func array<Element>(_ values: [Element]) -> UnsafePointer<Element>? {
    guard !values.isEmpty else { return nil }
    let memory = UnsafeMutableBufferPointer<Element>.allocate(capacity: values.count)
    _ = memory.initialize(from: values)
    return UnsafePointer(memory.baseAddress)
}
