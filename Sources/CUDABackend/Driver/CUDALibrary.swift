import Glibc
import TensorFiles

/// A shared library of CUDA, opened at run time: nothing of CUDA is needed to build this program, nor to run it without a card.
///
/// Looked for in DMSAE_CUDA_PATH (a folder, or a file that has everything) where it is set, then where the loader looks, then
/// where CUDA and its Python packages put it.
struct CUDALibrary: @unchecked Sendable {
    /// As it was opened.
    let path: String
    private let handle: UnsafeMutableRawPointer

    /// - Parameters:
    ///   - names: sonames, the newest first.
    ///   - variable: which names the library's own place, if there is such a variable, and comes first.
    ///   - advice: what to install.
    /// - Throws: `CUDAError.libraryMissing`.
    init(_ names: [String], variable: String? = nil, advice: String) throws(CUDAError) {
        let candidates = Self.candidates(names, variable)
        for candidate in candidates {
            guard let handle = dlopen(candidate, RTLD_NOW | RTLD_LOCAL) else { continue }
            (self.handle, path) = (handle, candidate)
            return
        }
        let folders = Self.folders.map { $0 + "/" }
        // One place that was named, or of all that there are those that exist.
        let tried = candidates.count > names.count ? names + folders.filter(exists) : candidates
        throw .libraryMissing(name: names[0], tried: tried, advice: advice)
    }

    /// The function of that name. `Function` must be its C type.
    ///
    /// - Throws: `CUDAError.symbolMissing`.
    func function<Function>(_ name: String, as type: Function.Type = Function.self) throws(CUDAError) -> Function {
        guard let symbol = dlsym(handle, name) else { throw .symbolMissing(library: path, symbol: name) }
        return unsafeBitCast(symbol, to: Function.self)
    }

    private static func candidates(_ names: [String], _ variable: String?) -> [String] {
        func named(_ variable: String) -> [String]? {
            guard let place = getenv(variable).map({ String(cString: $0) }), !place.isEmpty else { return nil }
            return place.contains(".so") ? [place] : names.map { place + "/" + $0 }
        }
        if let own = variable.flatMap(named) { return own }
        let place = named("DMSAE_CUDA_PATH")
        // A library with a variable of its own need not lie there.
        if let place, variable == nil { return place }
        return (place ?? []) + names + folders.flatMap { folder in names.map { folder + "/" + $0 } }
    }

    /// Where CUDA's own installer and the packages of PyPI put libraries.
    private static let folders: [String] = {
        var patterns = ["/usr/local/cuda/lib64", "/usr/lib/wsl/lib"]
        for variable in ["CUDA_HOME", "CUDA_PATH"] {
            if let value = getenv(variable).map({ String(cString: $0) }), !value.isEmpty {
                patterns.append(value + "/lib64")
            }
        }
        for variable in ["VIRTUAL_ENV", "CONDA_PREFIX"] {
            guard let value = getenv(variable).map({ String(cString: $0) }), !value.isEmpty else { continue }
            patterns += [value + "/lib", value + "/lib/python3*/site-packages/nvidia/*/lib"]
        }
        if let home = getenv("HOME").map({ String(cString: $0) }) {
            patterns.append(home + "/.local/lib/python3*/site-packages/nvidia/*/lib")
        }
        patterns += [
            "/usr/local/lib/python3*/dist-packages/nvidia/*/lib", "/usr/lib/python3/dist-packages/nvidia/*/lib",
        ]
        return patterns.flatMap(matches)
    }()

    private static func matches(_ pattern: String) -> [String] {
        var result = glob_t()
        defer { globfree(&result) }
        guard glob(pattern, 0, nil, &result) == 0 else { return [] }
        return (0..<Int(result.gl_pathc)).compactMap { result.gl_pathv[$0].map { String(cString: $0) } }
    }
}
