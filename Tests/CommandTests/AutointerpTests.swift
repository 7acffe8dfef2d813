import Foundation
import Synchronization
import TensorFiles
import TestSupport
import Testing

/// `autointerp` against a server of the test's own. Delphi's own functions are held against its records in Tests/Peers/autointerp.py.
@Suite struct AutointerpTests {
    private let tiny: TinyModel
    private let sae: String
    private var out: String { tiny.folder.file("out") }

    init() throws {
        tiny = try TinyModel()
        sae = tiny.folder.file("sae")
        let golden = try Golden("gxa/gxa.safetensors")
        try writeSAE(golden, threshold: Float(try golden.number("threshold")), layer: 1, to: sae)
    }

    private func arguments(_ endpoint: String, _ more: [String] = []) -> [String] {
        [
            "autointerp", sae, "--model", tiny.model, "--text", tiny.text, "--endpoint", endpoint, "--explainer", "e",
            "--judge", "j",
            "--out", out, "--tokens", "6000", "--context", "48", "--window", "16", "--explain-contexts", "6",
            "--test-contexts", "9",
            "--quantiles", "3", "--shown", "4", "--count", "3", "--retry-wait", "0.01",
        ] + more
    }

    private func latents(_ folder: String = "out") throws -> [String] {
        try namesInFolder(tiny.folder.file(folder) + "/sae/latents").filter { $0.hasSuffix(".json") }.sorted()
    }

