import TensorFiles

/// What a finished step of a run consists of; `done.json`, written last in its folder.
///
/// A resumed run builds on what it reads back, so every file is known by its SHA-256, the mark names the one before it by
/// its own, and the first names the store's record: a file that was changed, deleted or taken from another run is found
/// before anything is made of it.
package struct StepMark: Codable, Equatable {
    /// `RunRecord.identity` of the run that the step is of.
    var run: String
    /// SHA-256 of the mark of the step before.
    var after: String
    /// SHA-256 of each file, by its path in the step's folder.
    var files: [String: String]

    package static let name = "done.json"

    /// Writes the mark of a step of which all `files` are there.
    ///
    /// - Returns: the mark's SHA-256.
    @discardableResult
    package static func write(_ files: [String], of folder: String, run: String, after: String) throws -> String {
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
        let mark = try read(folder, run: run, after: after)
        guard Set(mark.files.keys) == Set(files) else {
            throw DistillationError.stepDiffers("\(folder)/\(name) lists other files than those of such a step")
        }
        return try mark.check(files, of: folder)
    }

    /// Checks some files of a finished step: its records, for those who only show them.
    ///
    /// - Parameter after: nil where the step before has no mark here.
    /// - Returns: the mark's SHA-256.
    /// - Throws: as `check`.
    static func check(records files: [String], of folder: String, run: String, after: String?) throws -> String {
        try read(folder, run: run, after: after).check(files, of: folder)
    }

    /// SHA-256 of the files of a finished step that is checked, by their names under `part` of its folder.
    static func files(of folder: String, under part: String = "") throws -> [String: String] {
        let all = try JSONRecord.read(StepMark.self, from: folder + "/" + name).files
        let own = all.filter { $0.key.hasPrefix(part) }.map { (String($0.key.dropFirst(part.count)), $0.value) }
        return Dictionary(uniqueKeysWithValues: own)
    }

    private static func read(_ folder: String, run: String, after: String?) throws -> StepMark {
        let mark = try JSONRecord.read(StepMark.self, from: folder + "/" + name)
        guard mark.run == run else {
            throw DistillationError.stepDiffers("it was made by a run with another run.json")
        }
        guard after == nil || mark.after == after else {
            throw DistillationError.stepDiffers("it was made after other files than those of the step before it here")
        }
        return mark
    }

    private func check(_ files: [String], of folder: String) throws -> String {
        for file in files {
            let path = folder + "/" + file
            guard exists(path) else { throw DistillationError.stepDiffers("\(path) is missing") }
            guard try SHA256.hexadecimal(ofFile: path) == self.files[file] else {
                throw DistillationError.stepDiffers("\(path) is not as the run wrote it")
            }
        }
        return try SHA256.hexadecimal(ofFile: folder + "/" + Self.name)
    }
}
