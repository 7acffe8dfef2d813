import Foundation
import PluginTestSupport
import Testing

struct HeaderTests {
    private static let dialects = [
        ("cc", "c", "c99"), ("cc", "c", "c11"), ("c++", "c++", "c++11"), ("c++", "c++", "c++20"),
        ("clang", "c", "c99"), ("clang", "c", "c11"), ("clang++", "c++", "c++11"), ("clang++", "c++", "c++20"),
    ]

    @Test(arguments: dialects)
    func `the headers compile without a warning and keep the layout of version 0.0`(
        compiler: String, language: String, standard: String
    ) throws {
        let result = try run([
            compiler, "-x", language, "-std=\(standard)", "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only",
            "-I", "Include", "Tests/PluginABITests/Fixtures/layout.c",
        ])
        #expect(result.status == 0, "\(result.output)")
    }

    @Test func `requiring a newer minor version than the header's does not compile`() throws {
        let result = try run([
            "cc", "-DDMSAE_ABI_MINOR_REQUIRED=99u", "-fsyntax-only", "-I", "Include",
            "Tests/PluginABITests/Fixtures/layout.c",
        ])
        #expect(result.status != 0)
        #expect(result.output.contains("DMSAE_ABI_MINOR_REQUIRED is newer than this header"))
    }

    @Test func `the scorer shown in the header is the template`() throws {
        func text(_ path: String) throws -> String {
            try String(contentsOfFile: packageRoot + "/" + path, encoding: .utf8)
        }
        let template = try text("Plugins/Template/scorer.c")
        let code = String(template[try #require(template.range(of: "*/\n")).upperBound...])
        let commented = code.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
            .map { $0.isEmpty ? " *" : " *   " + $0 }.joined(separator: "\n")
        #expect(try text("Include/dmsae/dmsae.h").contains(commented))
    }

    @Test func `the single-file header is up to date, and a header in every language`() throws {
        let made = try run(["Include/single-file"])
        let committed = try String(contentsOfFile: packageRoot + "/Include/dmsae_plugin.h", encoding: .utf8)
        #expect(made.output == committed, "run Include/single-file > Include/dmsae_plugin.h")
        for (compiler, language, standard) in [
            ("cc", "c", "c99"), ("cc", "c", "c11"), ("c++", "c++", "c++11"), ("c++", "c++", "c++20"),
        ] {
            let result = try run([
                compiler, "-x", language, "-std=\(standard)", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
                "-include", "Include/dmsae_plugin.h", "/dev/null",
            ])
            #expect(result.status == 0, "\(compiler) \(standard): \(result.output)")
        }
    }
}
