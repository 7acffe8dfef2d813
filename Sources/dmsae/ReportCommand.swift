import ArgumentParser
import Attribution
import Distillation
import Reports
import TensorFiles

/// `dmsae report`: a run or a comparison as one page.
struct ReportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "report", abstract: "Make a run, a sweep or a comparison into one HTML page that stands alone.",
        discussion: """
            Reads the records in the folder and nothing else; a run that is not finished shows what there is.

            Example: dmsae report runs/demo
            """)

    @Argument(help: "Folder of a distillation, of a sweep or of a comparison.")
    var folder: String
    @Option(help: "HTML file to write; default report.html in the folder.")
    var out: String?
    @Option(
        help: """
            Folder of a `dmsae train` with another core (random, by frequency), to hold a distillation's training \
            curves against; as often as wanted.
            """)
    var control: [String] = []

    func run() throws {
        let path = out ?? folder + "/report.html"
        try OutputPlace.requireFile(path, reading: [folder])
        let html: String
        if exists(folder + "/comparison.json") {
            guard control.isEmpty else {
                throw ValidationError(
                    "--control is for the report of a distillation, and \(folder) holds a comparison; leave it out")
            }
            html = ComparisonReport(try ComparisonRecord.read(folder + "/comparison.json")).html()
        } else if exists(folder + "/" + Sweep.fileName) {
            guard control.isEmpty else {
                throw ValidationError(
                    "--control is for the report of a distillation, and \(folder) holds a sweep; leave it out")
            }
            html = try SweepReport(folder: folder).html()
        } else if exists(folder + "/run.json") {
            html = try RunReport(folder: folder, controls: control).html()
        } else {
            guard exists(folder) else {
                throw TensorFileError.unreadable(file: folder, reason: "there is no such folder")
            }
            throw TensorFileError.unusable(
                file: folder,
                what:
                    "it holds neither run.json of a distillation nor sweep.json of a sweep nor comparison.json of a comparison",
                next:
                    "give the --out folder of `distill`, `sweep` or `compare`; a comparison has its record once it is done"
            )
        }
        try AtomicFile.write(html, to: path)
        print(path)
    }
}
