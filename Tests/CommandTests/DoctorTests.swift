import TensorFiles
import TestSupport
import Testing

/// What `doctor` finds on this machine, and on one that lacks something.
@Suite struct DoctorTests {
    private let folder = TemporaryFolder()

    private func doctor(_ more: [String] = [], _ variables: [String: String] = [:]) throws -> ProgramResult {
        try run(builtProgram, ["doctor"] + more, environment: startingEnvironment.merging(variables) { $1 })
    }

    @Test func everythingThatARunDependsOnIsNamed() throws {
        let json = try JSONValue(parsing: try doctor(["--json"]).output)
        let findings = try #require(json.array)
        let names = Set(findings.compactMap { $0["what"]?.string })
        for what in [
            "kernel", "processor", "lanes", "memory", "runs", "cache", "dmsae", "OpenBLAS", "libffi", "libcrypto",
            "zlib", "libcurl",
            "zstd", "CUDA device", "sandbox", "plugins", "C compiler", "MPI", "Slurm",
        ] { #expect(names.contains(what), "\(what)") }
        func found(_ what: String) -> String { findings.first { $0["what"]?.string == what }?["found"]?.string ?? "" }
        #expect(found("processor").contains("x86-64-v"))
        #expect(found("OpenBLAS").contains(/^[0-9.]+, kernels for [A-Za-z0-9]+, \/.*libopenblas/))
        #expect(found("libffi").contains(/^[0-9.]+, \/.*libffi.so/))
        #expect(found("zlib").contains(/^[0-9.]+, \/.*libz.so/))
        #expect(found("zstd").contains(/^[0-9.]+, \/.*libzstd.so/))
        #expect(found("libcrypto").contains(/^OpenSSL [0-9.]+.*, \/.*libcrypto.so/))
        #expect(found("plugins").contains(/^[0-9]+ shipped ones/))
    }

    @Test func whoDecidesTheLanesIsSaid() throws {
        let one = try run("/usr/bin/taskset", ["-c", "0", builtProgram, "doctor"])
        #expect(one.output.contains("1 lane is used: "), "\(one.output)")
        let set = try doctor([], ["DMSAE_LANES": "1"])
        #expect(set.output.contains(/1 lane is used: [0-9]+ processors?.*; DMSAE_LANES says so/), "\(set.output)")
        let many = try doctor([], ["DMSAE_LANES": "250"])
        #expect(
            many.output.contains(/LOOK  lanes .*lanes will wait for each other: unset DMSAE_LANES/), "\(many.output)")
    }

    @Test func aMissingLibraryIsNamedWithItsPackageAndTheStatusSaysSo() throws {
        for name in ["libopenblas.so.0", "libopenblas.so"] { try AtomicFile.write("", to: folder.file(name)) }
        let result = try doctor([], ["LD_LIBRARY_PATH": folder.path])
        #expect(result.status == 1 && result.errors == "", "\(result.errors)")
        #expect(
            result.output.contains(/MISS  OpenBLAS .*file too short.*; apt-get install libopenblas0-pthread/),
            "\(result.output)")
        let json = try JSONValue(parsing: try doctor(["--json"], ["LD_LIBRARY_PATH": folder.path]).output)
        let blas = json.array?.first { $0["what"]?.string == "OpenBLAS" }
        #expect(
            blas?["state"]?.string == "missing" && blas?["remedy"]?.string == "apt-get install libopenblas0-pthread")
    }

    @Test func whatIsFoundOnThePathsIsSaid() throws {
        try AtomicFile.write("", to: folder.file("mine.so"))
        let result = try doctor([], ["DMSAE_PLUGIN_PATH": folder.path, "PATH": folder.path])
        #expect(result.status == 0, "\(result.output)")
        #expect(result.output.contains("\(folder.path): mine.so"), "\(result.output)")
        #expect(
            result.output.contains(
                "none: no mpirun, mpiexec, srun in PATH; nothing runs in several processes; pip install mpich"))
    }

    @Test func aCacheThatCannotBeWrittenIsSaid() throws {
        let result = try doctor([], ["DMSAE_CACHE": "/proc/nothing"])
        #expect(result.output.contains(/LOOK  cache .*for \/proc\/nothing/), "\(result.output)")
    }
}
