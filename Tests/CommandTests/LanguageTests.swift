import SparseCoding
import TensorFiles
import TestSupport
import Testing

/// Plugins/Template/README.md, executed: the same scorer in every language, built, put to the test, ranked with.
struct LanguageTests {
    private let folder = TemporaryFolder()

    /// A block of commands and the heading above it. One whose compiler is not here is left out, by name.
    struct Block: CustomTestStringConvertible, Sendable {
        let language: String
        let commands: [String]
        var testDescription: String { language }

        static let all: [Block] = {
            let text = String(decoding: contents(of: fixture("../../Plugins/Template/README.md")), as: UTF8.self)
            return text.split(separator: "\n## ").dropFirst().map { section in
                let lines = section.split(separator: "\n")
                return Block(
                    language: String(lines[0]),
                    commands: lines.filter { $0.hasPrefix("$ ") }.map { String($0.dropFirst(2)) })
            }
        }()
        static let here = all.filter { block in
            let compiler =
                block.commands.map { $0.split(separator: " ")[0] }.first { $0 != "cp" && $0 != "dmsae" } ?? "make"
            let isHere = (try? run("/bin/sh", ["-c", "command -v \(compiler)"]).status == 0) ?? false
            if !isHere { print("LanguageTests: without \(block.language), for there is no \(compiler)") }
            return isHere
        }
    }

    private func shell(_ command: String) throws -> ProgramResult {
        let bin = builtProgram.dropLast("/dmsae".count)
        return try run(
            "/bin/sh",
            [
                "-c",
                "cd '\(folder.path)' && export PATH='\(bin)':$PATH model='\(fixture("models/llama"))' "
                    + "source='\(fixture("../.."))' && \(command)",
            ])
    }

    private func layInput() throws {
        let splice = try GoldenSplice()
        var provenance = SAEProvenance()
        provenance.layer = 1
        try SAEFolder.write(try splice.sae(), provenance, to: folder.file("sae"))
        var writer = SafetensorsWriter()
        writer.add("input_ids", integers: splice.tokens.ids.map(Int64.init), shape: [4, 24])
        try writer.write(to: folder.file("ids.safetensors"))
    }

    private func scores(_ file: String) throws -> [Double] {
        try SafetensorsFile(path: folder.file(file)).doubles("scores")
    }

    @Test func `every language that is promised is shown`() {
        #expect(
            Block.all.map(\.language) == [
                "C", "C++", "Swift, for each token", "Swift, totals over the pass", "Fortran", "Rust", "Zig",
                "A packed function of Apache TVM FFI",
            ])
        #expect(Block.all.allSatisfy { $0.commands.count >= 3 })
    }

    @Test(arguments: Block.here) func `a scorer ranks latents as gxa does, in`(_ block: Block) throws {
        try layInput()
        for command in block.commands {
            let result = try shell(command)
            #expect(result.status == 0, "\(command): \(result.output) \(result.errors)")
            if command.hasPrefix("dmsae score") { #expect(result.output.contains("  rank  latent")) }
        }
        let scores = try scores("scores.safetensors")
        guard block.language != "C++" else { return #expect(scores.contains { $0 > 0 }) }
        // A latent's total over the tokens is the mean of its scores with their signs.
        let how = block.language.hasSuffix("totals over the pass") ? "--aggregate mean --signed" : ""
        let input = "--model $model --sae sae --tokens ids.safetensors"
        #expect(try shell("dmsae score \(input) --scorer gxa \(how) --out gxa.safetensors").status == 0)
        let gxa = try self.scores("gxa.safetensors"), most = gxa.map(abs).max() ?? 0
        #expect(scores.count == gxa.count && most > 0)
        // Decoder rows are unit to single precision, and products are added up in other orders.
        for (a, b) in paired(scores, gxa) { #expect(abs(a - b) <= 1e-5 * most) }
    }

    @Test func `what C++ throws is an error of the command with the exception's text`() throws {
        try layInput()
        let source = String(decoding: contents(of: fixture("../../Plugins/Template/guarded.cpp")), as: UTF8.self)
        let throwing = source.replacing(
            "std::vector<double> totals(static_cast<size_t>(codes.rows));",
            with: "std::vector<double> totals; totals.at(static_cast<size_t>(codes.rows));")
        #expect(throwing != source)
        try throwing.write(toFile: folder.file("throwing.cpp"), atomically: true, encoding: .utf8)
        #expect(try shell("c++ -shared -fPIC -I $source/Include throwing.cpp -o throwing.so").status == 0)
        let result = try shell(
            "dmsae score --model $model --sae sae --tokens ids.safetensors --scorer ./throwing.so --out scores.safetensors"
        )
        #expect(result.status == 1 && result.errors.contains("vector::_M_range_check"), "\(result.errors)")
    }
}
