import Glibc
import PluginABI
import TensorFiles

/// What of the host's environment a plugin's process has. The rule: the variables of this list and those that begin
/// with one of these prefixes, which decide how libraries compute, where they are and how texts are read; but none with
/// TOKEN, SECRET, PASS, CREDENTIAL, AUTH or KEY in its name, and no others than those asked for by name.
package enum PluginEnvironment {
    static let names: Set<String> = [
        "PATH", "HOME", "TMPDIR", "TMP", "TEMP", "USER", "LOGNAME", "SHELL", "TZ", "TERM", "LANG", "LANGUAGE",
        "VIRTUAL_ENV",
        "CONDA_PREFIX", "CUDA_VISIBLE_DEVICES",
    ]
    static let prefixes = [
        "LC_", "LD_", "GLIBC_", "MALLOC_", "OMP_", "GOMP_", "KMP_", "OPENBLAS_", "GOTO_", "BLIS_", "MKL_", "ATLAS_",
        "BLAS_",
        "VECLIB_", "NUMEXPR_", "NUMBA_", "PYTHON", "GFORTRAN_", "DMSAE_",
    ]
    /// Those that are known not to change what a plugin computes: where things are, who it is and where its work goes,
    /// and what of ours is for the host.
    static let harmless: Set<String> = [
        "PATH", "HOME", "TMPDIR", "TMP", "TEMP", "USER", "LOGNAME", "SHELL", "TERM", "VIRTUAL_ENV", "CONDA_PREFIX",
        "CUDA_VISIBLE_DEVICES", "DMSAE_CACHE", "DMSAE_CPU", "DMSAE_LANES", "DMSAE_PLUGIN_PATH", "DMSAE_PYTHON",
        "DMSAE_STRICT",
    ]
    private static let secrets = ["TOKEN", "SECRET", "PASS", "CREDENTIAL", "AUTH", "KEY"]

    /// Whether a variable is passed on without being asked for.
    package static func passesOn(_ name: String) -> Bool {
        let upper = name.uppercased()
        return (names.contains(name) || prefixes.contains(where: name.hasPrefix))
            && !secrets.contains(where: upper.contains)
    }

    /// The environment of a worker, as `NAME=VALUE`, with the variables `also`.
    package static func variables(also: [String]) -> [String] {
        passedOn(also).map { "\($0)=\($1)" } + ["SWIFT_BACKTRACE=enable=no"]
    }

    /// What of it results are kept under: all that reaches a plugin and may decide what it computes,
    /// `also` in any case.
    package static func hashes(also: [String]) -> [VariableHash] {
        passedOn(also).filter { !harmless.contains($0.name) || also.contains($0.name) }.map { name, value in
            VariableHash(name: name, value: value)
        }.sorted { $0.name < $1.name }
    }

    private static func passedOn(_ also: [String]) -> [(name: String, value: String)] {
        var result: [(String, String)] = []
        var variable = environ
        while let text = variable.pointee {
            let pair = String(cString: text)
            variable += 1
            let name = String(pair.prefix { $0 != "=" })
            // Set for workers by `variables`.
            if name == "SWIFT_BACKTRACE" { continue }
            if passesOn(name) || also.contains(name) { result.append((name, String(pair.dropFirst(name.count + 1)))) }
        }
        return result
    }
}
