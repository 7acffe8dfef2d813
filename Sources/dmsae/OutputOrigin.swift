import TensorFiles

/// What a file of tensors was made from, for its metadata: SHA-256 of the files by what they are for, and the settings.
///
/// - Throws: as `fileHashes`.
func origin(_ files: [(role: String, paths: [String])], _ settings: [String: String]) throws -> [String: String] {
    var result = settings
    for (name, hash) in try fileHashes(files) { result["\(name).sha256"] = hash }
    result["dmsae"] = DMSAE.version
    return result
}