    @Test func explanationsAndScoresAreWhatTheServerSaid() throws {
        let server = try CannedServer(CannedServer.reasonable)
        defer { server.stop() }
        let said = try run(builtProgram, arguments(server.endpoint))
        #expect(said.status == 0, "\(said.errors)")
        #expect(said.output.contains("sae: balanced accuracy, means over latents with 95% intervals"), "\(said.output)")
        let summary = try JSONValue(contentsOf: out + "/sae/autointerp.json")
        let sets = try #require(summary["sets"]?.array)
        #expect(sets.map { $0["name"]?.string } == ["first group", "all"])
        let asked = Set(sets.flatMap { $0["latents"]?.array?.compactMap(\.integer) ?? [] })
        #expect(try latents() == asked.map { "\($0).json" }.sorted() && asked.count >= 4)
        // One explanation, and of each method 18 contexts, four at a time.
        #expect(server.requests.count == 11 * asked.count)
        #expect(summary["usage"]?["requests"]?.integer == 11 * asked.count)
        #expect(summary["usage"]?["tokens_in"]?.integer == 121 * asked.count)
        let estimate = "\(asked.count) latents, \(11 * asked.count) requests; about "
        #expect(said.errors.contains(estimate), "\(said.errors)")
        for key in [
            "model.sha256", "SAE.sha256", "text.sha256", "prompts.sha256", "endpoint", "explainer", "judge", "seed",
            "floor",
        ] {
            #expect(summary["settings"]?[key]?.string != nil, "\(key)")
        }
        for request in server.requests {
            let body = try JSONValue(parsing: request.body)
            #expect(body["model"]?.string == (request.excerpts == nil ? "e" : "j"))
            #expect(request.head.hasPrefix("POST /v1/chat/completions HTTP/1.1\r\n"))
            #expect(!request.head.lowercased().contains("authorization"))
        }
        for latent in try #require(summary["latents"]?.array) {
            let number = try #require(latent["latent"]?.integer)
            let record = try JSONValue(contentsOf: "\(out)/sae/latents/\(number).json")
            #expect(record["explanation"]?.string == "words with an even number of letters")
            for method in ["detection", "fuzzing"] {
                let tested = try #require(record["scores"]?[method])
                var right = 0
                for question in tested["questions"]?.array ?? [] {
                    let tokens = question["context"]?["tokens"]?.array?.compactMap(\.string) ?? []
                    let marked = Set(question["marked"]?.array?.compactMap(\.integer) ?? [])
                    var text = ""
                    for (place, token) in tokens.enumerated() {
                        if marked.contains(place) && !marked.contains(place - 1) { text += "<<" }
                        text += token
                        if marked.contains(place) && !marked.contains(place + 1) { text += ">>" }
                    }
                    right += CannedServer.isYes(text) == question["truth"]?.bool ? 1 : 0
                }
                #expect(latent["scores"]?[method]?["accuracy"]?.double == Double(right) / 18)
            }
        }
        // The same again, from what is kept: nobody is asked, and the summary has the same bytes.
        let kept = contents(of: out + "/sae/autointerp.json")
        let again = try run(builtProgram, arguments(server.endpoint))
        #expect(again.status == 0 && again.output == said.output, "\(again.errors)")
        #expect(server.requests.count == 11 * asked.count && contents(of: out + "/sae/autointerp.json") == kept)
        // More latents are asked about, others not again; and the browser shows scores.
        #expect(try run(builtProgram, arguments(server.endpoint, ["--count", "4"])).status == 0)
        #expect(server.requests.count > 11 * asked.count && server.requests.count <= 22 * asked.count)
        try succeed([
            "latents", "--sae", sae, "--model", tiny.model, "--text", tiny.text, "--tokens", "600", "--context", "48",
            "--html",
            tiny.folder.file("page.html"), "--scores", out + "/sae/autointerp.json", "--all",
        ])
        #expect(String(decoding: contents(of: tiny.folder.file("page.html")), as: UTF8.self).contains("detection"))
    }

    @Test func everySAEHasAFolderOfItsOwn() throws {
        let server = try CannedServer(CannedServer.reasonable)
        defer { server.stop() }
        let other = tiny.folder.file("other/sae")
        try createFolder(parentFolder(of: other))
        let golden = try Golden("gxa/gxa.safetensors")
        try writeSAE(golden, threshold: 0.5, layer: 1, to: other)
        var words = arguments(server.endpoint, ["--method", "detection", "--json", "--hold-to-lists"])
        words.insert(other, at: 2)
        let found = try JSONValue(parsing: try run(builtProgram, words).output)
        #expect(found.object?.keys.sorted() == ["sae", "sae-2"])
        for name in ["sae", "sae-2"] {
            #expect(try JSONValue(contentsOf: "\(out)/\(name)/autointerp.json") == found[name])
        }
        #expect(
            server.requests.allSatisfy {
                ($0.excerpts != nil) == $0.body.contains(#""response_format":{"type":"json_schema""#)
            },
            "judges are held to lists, explanations are not")
        #expect(found["sae"]?["settings"]?["SAE.sha256"] != found["sae-2"]?["settings"]?["SAE.sha256"])
        try fail(words + ["--latents", "1"], status: 64, saying: "--core and --latents are of one SAE")
    }

    @Test func aDryRunAsksNobodyAndWritesNothing() throws {
        let server = try CannedServer(CannedServer.reasonable)
        defer { server.stop() }
        let estimate = try JSONValue(
            parsing: try succeed(arguments(server.endpoint, ["--dry-run", "--json", "--quiet"])))
        let requests = try #require(estimate["requests"]?.integer)
        #expect(estimate["latents"]?.integer == requests / 11 && (estimate["tokens_in"]?.integer ?? 0) > 100 * requests)
        #expect(server.requests.isEmpty && !isThere(out))
    }

    @Test func aServerThatFailsNowAndThenIsAskedAgain() throws {
        // Every third request comes to nothing, each time in another way.
        let failures: [CannedServer.Fate] = [
            .sends(CannedServer.reply("429 Too Many Requests", "{}", headers: ["Retry-After: 0"])),
            .sends(CannedServer.reply("500 Internal Server Error", "oh")),
            .sends(CannedServer.reply("200 OK", "garbage")),
            .breaksOff, .closes, .isSilent(2), .sends(CannedServer.reply("503 Service Unavailable", "")),
            .sends("nonsense\r\n\r\n"),
        ]
        let server = try CannedServer { request in
            request.number % 3 == 1 ? failures[request.number / 3 % failures.count] : CannedServer.reasonable(request)
        }
        defer { server.stop() }
        let said = try run(
            builtProgram, arguments(server.endpoint, ["--timeout", "1", "--concurrency", "6", "--out", out + "-2"]))
        #expect(said.status == 0, "\(said.errors)")
        let calm = try CannedServer(CannedServer.reasonable)
        defer { calm.stop() }
        #expect(try run(builtProgram, arguments(calm.endpoint)).status == 0)
        #expect(try latents() == latents("out-2") && server.requests.count > calm.requests.count)
        for name in try latents() {
            #expect(
                contents(of: "\(out)/sae/latents/\(name)") == contents(of: "\(out)-2/sae/latents/\(name)"), "\(name)")
        }
    }

    @Test func whatIsFinishedStaysAndTheRestIsAskedAbout() throws {
        // Down after 30 requests: two latents are finished, at least.
        let down = try CannedServer { request in
            request.number < 30
                ? CannedServer.reasonable(request) : .sends(CannedServer.reply("500 Internal Server Error", "down"))
        }
        defer { down.stop() }
        let first = try run(builtProgram, arguments(down.endpoint, ["--retries", "1", "--concurrency", "2"]))
        #expect(
            first.status == 1 && first.errors.contains("gave no answer in 2 tries, the last time: 500"),
            "\(first.errors)")
        let finished = try latents()
        #expect(finished.count >= 1 && !isThere(out + "/sae/autointerp.json"))
        let server = try CannedServer(CannedServer.reasonable)
        defer { server.stop() }
        // Stopped by a signal, gone on with.
        let slow = try CannedServer { _ in
            Thread.sleep(forTimeInterval: 0.05)
            return .isSilent(60)
        }
        defer { slow.stop() }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: builtProgram)
        process.arguments = arguments(slow.endpoint)
        process.environment = startingEnvironment
        let errors = Pipe()
        (process.standardOutput, process.standardError) = (FileHandle.nullDevice, errors)
        try process.run()
        while slow.requests.isEmpty && process.isRunning { usleep(10_000) }
        process.interrupt()
        process.waitUntilExit()
        let told = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        #expect(
            process.terminationStatus == 130 && told.contains("finished latents are not asked about again"), "\(told)")
        let last = try run(builtProgram, arguments(server.endpoint))
        #expect(last.status == 0 && last.errors.contains("\(finished.count) of "), "\(last.errors)")
        #expect(server.requests.count == 11 * (try latents().count - finished.count))

        // Kept latents are of these settings and contexts.
        try fail(
            arguments(server.endpoint, ["--seed", "1"]), afterWarnings: true, saying: "with another seed: 0, and not 1")
        let record = "\(out)/sae/latents/\(finished[0])"
        let text = String(decoding: contents(of: record), as: UTF8.self)
        try AtomicFile.write(text.replacing("even number", with: "odd number"), to: record)
        try fail(arguments(server.endpoint), afterWarnings: true, saying: finished[0], "delete it to ask again")
    }

    @Test func answersThatAreNoListsAreCountedAsNone() throws {
        let server = try CannedServer { request in
            request.excerpts?.count == 4 ? .says("I am not sure.") : CannedServer.reasonable(request)
        }
        defer { server.stop() }
        let said = try run(builtProgram, arguments(server.endpoint, ["--method", "detection"]))
        #expect(said.status == 0, "\(said.errors)")
        #expect(said.output.contains("89% of the questions got no list of 0 and 1 for an answer"), "\(said.output)")
        let summary = try JSONValue(contentsOf: out + "/sae/autointerp.json")
        let scores = try #require(summary["latents"]?.array?.first?["scores"]?.object)
        #expect(Array(scores.keys) == ["detection"] && scores["detection"]?["answered"]?.double == 2.0 / 18)
    }

    @Test func aKeyIsSentAndNeverShown() throws {
        let key = "sk-secret-0123456789"
        let server = try CannedServer { request in
            request.head.contains("Authorization: Bearer \(key)\r\n")
                || request.head.hasSuffix("Authorization: Bearer \(key)")
                ? CannedServer.reasonable(request)
                : .sends(CannedServer.reply("401 Unauthorized", #"{"error": {"message": "who are you?"}}"#))
        }
        defer { server.stop() }
        try fail(
            arguments(server.endpoint), afterWarnings: true, saying: "401 Unauthorized: who are you?",
            "--api-key-variable")
        let more = ["--api-key-variable", "MY_KEY"]
        try fail(arguments(server.endpoint, more), saying: "MY_KEY is not set")
        let environment = startingEnvironment.merging(["MY_KEY": key]) { $1 }
        let said = try run(builtProgram, arguments(server.endpoint, more), environment: environment)
        #expect(said.status == 0, "\(said.errors)")
        let echo = try CannedServer { .sends(CannedServer.reply("403 Forbidden", $0.head)) }
        defer { echo.stop() }
        let refused = try run(
            builtProgram, arguments(echo.endpoint, more + ["--out", out + "-2"]), environment: environment)
        #expect(refused.status == 1 && refused.errors.contains("403 Forbidden"), "\(refused.errors)")
        var texts = [said.output, said.errors, refused.output, refused.errors]
        for file in try FileManager.default.subpathsOfDirectory(atPath: out) {
            texts.append(
                String(decoding: FileManager.default.contents(atPath: out + "/" + file) ?? Data(), as: UTF8.self))
        }
        #expect(texts.count > 8 && texts.allSatisfy { !$0.contains(key) })
    }

    @Test func whatCannotBeAskedIsRefusedBeforeAnythingIsMade() throws {
        let nobody = "http://127.0.0.1:9/v1"
        try fail(arguments("127.0.0.1:8080"), status: 64, saying: "is no address that begins with http:// or https://")
        try fail(arguments("http://me:secret@h/v1"), status: 64, saying: "holds a password", "http://…@h/v1")
        try fail(arguments(nobody, ["--window", "20"]), status: 64, saying: "--window 20 does not divide --context 48")
        try fail(
            arguments(nobody, ["--quantiles", "4"]), status: 64,
            saying: "--explain-contexts is 6, and --quantiles 4 does not divide")
        try fail(arguments(nobody, ["--latents", "500"]), status: 64, saying: "latent 500 is not one of the SAE's 128")
        try fail(
            arguments(nobody, ["--test-contexts", "3000"]),
            saying: "of the 128 latents asked for", "none can be explained and tested", "take more text (--tokens)")
        #expect(!isThere(out))
        try fail(
            arguments(nobody, ["--retries", "1"]), afterWarnings: true,
            saying: "gave no answer in 2 tries, the last time: ", "onnect")
    }
}
