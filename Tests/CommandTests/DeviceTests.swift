import Foundation
import TensorFiles
import TestSupport
import Testing

/// `--device` and what commands say of a card, real or emulated.
@Suite struct DeviceTests {
    private static let emulation = String(builtProgram.dropLast("dmsae".count)) + "libdmsae-cuda-emulation.so"

    private func dmsae(_ arguments: [String], _ variables: [String: String] = [:]) throws -> ProgramResult {
        var environment = startingEnvironment.filter { !$0.key.hasPrefix("DMSAE_") }
        environment.merge(variables) { $1 }
        return try run(builtProgram, arguments, environment: environment)
    }

    private func activations(in folder: TemporaryFolder) throws -> String {
        let path = folder.file("x.safetensors")
        var writer = SafetensorsWriter()
        writer.add("x", randomMatrix(300, 12, seed: 5))
        try writer.write(to: path)
        return path
    }

    private func training(_ x: String, _ out: String) -> [String] {
        [
            "train", "--activations", x, "--width", "64", "--k", "4", "--steps", "20", "--batch", "50", "--out", out,
            "--quiet",
        ]
    }

    @Test func aTrainingOnACardIsRecordedWithIt() throws {
        let folder = TemporaryFolder()
        let x = try activations(in: folder)
        let (cpu, card) = (folder.file("cpu"), folder.file("card"))
        #expect(try dmsae(training(x, cpu)).status == 0)
        let result = try dmsae(
            training(x, card) + ["--device", "cuda:0", "--precision", "fp32"], ["DMSAE_CUDA_PATH": Self.emulation])
        #expect(result.status == 0 && result.errors.isEmpty, "\(result.errors)")
        let record = try String(contentsOfFile: card + "/cfg.json", encoding: .utf8)
        #expect(record.contains("\"device\" : \"emulated GPU\"") && record.contains("\"precision\" : \"fp32\""))
        #expect(try !String(contentsOfFile: cpu + "/cfg.json", encoding: .utf8).contains("\"precision\""))
        // The same training up to rounding, which twenty steps of Adam magnify.
        let (a, b) = (
            try SafetensorsFile(path: card + "/sae_weights.safetensors"),
            try SafetensorsFile(path: cpu + "/sae_weights.safetensors")
        )
        for name in ["W_enc", "W_dec", "b_dec"] {
            checkClose(try a.matrix(name).values, try b.doubles(name), tolerance: 1e-3, name)
        }
    }

    /// A changed bit of a kept kernel would be another number, and no error.
    @Test func aKeptKernelThatWasChangedIsCompiledAgain() throws {
        let folder = TemporaryFolder()
        let x = try activations(in: folder)
        let variables = ["DMSAE_CUDA_PATH": Self.emulation, "DMSAE_CACHE": folder.file("cache")]
        let kept = folder.file("cache/kernels")
        func train(_ name: String) throws -> [String: [UInt8]] {
            let result = try dmsae(training(x, folder.file(name)) + ["--device", "cuda"], variables)
            #expect(result.status == 0 && result.errors.isEmpty, "\(result.errors)")
            var files: [String: [UInt8]] = [:]
            for name in try FileManager.default.contentsOfDirectory(atPath: kept) {
                files[name] = contents(of: kept + "/" + name)
            }
            return files
        }
        let first = try train("first")
        #expect(first.count > 5)
        for (name, data) in first {
            var changed = data
            changed[changed.count - 1] ^= 1
            try Data(changed).write(to: URL(fileURLWithPath: kept + "/" + name))
        }
        #expect(try train("second") == first)
    }

    @Test func theVariableNamesADeviceToo() throws {
        let folder = TemporaryFolder()
        let x = try activations(in: folder)
        let result = try dmsae(
            training(x, folder.file("sae")), ["DMSAE_DEVICE": "cuda", "DMSAE_CUDA_PATH": Self.emulation])
        #expect(result.status == 0 && result.errors.isEmpty, "\(result.errors)")
        #expect(try String(contentsOfFile: folder.file("sae") + "/cfg.json", encoding: .utf8).contains("tf32"))
    }

    @Test(arguments: [
        (["--device", "gpu"], "Error: \"gpu\" names no device; it must be cpu, cuda or cuda:N, N counted from 0"),
        (
            ["--device", "cuda:01"],
            "Error: \"cuda:01\" names no device; it must be cpu, cuda or cuda:N, N counted from 0"
        ),
        (["--device", "cuda:7"], "Error: there is no CUDA device 7: this machine has 1, counted from 0"),
        (["--precision", "fp32"], "Error: --precision is for products on a card; add --device cuda, or leave it out"),
    ]) func whatCannotBeHadIsSaid(_ options: [String], _ text: String) throws {
        let folder = TemporaryFolder()
        let result = try dmsae(
            training(try activations(in: folder), folder.file("sae")) + options, ["DMSAE_CUDA_PATH": Self.emulation])
        #expect(result.status != 0 && result.errors.hasPrefix(text), "\(result.errors)")
        #expect(!FileManager.default.fileExists(atPath: folder.file("sae")))
    }

    @Test func withoutTheDriverItIsSaidWhatIsMissing() throws {
        let folder = TemporaryFolder()
        let x = try activations(in: folder)
        let result = try dmsae(
            training(x, folder.file("sae")) + ["--device", "cuda"], ["DMSAE_CUDA_PATH": folder.file("nothing")])
        #expect(
            result.status == 1 && result.errors.hasPrefix("Error: libcuda.so.1 was not found (tried ")
                && result.errors.contains("use --device cpu"), "\(result.errors)")
        let doctor = try dmsae(["doctor"], ["DMSAE_CUDA_PATH": folder.file("nothing")])
        #expect(
            doctor.status == 0 && doctor.output.contains("ok    CUDA device  none: no libcuda.so.1"), "\(doctor.output)"
        )
    }

    @Test func doctorShowsTheCardAndItsLibraries() throws {
        let doctor = try dmsae(["doctor"], ["DMSAE_CUDA_PATH": Self.emulation])
        #expect(
            doctor.output.contains("CUDA device     emulated GPU, compute capability 9.0, ")
                && doctor.output.contains("CUDA libraries  NVRTC "), "\(doctor.output)")
    }
}
