// swift-tools-version: 6.2
import PackageDescription

// Kernels are compiled three times, once per instruction set, and optimised in every configuration: a debug
// test of the layers above would otherwise take minutes. -fno-math-errno lets `squareRoot` vectorise.
func kernelSettings(_ level: String?) -> [SwiftSetting] {
    var flags = ["-O", "-Xcc", "-fno-math-errno"]
    var settings: [SwiftSetting] = []
    if let level {
        flags += ["-Xcc", "-march=\(level)"]
        if level == "x86-64-v4" { flags += ["-Xcc", "-mprefer-vector-width=512"] }
        settings.append(.define("FUSED_MULTIPLY_ADD"))
    }
    return settings + [.unsafeFlags(flags)]
}

// A plugin in C sees the header and nothing else of the project.
func cPlugin(_ name: String) -> Target {
    .target(
        name: name, dependencies: ["CDMSAE"], path: "Plugins/\(name)", publicHeadersPath: ".",
        cSettings: [.headerSearchPath("../../Include"), .unsafeFlags(["-O3", "-fvisibility=hidden"])])
}

let package = Package(
    name: "dmsae",
    products: [
        .library(name: "CDMSAE", targets: ["CDMSAE"]),
        .executable(name: "dmsae", targets: ["dmsae"]),
        .library(name: "dmsae-cuda-emulation", type: .dynamic, targets: ["CUDAEmulation"]),
        .library(name: "dmsae-plugin-ablation", type: .dynamic, targets: ["LatentAblation"]),
        .library(name: "dmsae-plugin-batchtopk", type: .dynamic, targets: ["BatchTopK"]),
        .library(name: "dmsae-plugin-expected-gradients", type: .dynamic, targets: ["ExpectedGradients"]),
        .library(name: "dmsae-plugin-frequency", type: .dynamic, targets: ["ActivationFrequency"]),
        .library(name: "dmsae-plugin-gxa", type: .dynamic, targets: ["GradientTimesActivation"]),
        .library(name: "dmsae-plugin-ig", type: .dynamic, targets: ["IntegratedGradients"]),
        .library(name: "dmsae-plugin-jumprelu", type: .dynamic, targets: ["JumpReLU"]),
        .library(name: "dmsae-plugin-logit", type: .dynamic, targets: ["LogitAttribution"]),
        .library(name: "dmsae-plugin-mattr", type: .dynamic, targets: ["LearnedMask"]),
        .library(name: "dmsae-plugin-norm", type: .dynamic, targets: ["ContributionNorm"]),
        .library(name: "dmsae-plugin-random", type: .dynamic, targets: ["RandomScore"]),
        .library(name: "dmsae-plugin-reconstruction", type: .dynamic, targets: ["ReconstructionGain"]),
        .library(name: "dmsae-plugin-relp", type: .dynamic, targets: ["RelevancePatching"]),
        .library(name: "dmsae-plugin-shapley", type: .dynamic, targets: ["ShapleyValues"]),
        .library(name: "dmsae-plugin-topk", type: .dynamic, targets: ["TopK"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.0.0"),
    ],
    targets: [
        // C modules without code of their own.
        .systemLibrary(name: "CDMSAE", path: "Include"),
        .systemLibrary(name: "CIntrinsics"),
        .systemLibrary(name: "CProcessor"),
        .systemLibrary(name: "CCrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        .systemLibrary(name: "COpenBLAS"),
        .systemLibrary(name: "CCurl"),

        .target(name: "CLinux"),
        .target(name: "CLibFFI", linkerSettings: [.linkedLibrary("ffi")]),

        // The host, lowest layer first; an arrow may only point down.
        .target(name: "KernelTable", path: "Sources/Kernels/Table"),
        .target(
            name: "KernelsBaseline", dependencies: ["KernelTable", "CIntrinsics"], path: "Sources/Kernels/Level",
            swiftSettings: kernelSettings(nil)),
        .target(
            name: "KernelsV3", dependencies: ["KernelTable", "CIntrinsics"], path: "Sources/Kernels/V3",
            swiftSettings: kernelSettings("x86-64-v3")),
        .target(
            name: "KernelsV4", dependencies: ["KernelTable", "CIntrinsics"], path: "Sources/Kernels/V4",
            swiftSettings: kernelSettings("x86-64-v4")),
        .target(
            name: "Kernels", dependencies: ["KernelTable", "KernelsBaseline", "KernelsV3", "KernelsV4", "CProcessor"],
            path: "Sources/Kernels/Dispatch"),
        // What calls kernels names their table too: it is re-exported by Kernels, and without this a build would not notice
        // that its layout changed.
        .target(name: "LinearAlgebra", dependencies: ["Kernels", "KernelTable", "COpenBLAS", "CLinux"]),
        .target(
            name: "TensorFiles",
            dependencies: ["LinearAlgebra", "Kernels", "KernelTable", "CLinux", "CCrypto", "CZlib", "CZstd"]),
        .target(name: "Ranks", exclude: ["Shim"]),
        .target(
            name: "LanguageModeling", dependencies: ["Ranks", "TensorFiles", "LinearAlgebra", "Kernels", "KernelTable"]),
        .target(
            name: "SparseCoding", dependencies: ["Ranks", "TensorFiles", "LinearAlgebra", "Kernels", "KernelTable"]),
        .target(
            name: "CUDABackend",
            dependencies: [
                "LanguageModeling", "SparseCoding", "Ranks", "TensorFiles", "LinearAlgebra", "Kernels", "KernelTable",
            ],
            resources: [
                "activate", "adam", "assemble", "auxiliary", "bias", "bylatent", "center", "collect", "differentiate",
                "edit", "embed", "heads", "measure", "norm", "prelude", "rank", "reconstruct", "round", "slices",
                "softmax", "survey", "vocabulary",
            ].map { .embedInCode("Kernels/\($0).cu") }),
        .target(
            name: "SyntheticFeatures",
            dependencies: ["LanguageModeling", "SparseCoding", "TensorFiles", "LinearAlgebra"]),
        .target(name: "SAEFormats", dependencies: ["SparseCoding", "TensorFiles", "LinearAlgebra"]),
        .target(name: "Attribution", dependencies: ["LanguageModeling", "SparseCoding", "TensorFiles", "KernelTable"]),
        .target(
            name: "Probing",
            dependencies: ["Attribution", "LanguageModeling", "SparseCoding", "TensorFiles", "LinearAlgebra"]),
        .target(
            name: "Autointerp",
            dependencies: ["CCurl", "Attribution", "LanguageModeling", "TensorFiles", "LinearAlgebra"]),
        .target(
            name: "PluginABI",
            dependencies: ["CDMSAE", "CLinux", "Attribution", "SparseCoding", "LinearAlgebra", "TensorFiles"]),
        .target(
            name: "PluginHost",
            dependencies: [
                "PluginABI", "CDMSAE", "CLibFFI", "Attribution", "SparseCoding", "LinearAlgebra", "TensorFiles",
                .product(name: "Yams", package: "Yams"),
            ]),
        .target(
            name: "PluginWorkers",
            dependencies: [
                "PluginHost", "PluginABI", "CDMSAE", "CLinux", "Attribution", "SparseCoding", "LinearAlgebra",
                "TensorFiles",
            ]),
        .target(
            name: "PluginValidation",
            dependencies: [
                "PluginWorkers", "PluginHost", "PluginABI", "CDMSAE", "CLinux", "Attribution", "SparseCoding",
                "LinearAlgebra",
            ]),
        .target(
            name: "Distillation",
            dependencies: [
                "Attribution", "SparseCoding", "Kernels", "TensorFiles", .product(name: "Yams", package: "Yams"),
            ]),
        .target(
            name: "Reports",
            dependencies: ["Distillation", "Probing", "SyntheticFeatures", "Attribution", "TensorFiles"]),
        .target(name: "LatentExports", dependencies: ["Attribution", "TensorFiles"]),
        .executableTarget(
            name: "dmsae",
            dependencies: [
                "Autointerp", "CLinux", "CUDABackend", "Distillation", "LatentExports", "Reports", "SAEFormats",
                "PluginABI", "PluginHost",
                "PluginWorkers",
                "PluginValidation", "Probing", "Ranks", "SyntheticFeatures", "LanguageModeling", "TensorFiles",
                "LinearAlgebra",
                "Kernels",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            exclude: ["Recipes/README.md", "Recipes/evaluations.md"],
            resources: [
                .embedInCode("Recipes/demo.yaml"), .embedInCode("Recipes/gemma3.yaml"),
                .embedInCode("Recipes/synthetic.yaml"),
                .embedInCode("Recipes/paper-gemma-2-2b.yaml"),
                .embedInCode("Recipes/Experiments/candidates.yaml"), .embedInCode("Recipes/Experiments/common.yaml"),
                .embedInCode("Recipes/Experiments/core-modes.yaml"),
                .embedInCode("Recipes/Experiments/core-rate.yaml"),
                .embedInCode("Recipes/Experiments/cycle-length.yaml"),
                .embedInCode("Recipes/Experiments/finals.yaml"), .embedInCode("Recipes/Experiments/k.yaml"),
                .embedInCode("Recipes/Experiments/tau.yaml"),
                .embedInCode("Templates/saebench.py.txt"), .embedInCode("Templates/scorer.c.txt"),
                .embedInCode("Templates/scorer.py.txt"),
                .embedInCode("Templates/Scorer.swift.txt"), .embedInCode("Templates/DMSAEPlugin.swift.txt"),
                .embedInCode("Templates/dmsae_plugin.h"),
            ]),

        cPlugin("ActivationFrequency"), cPlugin("BatchTopK"), cPlugin("ContributionNorm"),
        cPlugin("ExpectedGradients"), cPlugin("IntegratedGradients"), cPlugin("JumpReLU"), cPlugin("LatentAblation"),
        cPlugin("LearnedMask"),
        cPlugin("LogitAttribution"), cPlugin("RandomScore"), cPlugin("ReconstructionGain"),
        cPlugin("RelevancePatching"), cPlugin("ShapleyValues"), cPlugin("TopK"),
        .target(
            name: "GradientTimesActivation", dependencies: ["CDMSAE"], path: "Plugins/GradientTimesActivation",
            swiftSettings: [.unsafeFlags(["-O"])]),

        // Tests: naive oracles, central differences, golden vectors.
        .target(
            name: "TestSupport", dependencies: ["Ranks", "SparseCoding", "Attribution", "LanguageModeling"],
            path: "Tests/TestSupport"),
        .testTarget(name: "TestSupportTests", dependencies: ["TestSupport"]),
        .testTarget(name: "KernelsTests", dependencies: ["Kernels", "KernelTable", "LinearAlgebra", "TestSupport"]),
        .testTarget(name: "LinearAlgebraTests", dependencies: ["LinearAlgebra", "Kernels", "TestSupport"]),
        .testTarget(name: "TensorFilesTests", dependencies: ["TensorFiles", "Kernels", "TestSupport"]),
        .testTarget(
            name: "LanguageModelingTests",
            dependencies: ["LanguageModeling", "LinearAlgebra", "Ranks", "TensorFiles", "Kernels", "TestSupport"]),
        .testTarget(
            name: "CUDABackendTests",
            dependencies: [
                "CUDABackend", "LanguageModeling", "SparseCoding", "PluginHost", "LinearAlgebra", "Ranks",
                "TensorFiles",
                "TestSupport",
            ]),
        .testTarget(name: "SparseCodingTests", dependencies: ["SparseCoding", "TensorFiles", "TestSupport"]),
        .testTarget(
            name: "SyntheticFeaturesTests",
            dependencies: [
                "SyntheticFeatures", "LanguageModeling", "SparseCoding", "LinearAlgebra", "TensorFiles", "TestSupport",
            ]),
        .testTarget(
            name: "SAEFormatsTests",
            dependencies: ["SAEFormats", "SparseCoding", "TensorFiles", "LinearAlgebra", "TestSupport"]),
        .testTarget(name: "AttributionTests", dependencies: ["Attribution", "LanguageModeling", "TestSupport"]),
        .testTarget(
            name: "ProbingTests",
            dependencies: [
                "Probing", "Attribution", "LanguageModeling", "SparseCoding", "TensorFiles", "LinearAlgebra",
                "TestSupport",
            ]),
        .testTarget(
            name: "AutointerpTests",
            dependencies: [
                "Autointerp", "Attribution", "LanguageModeling", "SparseCoding", "TensorFiles", "LinearAlgebra",
                "TestSupport",
            ]),
        // What the tests of plugins share. Each target names all that its tests import: what is not named is not built again
        // when it changes.
        .target(
            name: "PluginTestSupport", dependencies: ["PluginHost", "Attribution", "LinearAlgebra", "TestSupport"],
            path: "Tests/PluginTestSupport", exclude: ["Fixtures"]),
        .testTarget(
            name: "PluginABITests", dependencies: ["PluginABI", "PluginTestSupport", "TestSupport"],
            exclude: ["Fixtures", "Versions"]),
        .testTarget(
            name: "PluginHostTests",
            dependencies: [
                "PluginWorkers", "PluginHost", "PluginABI", "Attribution", "SparseCoding", "LanguageModeling",
                "LinearAlgebra", "PluginTestSupport", "TestSupport",
            ]),
        .testTarget(
            name: "PluginWorkersTests",
            dependencies: [
                "PluginWorkers", "PluginHost", "PluginABI", "CLinux", "Attribution", "SparseCoding", "LinearAlgebra",
                "TensorFiles", "PluginTestSupport", "TestSupport",
            ],
            exclude: ["Fixtures"]),
        .testTarget(
            name: "PluginValidationTests",
            dependencies: [
                "PluginValidation", "PluginWorkers", "PluginHost", "PluginTestSupport", "TestSupport",
            ],
            exclude: ["Fixtures"]),
        .testTarget(
            name: "DistillationTests",
            dependencies: [
                "Distillation", "Attribution", "LanguageModeling", "LinearAlgebra", "TensorFiles", "TestSupport",
            ]),
        .testTarget(
            name: "ReportsTests",
            dependencies: [
                "Reports", "Attribution", "Distillation", "Probing", "SyntheticFeatures", "TensorFiles", "TestSupport",
            ]),
        .testTarget(
            name: "LatentExportsTests",
            dependencies: [
                "LatentExports", "Attribution", "Distillation", "LanguageModeling", "SparseCoding", "TensorFiles",
                "TestSupport",
            ]),
        .testTarget(
            name: "CommandTests",
            dependencies: [
                "dmsae", "Attribution", "Distillation", "LanguageModeling", "PluginABI", "PluginHost", "PluginWorkers",
                "SparseCoding", "TensorFiles", "TestSupport",
            ]),
        // CUDA without a card: driver, compiler and cuBLASLt in one library that runs the kernels' own text on the processor.
        // An index past an array, an address that is not aligned and an unset variable are as wrong there as on a card.
        .target(
            name: "CUDAEmulation", path: "Tests/CUDAEmulation", exclude: ["README.md", "Examples"],
            cxxSettings: [
                .unsafeFlags([
                    "-O2", "-Wall", "-fvisibility=hidden", "-ffp-contract=off", "-ftrivial-auto-var-init=pattern",
                    "-fsanitize=alignment,array-bounds,shift-exponent,signed-integer-overflow", "-fsanitize-trap=all",
                ])
            ]),
        .testTarget(name: "CUDAEmulationTests", dependencies: ["LinearAlgebra", "TestSupport"]),
        .executableTarget(
            name: "Benchmarks",
            dependencies: [
                "Attribution", "CUDABackend", "Distillation", "SparseCoding", "LanguageModeling", "PluginHost",
                "PluginWorkers", "TensorFiles",
            ],
            path: "Tests/Benchmarks",
            exclude: ["README.md", "results.md", "peers"]),
    ],
    swiftLanguageModes: [.v6],
    cxxLanguageStandard: .cxx20
)

// `Tests/Fuzz/readers` sets this, and builds with -sanitize=fuzzer, which brings a main function of its own.
if Context.environment["DMSAE_FUZZ"] != nil {
    package.targets.append(
        .executableTarget(
            name: "ReaderFuzzer",
            dependencies: ["LanguageModeling", "SAEFormats", "TensorFiles", "LinearAlgebra", "CZlib"],
            path: "Tests/Fuzz/Readers", swiftSettings: [.unsafeFlags(["-parse-as-library"])]))
}

// `.ci/run` sets this. Not an unconditional setting: a newer compiler's new warning must not stop a user's build, and
// flags given to `swift build` would reach the dependencies, which are not ours to mend.
if Context.environment["DMSAE_STRICT"] != nil {
    for target in package.targets where [.regular, .executable, .test].contains(target.type) {
        target.swiftSettings = (target.swiftSettings ?? []) + [.treatAllWarnings(as: .error)]
        target.cSettings = (target.cSettings ?? []) + [.treatAllWarnings(as: .error)]
        target.cxxSettings = (target.cxxSettings ?? []) + [.treatAllWarnings(as: .error)]
    }
}
