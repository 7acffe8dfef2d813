import ArgumentParser
import Attribution
import Distillation
import Reports
import TensorFiles

/// `dmsae report`: a run, several runs, a sweep or a comparison as one page.
struct ReportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "report",
        abstract: "Make a run, several runs, a sweep or a comparison into one HTML page that stands alone.",
        discussion: """
            Reads the records in the folder and nothing else; a run that is not finished shows what there is. Of several runs it first says \
            what differs between them, then holds them against the first, seed by seed.

            Evaluations of a run's SAEs are shown with it: files that `eval core`, `absorption`, `meta` and `synthetic` wrote (--out), and \
            folders of `eval probes`, if they lie in RUN/evaluations, in whatever folders there, or are named with --eval. Each says by \
            SHA-256 of which SAE it is; one of an SAE of another run is refused. --markdown prints their tables.

            Example: dmsae report runs/demo
            Of two: dmsae report runs/demo runs/gemma3 --out both.html
            """)

    @Argument(help: "Folder of a distillation, of a sweep or of a comparison; or several of distillations.")
    var folders: [String]
    @Option(help: "HTML file to write; default report.html in the folder. Of several runs it must be given.")
    var out: String?
    @Option(
        help: """
            Folder of a `dmsae train` with another core (random, by frequency), to hold a distillation's training \
            curves against; as often as wanted.
            """)
    var control: [String] = []
    @Option(
        name: .customLong("eval"),
        help: ArgumentHelp(
            "File of an evaluation of an SAE of the run, or a folder of them; as often as wanted.", valueName: "PATH"))
    var evaluations: [String] = []
    @Flag(help: "Take runs as draws of one: evaluations are means over them, with intervals where there are three.")
    var pool = false
    @Flag(help: "Print the evaluations' tables as Markdown, and write no page.")
    var markdown = false

    func validate() throws {
        guard folders.count > 1 else {
            guard !pool else { throw ValidationError("--pool takes runs as draws of one; give two runs or more") }
            return
        }
        guard control.isEmpty else {
            throw ValidationError("--control is for the report of one distillation; leave it out")
        }
        guard out != nil || markdown else {
            throw ValidationError("a page of several runs lies in no folder of one of them; say where with --out FILE")
        }
        if let twice = folders.first(where: { folder in folders.count { $0 == folder } > 1 }) {
            throw ValidationError("\(twice) is there twice; give each run once")
        }
    }

    func run() throws {
        if let missing = folders.first(where: { !exists($0) }) {
            throw TensorFileError.unreadable(file: missing, reason: "there is no such folder")
        }
        let path = out ?? folders[0] + "/report.html"
        if !markdown { try OutputPlace.requireFile(path, reading: folders + evaluations) }
        let (html, found) = try page()
        guard markdown else {
            try AtomicFile.write(html(), to: path)
            return print(path)
        }
        guard let text = found?.markdown, !text.isEmpty else {
            throw ValidationError(
                "nothing was evaluated of \(folders.joined(separator: ", ")); put what `dmsae eval` writes into "
                    + "\(folders[0])/\(RunEvaluations.folderName), or name it with --eval")
        }
        print(text, terminator: "")
    }

    /// The page of what is in the folders, and what was evaluated of it.
    private func page() throws -> (html: () -> String, evaluations: RunEvaluations?) {
        let folder = folders[0]
        if folders.count > 1 {
            for other in folders where !exists(other + "/run.json") { throw Self.noRun(other) }
            let report = try RunsReport(folders: folders, evaluations: evaluations, pooled: pool)
            return (report.html, report.evaluations)
        }
        func refuseOptions(_ what: String) throws {
            for (name, isGiven) in [("--control", !control.isEmpty), ("--eval", !evaluations.isEmpty)] where isGiven {
                throw ValidationError(
                    "\(name) is for the report of a distillation, and \(folder) holds a \(what); leave it out")
            }
        }
        if exists(folder + "/comparison.json") {
            try refuseOptions("comparison")
            let report = ComparisonReport(try ComparisonRecord.read(folder + "/comparison.json"))
            return (report.html, nil)
        }
        if exists(folder + "/" + Sweep.fileName) {
            try refuseOptions("sweep")
            return (try SweepReport(folder: folder).html, nil)
        }
        if exists(folder + "/run.json") {
            let report = try RunReport(folder: folder, controls: control, evaluations: evaluations)
            return (report.html, report.evaluations)
        }
        throw TensorFileError.unusable(
            file: folder,
            what:
                "it holds neither run.json of a distillation nor sweep.json of a sweep nor comparison.json of a comparison",
            next:
                "give the --out folder of `distill`, `sweep` or `compare`; a comparison has its record once it is done"
        )
    }

    private static func noRun(_ folder: String) -> TensorFileError {
        .unusable(
            file: folder, what: "it holds no run.json of a distillation, and only these can be laid side by side",
            next: "give the --out folders of `distill`; points of a sweep are such too")
    }
}
