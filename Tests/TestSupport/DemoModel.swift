import Glibc

/// Where `dmsae fetch demo` puts its files; nil as long as it has not run.
public enum DemoModel {
    /// The model file.
    public static let path: String? = file("SmolLM2-135M-Instruct.Q4_1.gguf")

    /// A file of the demo's cache, if it is there.
    public static func file(_ name: String) -> String? {
        let path = folder + "/" + name
        return access(path, R_OK) == 0 ? path : nil
    }

    private static var folder: String {
        func variable(_ name: String) -> String? {
            getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
        }
        if let cache = variable("DMSAE_CACHE") { return cache + "/demo" }
        let cache = variable("XDG_CACHE_HOME") ?? (variable("HOME") ?? "/root") + "/.cache"
        return cache + "/dmsae/demo"
    }
}
