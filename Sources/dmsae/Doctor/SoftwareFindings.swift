import Autointerp
import CUDABackend
import Glibc
import LinearAlgebra
import PluginABI
import PluginHost
import Ranks
import TensorFiles

/// What the program is made of and what it finds beside it: libraries, a card, plugins, programs.
enum SoftwareFindings {
    static func libraries() -> [Finding] {
        [Finding("dmsae", "\(DMSAE.version), plugin ABI \(HostIdentity.version)"), blas()]
            + LoadedLibrary.linked.map { library in
                guard let path = library.path else { return Finding(library.name, "a part of the program") }
                return Finding(library.name, library.version.map { "\($0), \(path)" } ?? path)
            } + [curl()]
    }

    /// Opened by the one command that asks servers.
    private static func curl() -> Finding {
        guard let version = CurlTransfers.version else {
            return Finding("libcurl", "none: `dmsae autointerp` needs it", remedy: "apt-get install libcurl4")
        }
        return Finding("libcurl", version)
    }

    private static func blas() -> Finding {
        do { try BLAS.prepare() } catch {
            return Finding("OpenBLAS", "\(error)", .missing, remedy: "apt-get install libopenblas0-pthread")
        }
        let library = LoadedLibrary.openBLAS
        return Finding(
            "OpenBLAS",
            (library.version ?? "no version") + ", kernels for \(BLAS.core)" + (library.path.map { ", \($0)" } ?? ""))
    }

    /// The first card with all that computing on it takes, or what is missing. Most machines have none.
    static func card() -> [Finding] {
        do {
            let card = try CUDACard(index: 0)
            return [Finding("CUDA device", card.description), Finding("CUDA libraries", card.libraries)]
        } catch CUDAError.libraryMissing(let name, _, let advice) where name.hasPrefix("libcuda.so") {
            return [Finding("CUDA device", "none: no \(name); \(advice)")]
        } catch CUDAError.libraryMissing(let name, let tried, let advice) {
            let error = CUDAError.libraryMissing(name: name, tried: tried, advice: advice)
            return [
                Finding("CUDA device", "\(error)", .look, remedy: "pip install nvidia-cuda-nvrtc nvidia-cublas")
            ]
        } catch {
            return [Finding("CUDA device", "\(error)", .look)]
        }
    }

    /// What several processes would speak to each other with.
    static func ranks() -> [Finding] {
        do {
            let library = try MPILibrary()
            return [Finding("MPI library", "\(library.version), \(library.path)")]
        } catch RankError.libraryMissing {
            return [
                Finding(
                    "MPI library",
                    "none: no libmpi_abi.so.1; pip install mpich, or make mpi, to compute in several processes")
            ]
        } catch {
            return [Finding("MPI library", "\(error)", .look)]
        }
    }

    static func plugins() throws -> [Finding] {
        let catalog = try PluginCatalog()
        let shipped = plugins(in: catalog.shippedFolder).filter { $0.hasPrefix("libdmsae-plugin-") }
        let own =
            shipped.isEmpty
            ? Finding(
                "plugins", "none in \(catalog.shippedFolder)", .missing,
                remedy: "build all products (swift build -c release), and keep the .so files with the program")
            : Finding("plugins", "\(shipped.count) shipped ones are in \(catalog.shippedFolder)")
        let path =
            catalog.searchPath.isEmpty ? [Finding("plugins", "DMSAE_PLUGIN_PATH names no folders")] : []
        return [own] + path
            + catalog.searchPath.map { folder in
                if let problem = catalog.problem(of: folder) {
                    return Finding("plugins", "\(folder): \(problem)", .look)
                }
                let found = plugins(in: folder)
                return Finding("plugins", "\(folder): " + (found.isEmpty ? "none" : found.joined(separator: ", ")))
            }
    }

    private static func plugins(in folder: String) -> [String] {
        ((try? namesInFolder(folder)) ?? []).filter { $0.hasSuffix(".so") }.sorted()
    }

    /// What some commands start, or what batch systems bring. No run needs any of them.
    static func programs() -> [Finding] {
        [
            ("C compiler", ["cc"], "plugins in C cannot be built here", "apt-get install gcc libc6-dev make"),
            ("Swift", ["swiftc"], "plugins in Swift cannot be built here", "https://www.swift.org/install/linux"),
            ("Python", ["python3"], "`dmsae fetch` and scorers in Python need it", "apt-get install python3-pip"),
            ("MPI", ["mpirun", "mpiexec", "srun"], "nothing runs in several processes", "pip install mpich"),
            (
                "Slurm", ["sbatch"], "`sweep --slurm` is for machines that have it",
                "apt-get install slurm-client"
            ),
        ].map { what, names, lost, remedy in
            let found = names.lazy.compactMap(program).first
            return Finding(
                what, found ?? "none: no \(names.joined(separator: ", ")) in PATH; \(lost)",
                remedy: found == nil ? remedy : nil)
        }
    }

    /// The file that a name means to a shell.
    private static func program(_ name: String) -> String? {
        let folders = getenv("PATH").map { String(cString: $0).split(separator: ":") } ?? []
        return folders.map { "\($0)/\(name)" }.first { access($0, X_OK) == 0 }
    }
}
