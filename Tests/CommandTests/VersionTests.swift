import PluginABI
import TensorFiles
import TestSupport
import Testing

/// One file says which version this is, `Include/dmsae/version.h`; whatever else says it agrees.
@Suite struct VersionTests {
    @Test func `program, packages and list of changes say the version of the header`() throws {
        let version = try succeed(["--version"]).trimmed, root = fixture("../..")
        #expect(version.split(separator: ".").count == 3)
        // What the packed folder, the wheel and dmsae.pc are made with.
        #expect(try run(root + "/.ci/version", []).output.trimmed == version)
        let abi = try run(root + "/.ci/version", ["--abi"]).output.trimmed
        #expect("\(abi).0" == HostIdentity.version)
        let changes = String(decoding: contents(of: root + "/Sources/CHANGES.md"), as: UTF8.self)
        let newest = changes.split(separator: "\n").first { $0.hasPrefix("## ") }
        #expect(newest?.hasPrefix("## \(version), plugin ABI \(abi)") == true, "\(newest ?? "no heading")")
    }
}

extension String {
    fileprivate var trimmed: String { String(drop { $0.isWhitespace }.prefix { !$0.isWhitespace }) }
}
