import Glibc
import LinearAlgebra
import TensorFiles

/// A shared library that is in this process: where it came from, and what it says of itself.
struct LoadedLibrary {
    let name: String
    /// Of the file; nil where the program has it in itself.
    let path: String?
    let version: String?

    /// What the program is linked with, and so has whenever it starts.
    static var linked: [LoadedLibrary] {
        [
            LoadedLibrary("libffi", file: "libffi.so", symbol: "ffi_get_version"),
            LoadedLibrary("libcrypto", file: "libcrypto.so", symbol: "OpenSSL_version", takesNumber: true),
            LoadedLibrary("zlib", file: "libz.so", symbol: "zlibVersion"),
            LoadedLibrary("zstd", file: "libzstd.so", symbol: "ZSTD_versionString"),
        ]
    }

    /// What `BLAS.prepare` loaded.
    static var openBLAS: LoadedLibrary {
        LoadedLibrary("OpenBLAS", file: "libopenblas", symbol: "openblas_get_config")
    }

    /// - Parameters:
    ///   - file: how the file's name begins.
    ///   - symbol: a function that returns text, of nothing or (`takesNumber`) of 0; where it is missing, as in libffi before 3.5, the
    ///     version is what the file's own name ends with.
    private init(_ name: String, file: String, symbol: String, takesNumber: Bool = false) {
        let path = Self.loadedFiles.first { lastComponent($0).hasPrefix(file) }
        (self.name, self.path) = (name, path)
        // Already there: this only finds it.
        let library = path.flatMap { dlopen($0, RTLD_NOW | RTLD_NOLOAD) } ?? dlopen(nil, RTLD_NOW)
        defer { if let library { dlclose(library) } }
        guard let function = library.flatMap({ dlsym($0, symbol) }) else {
            version = path.flatMap { $0.range(of: ".so.") }
            return
        }
        typealias OfNothing = @convention(c) () -> UnsafePointer<CChar>?
        typealias OfNumber = @convention(c) (Int32) -> UnsafePointer<CChar>?
        let text =
            takesNumber
            ? unsafeBitCast(function, to: OfNumber.self)(0) : unsafeBitCast(function, to: OfNothing.self)()
        version = text.map { String(cString: $0) }.map { said in
            // OpenBLAS tells of its whole build.
            said.hasPrefix("OpenBLAS ") ? String(said.split(separator: " ")[1]) : said
        }
    }

    /// Files that are mapped into this process; links are followed, so that names are whole.
    private static var loadedFiles: [String] {
        (smallFile("/proc/self/maps") ?? "").split(separator: "\n")
            .compactMap { line in line.firstIndex(of: "/").map { String(line[$0...]) } }
    }
}

extension String {
    /// What stands behind the last `mark`.
    fileprivate func range(of mark: String) -> String? {
        let parts = split(separator: mark, omittingEmptySubsequences: false)
        return parts.count > 1 ? parts.last.map(String.init) : nil
    }
}
