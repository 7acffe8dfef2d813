import TensorFiles

/// What a finished step of a run consists of; `done.json`, written last in its folder.
///
/// A resumed run builds on what it reads back, so every file is known by its SHA-256, the mark names the one before it by
/// its own, and the first names the store's record: a file that was changed, deleted or taken from another run is found
/// before anything is made of it.
struct StepMark: Codable, Equatable {
    /// `RunRecord.identity`.
    var run: String
    /// SHA-256 of the mark of the step before.
    var after: String
    /// SHA-256 of each file, by its path in the step's folder.
    var files: [String: String]

    static let name = "done.json"

    /// Writes the mark of a step of which all `files` are there.
    ///
    /// - Returns: the mark's SHA-256.
    static func write(_ files: [String], of folder: String, run: String, after: String) throws -> String {
        var mark = StepMark(run: run, after: after, files: [:])
        for file in files { mark.files[file] = try SHA256.hexadecimal(ofFile: folder + "/" + file) }
        try JSONRecord.write(mark, to: folder + "/" + name)
        return try SHA256.hexadecimal(ofFile: folder + "/" + name)
    }

    /// Checks a finished step whole.
    ///
    /// - Returns: the mark's SHA-256.
    /// - Throws: `DistillationError.stepDiffers` naming what is not as it was; `TensorFileError`.
    static func check(_ files: [String], of folder: String, run: String, after: String) throws -> String {
        let path = folder + "/" + name
        let mark = try JSONRecord.read(StepMark.self, from: path)
        guard mark.run == run else {
            throw DistillationError.stepDiffers("it was made by a run with another run.json")
        }
        guard mark.after == after else {
            throw DistillationError.stepDiffers("it was made after other files than those of the step before it here")
        }
        guard Set(mark.files.keys) == Set(files) else {
            throw DistillationError.stepDiffers("\(path) lists other files than those of such a step")
        }
        for file in files {
            let file = (name: file, path: folder + "/" + file)
            guard exists(file.path) else { throw DistillationError.stepDiffers("\(file.path) is missing") }
            guard try SHA256.hexadecimal(ofFile: file.path) == mark.files[file.name] else {
                throw DistillationError.stepDiffers("\(file.path) is not as the run wrote it")
            }
        }
        return try SHA256.hexadecimal(ofFile: path)
    }
}
