import PluginABI

extension PluginManifest {
    /// What the file at `path` says of itself without being run, in a note or, for a plain function, beside
    /// it; nil for nothing.
    /// - Throws: `PluginABIError.badManifest`, `.badFunction`; a `PluginFileError`.
    public init?(path: String) throws {
        let file = try PluginFile(path: path)
        // Nothing is known of Python that was not run.
        if file.isPython { return nil }
        if let signature = try FunctionSignature(of: file) {
            self.init(describing: signature, of: file.path)
        } else {
            try self.init(notedIn: file)
        }
    }

    /// What the code of a file says, as a manifest; of a plain function, what the file beside it says once
    /// the function was found.
    ///
    /// Loads the file, so it runs its code in this process.
    /// - Throws: an error of the file or of what it exports.
    package init(describing file: PluginFile) throws {
        if let signature = try FunctionSignature(of: file) {
            _ = try PlainFunction(file, symbol: nil, signature: signature)
            self.init(describing: signature, of: file.path)
        } else {
            self.init(describing: try PluginLibrary(file))
        }
    }

    private init(describing signature: FunctionSignature, of path: String) {
        self.init(
            of: Function(args: signature.args, returns: signature.returns), symbol: signature.symbol,
            version: signature.version, settings: signature.specs, describedIn: FunctionText.path(of: path))
    }
}
