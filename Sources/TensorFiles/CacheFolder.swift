import Glibc

/// Where the program keeps what it can make or fetch again.
public enum CacheFolder {
    /// `$DMSAE_CACHE`, `$XDG_CACHE_HOME/dmsae` or `~/.cache/dmsae`; nil where none of the variables is an absolute
    /// path. A relative one would be another folder in every place, and is none by the rules of XDG.
    public static var path: String? {
        let environment = { (name: String) in
            getenv(name).map { String(cString: $0) }.flatMap { $0.hasPrefix("/") ? $0 : nil }
        }
        return environment("DMSAE_CACHE") ?? environment("XDG_CACHE_HOME").map { $0 + "/dmsae" }
            ?? environment("HOME").map { $0 + "/.cache/dmsae" }
    }
}
