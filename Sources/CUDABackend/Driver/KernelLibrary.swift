import Glibc
import TensorFiles

/// A kernel of a card.
struct Kernel {
    let name: String
    let function: OpaquePointer
}

/// The kernels, compiled for a card when a file's first one is asked for, and kept on disk for the next run.
///
/// A kept file is named by the SHA-256 of text, options and compiler, so that none is ever of another text, and begins with that of
/// its code.
final class KernelLibrary {
    private unowned let context: CUDAContext
    private var modules: [String: OpaquePointer] = [:]
    private var made: [String: Kernel] = [:]

    init(_ context: CUDAContext) { self.context = context }

    /// The texts of `Kernels`, by file.
    static let sources: [String: [UInt8]] = [
        "activate": PackageResources.activate_cu, "adam": PackageResources.adam_cu,
        "assemble": PackageResources.assemble_cu, "auxiliary": PackageResources.auxiliary_cu,
        "bias": PackageResources.bias_cu, "bylatent": PackageResources.bylatent_cu,
        "center": PackageResources.center_cu, "collect": PackageResources.collect_cu,
        "differentiate": PackageResources.differentiate_cu, "edit": PackageResources.edit_cu,
        "embed": PackageResources.embed_cu,
        "heads": PackageResources.heads_cu, "measure": PackageResources.measure_cu,
        "norm": PackageResources.norm_cu, "rank": PackageResources.rank_cu,
        "reconstruct": PackageResources.reconstruct_cu, "round": PackageResources.round_cu,
        "slices": PackageResources.slices_cu, "softmax": PackageResources.softmax_cu,
        "survey": PackageResources.survey_cu, "vocabulary": PackageResources.vocabulary_cu,
    ]

    /// The kernel `name` of a file.
    ///
    /// - Throws: `CUDAError`.
    func kernel(_ name: String, in file: String) throws(CUDAError) -> Kernel {
        if let kernel = made[name] { return kernel }
        let driver = context.driver
        let module: OpaquePointer
        if let known = modules[file] { module = known } else { module = try load(file) }
        modules[file] = module
        var function: OpaquePointer?
        try driver.check(driver.moduleGetFunction(&function, module, name), "cuModuleGetFunction of \(name)")
        let kernel = Kernel(name: name, function: function!)
        made[name] = kernel
        return kernel
    }

    private func load(_ file: String) throws(CUDAError) -> OpaquePointer {
        guard let text = Self.sources[file] else { preconditionFailure("no kernels named \(file)") }
        let source =
            String(decoding: PackageResources.prelude_cu, as: UTF8.self) + "\n#line 1 \"\(file).cu\"\n"
            + String(decoding: text, as: UTF8.self)
        let options = [
            "--gpu-architecture=sm_\(context.capability.major)\(context.capability.minor)", "--std=c++17",
        ]
        let key = ([source, context.compiler.version] + options).joined(separator: "\n")
        let kept = CacheFolder.path.map { "\($0)/kernels/\(SHA256.hexadecimal(SHA256.digest(of: key))).cubin" }
        if let kept, let code = Self.read(kept), let module = try? loaded(code) { return module }
        let code = try context.compiler.compile(source, file: file + ".cu", options: options)
        if let kept { keep(code, at: kept) }
        return try loaded(code)
    }

    private func loaded(_ code: [UInt8]) throws(CUDAError) -> OpaquePointer {
        let driver = context.driver
        try context.activate()
        var module: OpaquePointer?
        try driver.check(code.withUnsafeBytes { driver.moduleLoadData(&module, $0.baseAddress!) }, "cuModuleLoadData")
        return module!
    }

    /// The code that was kept, if it is as it was written: a changed bit of it would be another number, and no error.
    private static func read(_ path: String) -> [UInt8]? {
        guard exists(path), let file = try? MappedFile(path: path), file.count > digestBytes else { return nil }
        let bytes = UnsafeRawBufferPointer(start: file.bytes, count: file.count)
        let code = Array(bytes[digestBytes...])
        return digest(code).elementsEqual(bytes[..<digestBytes]) ? code : nil
    }

    /// A cache that cannot be written is none.
    private func keep(_ code: [UInt8], at path: String) {
        guard let end = path.lastIndex(of: "/"), (try? createFolder(String(path[..<end]))) != nil else { return }
        try? AtomicFile.write(Self.digest(code) + code, to: path)
    }

    private static let digestBytes = 32

    private static func digest(_ code: [UInt8]) -> [UInt8] {
        var hash = SHA256()
        code.withUnsafeBytes { hash.update($0) }
        return hash.digest()
    }
}
