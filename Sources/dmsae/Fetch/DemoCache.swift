import TensorFiles

/// Where the demo's files are kept: `demo` in the cache folder, outside any checkout.
package struct DemoCache: Sendable {
    /// Without a "/" at its end; need not exist.
    package let folder: String

    /// The model: SmolLM2-135M-Instruct, quantised.
    package var model: String { folder + "/" + Self.modelName }
    /// Text for harvesting and training.
    package var train: String { folder + "/train.jsonl" }
    /// Text for choosing settings.
    package var valid: String { folder + "/valid.jsonl" }
    /// Text for final figures.
    package var test: String { folder + "/test.jsonl" }
    /// Licences and sources. Not named .txt: a folder given as a corpus is read whole.
    package var notice: String { folder + "/NOTICE" }

    static let modelName = "SmolLM2-135M-Instruct.Q4_1.gguf"

    /// The demo's folder in `cache`; without one in `$DMSAE_CACHE`, `$XDG_CACHE_HOME/dmsae` or `~/.cache/dmsae`.
    ///
    /// Throws `FetchError.noHome`. Nothing is created.
    package init(cache: String? = nil) throws {
        guard let root = cache ?? CacheFolder.path else { throw FetchError.noHome }
        folder = root + "/demo"
    }
}
